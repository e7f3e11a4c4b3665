//! The command line: starting a gateway, and the verbs that ask or change a running one, as a person types them.

use std::process::Command;

use serde_json::Value;
use tests::gateway::binary;
use tests::load::get;
use tests::{Client, Gateway, Origin, Process, Setup, eventually};

/// Standard output, standard error and exit code.
pub(crate) fn run(words: &[&str]) -> (String, String, i32) {
    let mut command = Command::new(binary());
    for name in ["UMBRA_ADMIN", "UMBRA_ADMIN_TOKEN", "UMBRA_PRIMARY", "UMBRA_MIRROR", "UMBRA_LISTEN"] {
        command.env_remove(name);
    }
    let output = command.args(words).output().expect("the command runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr), output.status.code().expect("an exit code"))
}

/// A verb that is to succeed.
#[track_caller]
fn asks(gateway: &Gateway, words: &[&str]) -> String {
    let admin = gateway.admin.to_string();
    let (told, complaint, code) = run(&[words, &["--admin", &admin]].concat());
    assert_eq!(code, 0, "{words:?}: {told}{complaint}");
    told
}

/// With one blank wherever there are several.
fn flat(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn two_routes(v2: &Origin) -> String {
    format!(
        "[upstream.v3]\nendpoints = [\"{}\"]\n[[route]]\nname = \"cart\"\npath_prefix = \"/cart\"\nprimary = \"primary\"\n\
         mirrors = [{{ upstream = \"v3\", name = \"v2\", percent = 20 }}]\n",
        v2.address
    )
}

#[test]
fn a_share_is_set_paused_and_resumed_as_it_was() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "percent = 50").with(&two_routes(&v2)).start();
    assert_eq!(asks(&gateway, &["set", "v2", "--percent", "7.5", "--route", "all"]), "v2 on all: 7.5 %\n");
    let paused = asks(&gateway, &["pause"]);
    assert!(paused.contains("v2 on all: 0 %\n") && paused.contains("v2 on cart: 0 %\n"), "{paused}");
    assert!(asks(&gateway, &["pause", "v2"]).contains("v2 on cart: paused already"));
    assert!(asks(&gateway, &["mirrors"]).contains("paused"));
    let seen = v2.count();
    assert_eq!(gateway.client().ask(get(1)).text(), "v1");
    // As before the pause: the share that was set, not the file's.
    let resumed = asks(&gateway, &["resume", "v2"]);
    assert!(resumed.contains("v2 on all: 7.5 %\n") && resumed.contains("v2 on cart: 20 %\n"), "{resumed}");
    assert_eq!(v2.count(), seen, "nothing was copied meanwhile");
    assert_eq!(asks(&gateway, &["set", "v2", "--percent", "100"]).lines().count(), 2);
    let changes = asks(&gateway, &["changes"]);
    assert!(changes.contains("route.all.mirrors.v2.percent: 50 → 7.5"), "{changes}");
    let (told, complaint, code) =
        run(&["set", "v9", "--percent", "1", "--admin", &gateway.admin.to_string()]);
    assert!(code == 2 && told.is_empty() && complaint.contains("v9"), "{complaint}");
    let (_, complaint, code) = run(&["pause", "v9", "--admin", &gateway.admin.to_string()]);
    assert!(code == 2 && complaint.contains("gateway mirrors lists them"), "{complaint}");
}

#[test]
fn files_are_read_again_at_a_word_and_what_that_changed_is_said() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).start();
    gateway.write(&Setup::new(&v2).toml());
    let told = asks(&gateway, &["reload"]);
    assert!(told.contains("reloaded on 1 worker: upstream.primary.endpoints: "), "{told}");
    assert_eq!(gateway.client().ask(get(1)).text(), "v2");
    gateway.write("nonsense");
    let (_, complaint, code) = run(&["reload", "--admin", &gateway.admin.to_string()]);
    assert!(code == 2 && complaint.contains("not TOML") && !complaint.contains('{'), "{complaint}");
    assert!(asks(&gateway, &["changes"]).contains("refused: "));
}

