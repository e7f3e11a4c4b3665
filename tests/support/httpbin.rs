//! PyPI's httpbin under gunicorn: the article's own application, as a service of whichever version.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{Client, eventually_within, python};

/// How long Python may take to import the application.
const START: Duration = Duration::from_secs(60);

/// Many requests at once, on kept connections.
pub const THREADS: &[&str] = &["--worker-class", "gthread", "--threads", "8", "--keep-alive", "30"];

/// Packages for `pip`, pinned: httpbin's answers are compared with themselves, not with a version's.
const REQUIREMENTS: [&str; 5] =
    ["httpbin==0.10.4", "gunicorn==27.0.1", "flask==3.1.3", "werkzeug==3.1.9", "greenlet==2.0.2"];

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
        let venv = python::environment("httpbin", &REQUIREMENTS);
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
        eventually_within(START, "gunicorn listens and its worker has booted", || {
            let log = fs::read_to_string(&errors).unwrap_or_default();
            let at = log.split("Listening at: http://").nth(1).and_then(|rest| rest.split(' ').next());
            address = at.and_then(|at| at.parse().ok());
            address.is_some() && log.contains("Booting worker")
        });
        let address = address.expect("found above");
        let httpbin = Self { address, child, folder };
        eventually_within(START, "httpbin answers", || {
            let mut client = Client::connect(address);
            let answer = client.send("GET /status/204 HTTP/1.1\r\nHost: a\r\n\r\n").try_response(false);
            answer.is_ok_and(|answer| answer.status == 204)
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
