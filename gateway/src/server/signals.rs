//! Commands of an operator by signals. SIGPIPE is ignored by the standard library's start-up code already.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that ask for something else than the end, and would end a process that does not handle them: they are kept from the
/// first moment on, and answered once the control loop runs.
pub(super) struct Requests {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

/// All signals that are listened to.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    requests: Requests,
}

/// The command of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalCommand {
    Stop(&'static str),
    Reload,
    /// The access log's file was moved away.
    Reopen,
    /// A new process is to take over.
    HandOver,
}

impl Requests {
    /// Inside a runtime.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

impl Signals {
    /// To be called inside a runtime. From now on every part of the start has to look at the signals, or only SIGKILL ends it.
    pub(super) fn new(requests: Requests) -> io::Result<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        Ok(Self { terminate, interrupt, requests })
    }

    /// The next request to stop. All others wait.
    pub(super) async fn stop_only(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// The next command.
    pub(super) async fn next(&mut self) -> SignalCommand {
        let Self { terminate, interrupt, requests: Requests { hangup, user1, user2 } } = self;
        tokio::select! {
            _ = terminate.recv() => SignalCommand::Stop("SIGTERM"),
            _ = interrupt.recv() => SignalCommand::Stop("SIGINT"),
            _ = hangup.recv() => SignalCommand::Reload,
            _ = user1.recv() => SignalCommand::Reopen,
            _ = user2.recv() => SignalCommand::HandOver,
        }
    }

    /// The next request to stop; `reopen` is called for each request to open the access log anew.
    pub(super) async fn stop(&mut self, reopen: impl Fn()) -> &'static str {
        loop {
            match self.next().await {
                SignalCommand::Stop(name) => return name,
                SignalCommand::Reopen => reopen(),
                SignalCommand::Reload => tracing::warn!("SIGHUP ignored while draining"),
                SignalCommand::HandOver => tracing::warn!("SIGUSR2 ignored while draining"),
            }
        }
    }
}
