//! A gateway process that is not expected to serve in the ordinary way: other arguments, wrappers, refusals to start.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::gateway::binary;
use crate::{PATIENCE, eventually};

/// A running process; killed when dropped.
pub struct Process {
    pub child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Process {
    /// The gateway with this file.
    #[track_caller]
    pub fn gateway(file: &Path) -> Self {
        Self::spawn(Command::new(binary()).arg("--config").arg(file))
    }

    #[track_caller]
    pub fn spawn(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the process starts");
        let stdout = collect(child.stdout.take().expect("stdout is piped"));
        let stderr = collect(child.stderr.take().expect("stderr is piped"));
        Self { child, stdout, stderr }
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("stdout").clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("stderr").clone()
    }

    /// Waits for `count` whole lines of standard output that start with `prefix`; returns the rest of each.
    #[track_caller]
    pub fn lines(&mut self, prefix: &str, count: usize) -> Vec<String> {
        let mut found = Vec::new();
        eventually(&format!("{count} lines {prefix:?}; stderr so far: {}", self.stderr()), || {
            let text = self.stdout();
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            found =
                whole.filter_map(|line| line.trim_end().strip_prefix(prefix)).map(str::to_owned).collect();
            let ended = self.child.try_wait().expect("wait");
            assert!(ended.is_none() || found.len() >= count, "it ended: {ended:?}\n{}", self.stderr());
            found.len() >= count
        });
        found
    }

    /// Waits for the end; all that was said by then is there.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + 2 * PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("wait") {
                // Each collector holds a second reference until its stream has ended.
                eventually("the streams end", || {
                    Arc::strong_count(&self.stdout) + Arc::strong_count(&self.stderr) == 2
                });
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the process does not end:\n{}", self.stderr());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::<Mutex<String>>::default();
    let log = Arc::clone(&text);
    std::thread::spawn(move || {
        let mut block = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut block) {
            log.lock().expect("log").push_str(&String::from_utf8_lossy(&block[..n]));
        }
    });
    text
}

/// A process that outlives the one the test started; ended with the test.
pub struct Successor {
    pub id: String,
}

impl Successor {
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id]).status().expect("kill");
        assert!(sent.success(), "SIG{name} to {}", self.id);
    }

    pub fn is_gone(&self) -> bool {
        // A child that ended and was not waited for is no more than an entry.
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        status.lines().find(|line| line.starts_with("State:")).is_none_or(|state| state.contains('Z'))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.id]).stderr(Stdio::null()).status();
    }
}

/// The process that the `n`th hand-over went to, once it serves, by the log.
#[track_caller]
pub fn successor(log: impl Fn() -> String, n: usize) -> Successor {
    let find = || {
        let log = log();
        let line = log.lines().filter(|line| line.contains(" serves now; draining")).nth(n)?.to_owned();
        Some(line.split("process ").nth(1)?.split(' ').next()?.to_owned())
    };
    eventually(&format!("hand-over {n}; so far: {}", log()), || find().is_some());
    Successor { id: find().expect("found just now") }
}
