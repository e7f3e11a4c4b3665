//! The environment of a gateway: privileges it gives up, a user who has none, the profile of its container, its unit.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::gateway::binary;
use tests::process::successor;
use tests::{Client, Origin, Process, Setup, eventually, python};

const ASK: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
/// CAP_NET_BIND_SERVICE.
const LOW_PORTS: u64 = 1 << 10;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("gateway/deploy")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    String::from_utf8_lossy(&id.stdout).trim() == "0"
}

/// A field of every thread of a process.
fn of_threads(process: &str, field: &str) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let texts = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("status")).ok());
    texts
        .filter_map(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
            Some(line.trim().to_owned())
        })
        .collect()
}

#[track_caller]
fn may_nothing(process: &str) {
    for field in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        for held in of_threads(process, field) {
            let held = u64::from_str_radix(&held, 16).expect("a set of capabilities");
            assert_eq!(held & !LOW_PORTS, 0, "{field}: {held:#x}");
        }
    }
    let gains = of_threads(process, "NoNewPrivs");
    assert!(gains.len() > 2 && gains.iter().all(|flag| flag == "1"), "{gains:?}");
    // A user other than root could not take a capability out of it, and has no use for it.
    for bound in of_threads(process, "CapBnd").iter().filter(|_| is_root()) {
        assert_eq!(u64::from_str_radix(bound, 16).expect("a set") & !LOW_PORTS, 0, "{bound}");
    }
}

#[test]
fn no_thread_of_a_gateway_or_of_its_successor_may_do_more_than_bind_low_ports() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).workers(2).mirror("v2", v2.address, "compare = {}").start();
    assert_eq!(gateway.client().ask(ASK).text(), "v1");
    may_nothing(&gateway.pid().to_string());
    assert!(gateway.stdout().contains(", no new ones"), "{}", gateway.stdout());
    gateway.signal("USR2");
    let next = successor(|| gateway.stderr(), 0);
    assert_eq!(gateway.client().ask(ASK).text(), "v1");
    may_nothing(&next.id);
}

/// Serves a while in the world that `command` makes: requests, copies, the access log, a reload, a successor, the end.
#[track_caller]
fn serves_its_life(command: &mut Command, folder: &Path, driver: &str) {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let log = folder.join("access.log");
    let table = format!("[access_log]\nto = {:?}\n", log.display().to_string());
    let setup =
        Setup::new(&v1).workers(2).driver(driver).mirror("v2", v2.address, "compare = {}").with(&table);
    let file = folder.join("gateway.toml");
    fs::write(&file, setup.toml()).expect("the configuration");
    let mut gateway = Process::spawn(command.arg("--config").arg(&file));
    let address = gateway.lines("listening on ", 1)[0].parse().expect("an address");
    let admin = gateway.lines("admin on ", 1)[0].parse().expect("an address");
    let ask = |count: usize| {
        assert_eq!(Client::connect(address).ask(ASK).text(), "v1");
        v2.wait_for(count);
    };
    ask(1);
    let signal = |name: &str, process: &str| {
        let sent = Command::new("kill").args([&format!("-{name}"), process]).status().expect("kill");
        assert!(sent.success());
    };
    let own = gateway.child.id().to_string();
    signal("HUP", &own);
    let ready = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n";
    eventually("the reload", || gateway.stderr().contains("configuration"));
    ask(2);
    assert_eq!(Client::connect(admin).ask(ready).status, 200);
    signal("USR2", &own);
    let next = successor(|| gateway.stderr(), 0);
    // Its streams are the successor's too, so that they do not end with it.
    let mut code = None;
    eventually("it drains and ends", || {
        code = gateway.child.try_wait().expect("wait").and_then(|status| status.code());
        code.is_some()
    });
    assert_eq!(code, Some(0), "{}", gateway.stderr());
    ask(3);
    next.signal("TERM");
    eventually("the successor's end", || next.is_gone());
    let lines = fs::read_to_string(&log).expect("the access log");
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(!gateway.stderr().contains("not permitted"), "{}", gateway.stderr());
}

