//! A program we started: it says why it did not come up, and it ends, with all its children, when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::{os, procfs};

/// How long a server may take until it accepts: Envoy needs a second, ten thousand routes some more.
const START_MAX: Duration = Duration::from_secs(30);
/// How long a server may take to end when asked.
const END_MAX: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Not contended; the lock lets a whole process be seen from several threads.
    lines: Option<Mutex<mpsc::Receiver<String>>>,
}

impl Process {
    /// Starts `command`; its standard error, and its standard output too unless `reads_output`, go to a file.
    pub fn start(name: &str, mut command: Command, dir: &Path, reads_output: bool) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("cannot write the log of {name}"))?;
        let output = if reads_output { Stdio::piped() } else { file.try_clone()?.into() };
        command.stdin(Stdio::null()).stdout(output).stderr(file);
        os::die_with_parent(&mut command);
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().with_context(|| format!("cannot start {program} for {name}"))?;
        let lines = child.stdout.take().map(|out| {
            let (sender, receiver) = mpsc::channel();
            // Reads to the end, so that the child never blocks on a full pipe; ends with the child.
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
            Mutex::new(receiver)
        });
        Ok(Self { name: name.to_string(), child, log, lines })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line on standard output that `wanted` makes something of.
    pub fn wait_line<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + START_MAX;
        while let Some(lines) = self.lines.as_mut().and_then(|lines| lines.get_mut().ok()) {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(found) = wanted(&line) {
                        return Ok(found);
                    }
                }
                Err(_) => break,
            }
        }
        bail!("{} did not start: {}", self.name, self.last_words())
    }

    /// Until `addr` accepts.
    pub fn wait_accepting(&mut self, addr: SocketAddr) -> Result<()> {
        let deadline = Instant::now() + START_MAX;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at its start ({status}): {}", self.name, self.last_words());
            }
            if TcpStream::connect_timeout(&addr, Duration::from_millis(200)).is_ok() {
                return Ok(());
            }
            ensure!(!os::interrupted(), "interrupted");
            if Instant::now() > deadline {
                bail!("{} does not accept on {addr} after {START_MAX:?}: {}", self.name, self.last_words());
            }
            std::thread::sleep(POLL);
        }
    }

    /// An error with its last words if it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} died ({status}): {}", self.name, self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        if lines.is_empty() {
            "it said nothing".to_string()
        } else {
            lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let tree = procfs::tree(self.pid());
        os::send_signal(self.pid(), libc::SIGTERM);
        let deadline = Instant::now() + END_MAX;
        let mut ended = false;
        while !ended && Instant::now() < deadline {
            ended = !matches!(self.child.try_wait(), Ok(None));
            if !ended {
                std::thread::sleep(POLL);
            }
        }
        // The start time tells a descendant from a stranger that got its number since.
        for stat in tree {
            if procfs::stat(stat.pid).is_some_and(|now| now.start == stat.start) {
                os::send_signal(stat.pid, libc::SIGKILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// Runs a program to its end, or kills it after `max`. Its output goes through files: no pipe can fill up.
pub fn run_to_end(name: &str, mut command: Command, dir: &Path, max: Duration) -> Result<Output> {
    let (out, err) = (dir.join(format!("{name}.out")), dir.join(format!("{name}.err")));
    command.stdin(Stdio::null()).stdout(File::create(&out)?).stderr(File::create(&err)?);
    os::die_with_parent(&mut command);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    let deadline = Instant::now() + max;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if os::interrupted() || Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            ensure!(!os::interrupted(), "interrupted");
            bail!("{name} did not end within {max:?} and was killed");
        }
        std::thread::sleep(POLL);
    };
    Ok(Output { status, stdout: fs::read(out)?, stderr: fs::read(err)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_ends_the_whole_tree() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; sleep 60 & echo up; wait; sleep 60"]);
        let mut process = Process::start("stubborn", command, dir.path(), true).expect("sh starts");
        process.wait_line(|line| (line == "up").then_some(())).expect("it says so");
        let tree = procfs::tree(process.pid());
        assert!(tree.len() >= 2, "the shell and its sleep: {tree:?}");
        drop(process);
        let left = |s: &procfs::Stat| procfs::stat(s.pid).is_some_and(|now| now.start == s.start);
        let deadline = Instant::now() + END_MAX;
        while tree.iter().any(left) {
            assert!(Instant::now() < deadline, "still there: {tree:?}");
            std::thread::sleep(POLL);
        }
    }

    #[test]
    fn a_server_that_does_not_start_is_quoted() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such luck >&2; exit 3"]);
        let mut process = Process::start("luckless", command, dir.path(), false).expect("sh starts");
        let error =
            process.wait_accepting(SocketAddr::from(([127, 0, 0, 1], 9))).expect_err("nobody accepts");
        assert!(error.to_string().contains("no such luck"), "{error}");
    }
}
