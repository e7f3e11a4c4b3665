//! The gateway's successor: the program started once more, with every listening socket, so that no client finds the door
//! closed while one goes and the other comes. The old process serves until the new one says that it does.

use std::env;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use tokio::net::unix::pipe;
use tokio::time::Instant;

use super::inherit::{ACTIVATED, HANDED_OVER};
use super::listeners::Listeners;
use crate::os;

/// A successor that has not said that it serves after this long never will: names are looked up and workers started.
const READY_MAX: Duration = Duration::from_secs(60);

/// A successor that will not serve has this long to say why and to end, and is looked at so often.
const ENDED_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How this process was started, as it was then: a file that is replaced later is the new version.
#[derive(Debug)]
pub(super) struct Program {
    path: io::Result<PathBuf>,
    arguments: Vec<std::ffi::OsString>,
}

impl Program {
    /// Of this process. Call it before anybody changes the directory.
    pub(super) fn own() -> Self {
        let mut arguments = env::args_os();
        let named = arguments.next().map(PathBuf::from).filter(|path| path.components().count() > 1);
        // A name without a directory was searched for: the found program is the one that runs.
        let path = named.map_or_else(env::current_exe, std::path::absolute);
        Self { path, arguments: arguments.collect() }
    }
}

/// A new process that was given the sockets and does not serve yet. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Successor {
    child: Child,
    said: pipe::Receiver,
    deadline: Instant,
    serves: bool,
    /// The successor will not serve any more; it has until then to say why and to end.
    ending: Option<Instant>,
}

impl Successor {
    /// Starts it.
    ///
    /// # Errors
    /// The program cannot be started, or descriptors are lacking.
    pub(super) fn start(program: &Program, listeners: &Listeners) -> Result<Self, String> {
        let path = program.path.as_ref().map_err(|e| format!("the program's own path is not known: {e}"))?;
        let failed = |e: io::Error| format!("cannot start {}: {e}", path.display());
        let (reader, writer) = io::pipe().map_err(failed)?;
        let said = pipe::Receiver::from_owned_fd(OwnedFd::from(reader)).map_err(failed)?;
        let mut told = std::process::id().to_string();
        let mut passed = Vec::new();
        for (is, socket) in listeners.all() {
            told.push(' ');
            told.push_str(&is.word());
            passed.push(OwnedFd::from(socket.try_clone().map_err(failed)?));
        }
        passed.push(OwnedFd::from(writer));
        let mut command = Command::new(path);
        command.args(&program.arguments).env(HANDED_OVER, told);
        // The service manager's words were for this process.
        ACTIVATED.iter().chain(&["WATCHDOG_PID"]).for_each(|name| {
            command.env_remove(name);
        });
        os::pass_on(&mut command, passed).map_err(failed)?;
        let child = command.spawn().map_err(failed)?;
        drop(command);
        Ok(Self { child, said, deadline: Instant::now() + READY_MAX, serves: false, ending: None })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it serves. May be dropped and called again.
    ///
    /// # Errors
    /// The successor ended, or took too long and was killed.
    pub(super) async fn serves(&mut self) -> Result<(), String> {
        while self.ending.is_none() {
            let readable = tokio::time::timeout_at(self.deadline, self.said.readable()).await;
            if readable.is_err() {
                self.kill();
                return Err(format!("it did not serve after {} s", READY_MAX.as_secs()));
            }
            if self.has_said() {
                return Ok(());
            }
        }
        // The pipe closes a moment before it says why.
        let status = self.ended().await;
        Err(format!("it ended before it served ({status}); it said why above"))
    }

    /// Whether it has said by now that it serves.
    pub(super) fn has_said(&mut self) -> bool {
        match self.said.try_read(&mut [0]) {
            Ok(1) => self.serves = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => {
                self.ending.get_or_insert_with(|| Instant::now() + ENDED_MAX);
            }
        }
        self.serves
    }

    /// Waits until it has ended, and helps it where that takes too long.
    async fn ended(&mut self) -> String {
        while self.ending.is_some_and(|deadline| Instant::now() < deadline) {
            match self.child.try_wait() {
                Ok(None) => tokio::time::sleep(LOOK_EVERY).await,
                Ok(Some(status)) => return status.to_string(),
                Err(error) => return error.to_string(),
            }
        }
        self.kill()
    }

    fn kill(&mut self) -> String {
        let _ = self.child.kill();
        self.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.serves {
            self.kill();
        }
    }
}

/// Tells the process that this one follows that it serves. One that is gone needs to know nothing.
pub(super) fn tell(predecessor: OwnedFd) {
    let _ = io::PipeWriter::from(predecessor).write_all(b"1");
}