#[test]
fn a_user_without_any_privilege_can_run_it() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    if !is_root() {
        // Every other test is this one.
        return serves_its_life(&mut Command::new(binary()), folder.path(), "auto");
    }
    // The build folder may be where the user may not go.
    let program = folder.path().join("gateway");
    fs::copy(binary(), &program).expect("a copy of the program");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("a folder for everybody");
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
        "--inh-caps=-all",
    ]);
    serves_its_life(command.arg(&program), folder.path(), "auto");
}

/// Takes a profile as a container's runtime does, and becomes the program.
const CONFINE: &str = r#"
import json, os, sys
import pyseccomp as seccomp
profile = json.load(open(sys.argv[1]))
filter = seccomp.SyscallFilter(seccomp.ERRNO(profile["defaultErrnoRet"]))
operations = {"SCMP_CMP_EQ": seccomp.EQ, "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ}
for rule in profile["syscalls"]:
    action = seccomp.ALLOW if rule["action"] == "SCMP_ACT_ALLOW" else seccomp.ERRNO(rule["errnoRet"])
    asked = [seccomp.Arg(a["index"], operations[a["op"]], a["value"], a.get("valueTwo", 0)) for a in rule.get("args", [])]
    for name in rule["names"]:
        try:
            seccomp.resolve_syscall(seccomp.Arch.NATIVE, name)
        except ValueError:
            continue  # another architecture's, or younger than this library
        filter.add_rule(action, name, *asked)
filter.load()
os.execv(sys.argv[2], sys.argv[2:])
"#;

fn confined() -> Command {
    let venv = python::environment("seccomp", &["pyseccomp==0.1.2"]);
    let mut command = Command::new(venv.join("bin/python"));
    command.args(["-c", CONFINE]).arg(deploy().join("seccomp.json"));
    command
}

#[test]
fn the_containers_profile_is_enough_for_its_whole_life_on_either_driver() {
    for driver in ["auto", "epoll"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        serves_its_life(confined().arg(binary()), folder.path(), driver);
    }
}

#[test]
fn the_containers_profile_refuses_what_a_gateway_never_does() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let new = folder.path().join("new");
    let own = folder.path().join("own");
    fs::write(&own, "kept").expect("a file");
    for command in [
        vec!["mkdir", new.to_str().expect("a path")],
        vec!["rm", own.to_str().expect("a path")],
        vec!["chmod", "777", own.to_str().expect("a path")],
        vec!["unshare", "--user", "true"],
    ] {
        let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(command[0]));
        let program = found.iter().find(|path| path.is_file()).expect("a program of every system");
        let output = confined().arg(program).args(&command[1..]).output().expect("python");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("not permitted"), "{command:?}: {said}");
    }
    assert!(!new.exists() && own.exists());
}

#[test]
fn the_unit_is_one_that_systemd_takes_and_finds_well_confined() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // The program is not installed here, and systemd looks.
    for name in ["umbra.service", "umbra.socket"] {
        let text = fs::read_to_string(deploy().join(name)).expect("the unit");
        let text = text.replace("/usr/local/bin/umbra", &binary().display().to_string());
        fs::write(folder.path().join(name), text).expect("the unit");
    }
    let analyze = |arguments: &[&str], names: &[&str]| {
        let files = names.iter().map(|name| folder.path().join(name));
        let output = Command::new("systemd-analyze").args(arguments).args(files).output();
        let output = output.expect("systemd-analyze (Debian: apt-get install systemd)");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (good, said) = analyze(&["verify", "--man=no"], &["umbra.service", "umbra.socket"]);
    assert!(good && !said.contains("umbra."), "{said}");
    // In tenths; it fails beyond that.
    let (good, said) =
        analyze(&["security", "--offline=true", "--threshold=20", "--no-pager"], &["umbra.service"]);
    assert!(good && said.contains("Overall exposure level for umbra.service"), "{said}");
}