#[test]
fn one_screen_tells_what_runs_and_what_is_wrong() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").with(&two_routes(&v2)).start();
    let admin = gateway.admin.to_string();
    let mut client = gateway.client();
    (0..20).for_each(|id| assert_eq!(client.ask(get(id)).status, 200));
    let _all_ended = gateway.settled("v2");
    let screen = flat(&asks(&gateway, &["status"]));
    for part in [
        "ready for ",
        &format!("listeners {}", gateway.address),
        "all: 20 requests (2xx 20)",
        "v2 on all, 100 %: 20 of 20 copies answered (2xx 20), 0 lost",
        "v2 on cart, 20 %: ",
        "v2: hold: ",
        "wrong now nothing",
    ] {
        assert!(screen.contains(part), "no {part:?} in\n{screen}");
    }
    let told: Value = serde_json::from_str(&asks(&gateway, &["status", "--json"])).expect("JSON");
    assert_eq!(
        (&told["phase"], &told["listeners"][0]),
        (&"ready".into(), &gateway.address.to_string().into())
    );
    for verb in ["routes", "mirrors", "changes"] {
        let told: Value = serde_json::from_str(&asks(&gateway, &[verb, "--json"])).expect("JSON");
        assert!(told[verb].is_array(), "{told}");
    }
    let routes = asks(&gateway, &["routes"]);
    assert!(routes.lines().any(|line| line.starts_with("cart ") && line.contains("/cart")), "{routes}");
    // An unreachable mirror is trouble, and the exit code says so.
    let dead = Setup::new(&v1).mirror("v2", Origin::refusing(), "").start();
    eventually("it is told", || {
        assert_eq!(Client::connect(dead.address).ask(get(1)).status, 200);
        let (screen, _, code) = run(&["status", "--admin", &dead.admin.to_string()]);
        code == 1 && flat(&screen).contains("wrong now mirror v2 (127.0.0.1:")
    });
    let mut watching = Process::spawn(Command::new(binary()).args(["status", "--watch", "--admin", &admin]));
    eventually("it is shown again and again", || watching.stdout().matches("wrong now").count() >= 2);
    watching.child.kill().expect("it runs");
}

#[test]
fn the_last_lines_of_both_logs_are_read_from_afar_and_followed() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let log = folder.path().join("access.log");
    let redacting = "redact = { query = [\"token\"] }";
    let setup = Setup::new(&v1).mirror("v2", v2.address, redacting).with(&two_routes(&v2));
    let setup =
        setup.with(&format!("[access_log]\nto = {:?}\nformat = \"combined\"", log.display().to_string()));
    let gateway = setup.start();
    let admin = gateway.admin.to_string();
    let mut client = gateway.client();
    assert_eq!(client.ask("GET /x?token=secret HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    assert_eq!(client.ask("GET /cart/7 HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
    eventually("both are told", || asks(&gateway, &["logs", "--only", "access"]).lines().count() == 2);
    let told = asks(&gateway, &["logs", "--route", "all"]);
    assert!(told.contains(" GET a /x?token=%5Bredacted%5D 200 ") && told.contains(" all; v2 "), "{told}");
    assert!(!told.contains("secret") && told.lines().count() == 1, "{told}");
    // A change is a line of the gateway's own; a refused one a warning.
    asks(&gateway, &["set", "v2", "--percent", "7.5", "--route", "all"]);
    gateway.write("nonsense");
    let (_, _, code) = run(&["reload", "--admin", &admin]);
    assert_eq!(code, 2);
    let grave = || asks(&gateway, &["logs", "--level", "warn"]);
    eventually("the refusal is told", || grave().contains("configuration unchanged"));
    assert!(!grave().contains(" INFO "), "{}", grave());
    let own = asks(&gateway, &["logs", "--only", "gateway"]);
    assert!(own.contains(" INFO ") && !own.contains("/cart"), "{own}");
    let line = asks(&gateway, &["logs", "--only", "access", "-n", "1", "--json"]);
    let line: Value = serde_json::from_str(&line).expect("one line of JSON");
    assert!(line["route"].is_string(), "{line}");
    let mut following = Process::spawn(
        Command::new(binary()).args(["logs", "-f", "-n", "0", "--only", "access", "--admin", &admin]),
    );
    eventually("what is new is told", || {
        assert_eq!(client.ask(get(8)).status, 200);
        following.stdout().contains("/r?id=8 200 ")
    });
    following.child.kill().expect("it runs");
    let (_, complaint, code) =
        run(&["logs", "--only", "access", "--admin", &Setup::new(&v1).start().admin.to_string()]);
    assert!(code == 0 && complaint.contains("there is no access log"), "{complaint}");
}

#[test]
fn one_line_serves_and_its_environment_too() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let port = |origin: &Origin| format!(":{}", origin.address.port());
    let told = [("--primary", port(&v1)), ("--mirror", format!("canary={}", v2.address))];
    let free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut command = Command::new(binary());
    for (option, value) in &told {
        command.args([option, &value.as_str()]);
    }
    let mut gateway = Process::spawn(command.args(free).args(["--percent", "100", "--compare"]));
    let address = gateway.lines("listening on ", 1).remove(0);
    let admin = gateway.lines("admin on ", 1).remove(0);
    assert_eq!(Client::connect(address.parse().expect("an address")).ask(get(1)).text(), "v1");
    assert!(v2.reaches(1));
    let (mirrors, ..) = run(&["mirrors", "--admin", &admin]);
    assert!(mirrors.contains("canary") && mirrors.contains("100 %"), "{mirrors}");
    drop(gateway);
    let mut command = Command::new(binary());
    command.env("UMBRA_PRIMARY", port(&v1)).env("UMBRA_MIRROR", port(&v2)).env("UMBRA_LISTEN", "127.0.0.1:0");
    let mut gateway = Process::spawn(command.env("UMBRA_ADMIN_BIND", "off"));
    let address = gateway.lines("listening on ", 1).remove(0);
    assert_eq!(Client::connect(address.parse().expect("an address")).ask(get(2)).text(), "v1");
    assert!(v2.reaches(2));
}

