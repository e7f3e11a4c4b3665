//! The dashboard in headless Chromium, before a gateway under traffic. The promises are in `tests/browser/dashboard.test.js`;
//! here is the stage for them.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tests::{After, Gateway, Origin, Setup};

const HELP: &str = "the dashboard cannot be looked at, and without that it is not tested.\n\
    Needed: chromium, node (18 or later) and npm on the PATH (Debian: apt-get install chromium nodejs npm; \
    UMBRA_CHROMIUM names another Chromium), and a package registry that npm reaches. Then run the test again; remove \
    target/browser to start afresh.";

const TOKEN: &str = "nobody-guesses-this";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace")
}

/// The modules that `npm ci` installs by the lock file, once for all test processes: the folder that holds `node_modules`.
fn modules() -> PathBuf {
    let (scripts, target) = (root().join("tests/browser"), root().join("target"));
    fs::create_dir_all(&target).expect("the target folder");
    let lock = File::create(target.join("browser.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let (folder, wanted) = (
        target.join("browser"),
        fs::read_to_string(scripts.join("package-lock.json")).expect("the lock file"),
    );
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return folder;
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder below target");
    for file in ["package.json", "package-lock.json"] {
        fs::copy(scripts.join(file), folder.join(file)).expect("the package's files");
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&folder);
    match npm.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!("{HELP}\nnpm ci: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{HELP}\nnpm: {error}"),
    }
    fs::write(&stamp, wanted).expect("the stamp");
    folder
}

/// `UMBRA_CHROMIUM`, or the first of its names on the PATH.
fn chromium() -> PathBuf {
    if let Some(path) = std::env::var_os("UMBRA_CHROMIUM") {
        return path.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
    found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| panic!("{HELP}\nno chromium"))
}

/// Requests, about two hundred a second, until it is dropped.
struct Traffic {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn before(gateway: &Gateway) -> Self {
        Self::to(gateway, |_| "/users/7".to_owned())
    }

    /// Of each number the target that is asked for.
    fn to(gateway: &Gateway, target: impl Fn(usize) -> String + Send + 'static) -> Self {
        let (is_over, mut client) = (Arc::<AtomicBool>::default(), gateway.client());
        let seen = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            for n in 0.. {
                if seen.load(Ordering::Relaxed) {
                    break;
                }
                client.ask(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", target(n)).as_bytes());
                // The pace, not a wait for anything.
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { is_over, thread: Some(thread) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Routes of [`wide`], and the one of them where v1 fails.
const ROUTES: usize = 300;
const FAILING: usize = 23;

/// Three hundred routes with three mirrors each, one of which is unreachable.
fn wide(v1: &Origin, v2: &Origin, refusing: SocketAddr) -> String {
    let upstream = |name: &str, at: SocketAddr| format!("[upstream.{name}]\nendpoints = [\"{at}\"]\n");
    let head = "[workers]\ncount = 1\npin = false\n[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n";
    let mut text = [head, &upstream("v1", v1.address), &upstream("v2", v2.address)].concat();
    text.push_str(&upstream("v3", refusing));
    text.push_str(&upstream("again", v1.address));
    for n in 0..ROUTES {
        text.push_str(&format!(
            "[[route]]\nname = \"team-{}/route-{n}\"\npath_prefix = \"/r{n}/\"\nprimary = \"v1\"\nmirrors = [\n\
             {{ upstream = \"v2\", compare = {{}} }},\n{{ upstream = \"v3\" }},\n\
             {{ upstream = \"again\", role = \"baseline\", compare = {{}} }},\n]\n",
            n / 10
        ));
    }
    text
}

/// Answers by its name, and with 503 on the route that fails.
fn failing(name: &'static str) -> Origin {
    Origin::new(move |request, stream| {
        let fails = request.target.starts_with(&format!("/r{FAILING}/"));
        let line = if fails { "503 Service Unavailable" } else { "200 OK" };
        let head = format!(
            "HTTP/1.1 {line}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{name}",
            name.len()
        );
        let _ = stream.write_all(head.as_bytes());
        After::Keep
    })
}

#[test]
fn the_dashboard_keeps_its_promises_in_a_browser() {
    let (modules, chromium) = (modules(), chromium());
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let setup = Setup::new(&v1).mirror("v2", v2.address, "");
    let gateway = setup.start();
    let shares = "primaries = [{ upstream = \"primary\", weight = 90 }, { upstream = \"v2\", weight = 10 }]";
    let guarded = setup.toml().replace("[admin]\n", &format!("[admin]\ntoken = \"{TOKEN}\"\n"));
    let guarded = guarded.replace("primary = \"primary\"", shares);
    let guarded = Gateway::start(&guarded, &[]);
    let again = Setup::new(&v1)
        .mirror("again", v1.address, "role = \"baseline\", compare = {}")
        .mirror("next", v2.address, "percent = 5, compare = {}")
        .start();
    let (of_wide, refusing) = ([failing("v1"), failing("v2")], Origin::refusing());
    let wide = Gateway::start(&wide(&of_wide[0], &of_wide[1], refusing), &[]);
    let around = |n: usize| format!("/r{}/x", if n.is_multiple_of(4) { FAILING } else { n * 7 % ROUTES });
    let _traffic = [Traffic::before(&gateway), Traffic::before(&again), Traffic::to(&wide, around)];
    let output = Command::new("node")
        .arg(root().join("tests/browser/dashboard.test.js"))
        .env("ADMIN", gateway.admin.to_string())
        .env("GUARDED", guarded.admin.to_string())
        .env("BASELINE", again.admin.to_string())
        .env("WIDE", wide.admin.to_string())
        .env("TOKEN", TOKEN)
        .env("CHROMIUM", chromium)
        .env("MODULES", modules)
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{HELP}\nnode: {error}"));
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_browser_gets_the_dashboard_and_everybody_else_the_index() {
    let gateway = Setup::new(&Origin::named("v1")).start();
    let page = gateway.admin_with("GET", "/", "Accept: text/html,*/*;q=0.8\r\n", "");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.field("content-security-policy").is_some_and(|policy| policy.starts_with("default-src 'none'"))
    );
    for lines in ["Accept: */*\r\n", ""] {
        let index = gateway.admin_with("GET", "/", lines, "");
        assert!(String::from_utf8_lossy(&index.body).starts_with("Umbra admin"), "{lines}");
    }
    let live = gateway.admin("GET", "/live", "");
    assert_eq!(live.field("cache-control"), Some("no-store"));
    assert_eq!(live.field("x-content-type-options"), Some("nosniff"));
}
