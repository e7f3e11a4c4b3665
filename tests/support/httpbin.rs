//! PyPI's httpbin under gunicorn: the article's own application, as a service of whichever version.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Client, eventually};

/// Many requests at once, on kept connections.
pub const THREADS: &[&str] = &["--worker-class", "gthread", "--threads", "8", "--keep-alive", "30"];

/// What `pip` installs, pinned: httpbin's answers are compared with themselves, not with a version's.
const REQUIREMENTS: [&str; 5] =
    ["httpbin==0.10.4", "gunicorn==27.0.1", "flask==3.1.3", "werkzeug==3.1.9", "greenlet==2.0.2"];

/// The virtual environment, made once for all test processes.
fn environment() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("target");
    fs::create_dir_all(&target).expect("the target folder");
    let lock = File::create(target.join("httpbin-venv.lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let (venv, wanted) = (target.join("httpbin-venv"), REQUIREMENTS.join("\n"));
    let stamp = venv.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return venv;
    }
    let _ = fs::remove_dir_all(&venv);
    run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(REQUIREMENTS));
    fs::write(&stamp, wanted).expect("the stamp");
    venv
}

#[track_caller]
fn run(command: &mut Command) {
    const HELP: &str = "httpbin cannot be installed, and without it the article's experiment is not tested.\n\
        Needed: python3 (3.9 or later) with venv and pip (Debian: apt-get install python3-venv), and a package index \
        that pip reaches (PIP_INDEX_URL). Then run the test again; remove target/httpbin-venv to start afresh.";
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "{HELP}\n{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("{HELP}\n{command:?}: {error}"),
    }
}

/// httpbin under gunicorn on a free port; ended when dropped.
pub struct Httpbin {
    pub address: SocketAddr,
    child: Child,
    folder: tempfile::TempDir,
}

impl Httpbin {
    /// `workers`: the kind of gunicorn's workers. Its default, "sync", closes after each answer.
    pub fn start(workers: &[&str]) -> Self {
        Self::of("httpbin:app", workers)
    }

    /// httpbin as a next version that went wrong in three ways; `changed.py` tells which.
    pub fn changed(workers: &[&str]) -> Self {
        Self::of("changed:app", workers)
    }

    fn of(application: &str, workers: &[&str]) -> Self {
        let venv = environment();
        let folder = tempfile::tempdir().expect("a temporary directory");
        let errors = folder.path().join("errors");
        let child = Command::new(venv.join("bin/gunicorn"))
            .args(["--bind", "127.0.0.1:0", "--access-logfile"])
            .arg(folder.path().join("access"))
            .arg("--error-logfile")
            .arg(&errors)
            .args(workers)
            .arg("--chdir")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("support"))
            .arg(application)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).expect("a log file"))
            .spawn()
            .expect("gunicorn starts");
        let mut address = None;
        eventually("gunicorn listens and its worker has booted", || {
            let log = fs::read_to_string(&errors).unwrap_or_default();
            let at = log.split("Listening at: http://").nth(1).and_then(|rest| rest.split(' ').next());
            address = at.and_then(|at| at.parse().ok());
            address.is_some() && log.contains("Booting worker")
        });
        let address = address.expect("found above");
        let httpbin = Self { address, child, folder };
        eventually("httpbin answers", || {
            Client::connect(address).ask(b"GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n").status == 204
        });
        httpbin
    }

    /// The access log's lines with `needle` in them.
    pub fn logged(&self, needle: &str) -> Vec<String> {
        let log = fs::read_to_string(self.folder.path().join("access")).unwrap_or_default();
        log.lines().filter(|line| line.contains(needle)).map(str::to_owned).collect()
    }
}

impl Drop for Httpbin {
    fn drop(&mut self) {
        // Its worker ends only if gunicorn is asked.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}