#[test]
fn a_file_needs_no_option_and_a_mistake_names_the_next_step() {
    let v1 = Origin::named("v1");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, Setup::new(&v1).toml()).expect("it is written");
    let name = file.display().to_string();
    let (told, complaint, code) = run(&["check", &name]);
    assert!(code == 0 && told.contains(": ok: 1 listener"), "{told}{complaint}");
    let mut gateway = Process::spawn(Command::new(binary()).arg(&file));
    let address = gateway.lines("listening on ", 1).remove(0);
    assert_eq!(Client::connect(address.parse().expect("an address")).ask(get(1)).text(), "v1");
    for (words, step) in [
        (&["status", "--admin", "127.0.0.1:1"][..], "is the gateway running? --admin or UMBRA_ADMIN"),
        (&["--config", "routes.yaml"], "this is YAML: --manifest routes.yaml"),
        (&["statsu"], "gateway help lists the verbs"),
        (&["--mirror", ":1"], "--primary ADDRESS"),
    ] {
        let (told, complaint, code) = run(words);
        assert!(code == 2 && told.is_empty() && complaint.contains(step), "{words:?}: {complaint}");
    }
}

#[test]
fn a_token_that_is_missing_is_asked_for_by_its_option() {
    let v1 = Origin::named("v1");
    let toml = Setup::new(&v1).toml().replace("[admin]\n", "[admin]\ntoken = \"hush-hush\"\n");
    let gateway = Gateway::start(&toml, &[]);
    let admin = gateway.admin.to_string();
    let (_, complaint, code) = run(&["reload", "--admin", &admin]);
    assert!(code == 2 && complaint.contains("--token or UMBRA_ADMIN_TOKEN"), "{complaint}");
    let (told, complaint, code) = run(&["reload", "--admin", &admin, "--token", "hush-hush"]);
    assert!(code == 0 && told.contains("nothing is otherwise than before"), "{told}{complaint}");
}

#[test]
fn a_verb_that_asks_has_the_options_of_one_that_asks_and_shells_and_manuals_know_them_all() {
    let (help, ..) = run(&["status", "--help"]);
    for foreign in ["--config", "--manifest", "--endpoint", "--listen", "--primary", "--log"] {
        assert!(!help.contains(foreign), "{foreign} in\n{help}");
    }
    assert!(help.contains("--admin") && help.contains("--watch"), "{help}");
    let (help, _, code) = run(&["help", "set"]);
    assert!(code == 0 && help.contains("--percent"), "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let (script, _, code) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("gateway") && script.contains("resume"), "{shell}: {script}");
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (_, complaint, code) = run(&["man", &folder.path().display().to_string()]);
    assert_eq!(code, 0, "{complaint}");
    let page = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a page");
    assert!(page("gateway.1").contains("gateway\\-status") && page("gateway-status.1").contains("watch"));
}
