//! Notifications to the service manager that started this process: systemd's protocol (sd_notify(3)), a datagram
//! of lines to the socket that the environment names. Without one nothing is sent.

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::os;

/// The way to the service manager.
#[derive(Debug, Default)]
pub(super) struct Notify {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that this process is well.
    watchdog: Option<Duration>,
}

impl Notify {
    pub(super) fn from_environment() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let address = match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            path => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path)),
        };
        let connected = address.and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.connect_addr(&address)?;
            // A service manager that does not read must not hold us up.
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match connected {
            Ok(socket) => {
                let var = |name: &str| env::var(name).ok();
                let watchdog = period(var("WATCHDOG_USEC"), var("WATCHDOG_PID"), std::process::id());
                Self { socket: Some(socket), watchdog }
            }
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET {path:?}: {error}; the service manager is told nothing");
                Self::default()
            }
        }
    }

    fn tell(&self, lines: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(lines.as_bytes());
        }
    }

    /// Requests are welcome.
    pub(super) fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}\n"));
    }

    /// The configuration is read again; [`Notify::ready`] follows.
    pub(super) fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", os::monotonic_us()));
    }

    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining\n");
    }

    /// Reports that another process is the service now.
    pub(super) fn followed_by(&self, process: u32) {
        self.tell(&format!("MAINPID={process}\n"));
    }

    /// Half the time within which it must hear that all is well, if it wants to.
    pub(super) fn pulse(&self) -> Option<Duration> {
        self.watchdog.map(|period| period / 2)
    }

    pub(super) fn is_well(&self) {
        self.tell("WATCHDOG=1\n");
    }
}

/// The watchdog's period, where it is this process that is watched.
fn period(usec: Option<String>, process: Option<String>, own: u32) -> Option<Duration> {
    if process.is_some_and(|process| process.parse() != Ok(own)) {
        return None;
    }
    usec?.parse().ok().filter(|usec| *usec > 0).map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_that_of_the_process_it_names() {
        let some = |text: &str| Some(text.to_owned());
        let second = Some(Duration::from_secs(1));
        assert_eq!(period(some("1000000"), None, 7), second);
        assert_eq!(period(some("1000000"), some("7"), 7), second);
        for (usec, process) in
            [(some("1000000"), some("8")), (some("0"), None), (some("x"), None), (None, None)]
        {
            assert_eq!(period(usec, process, 7), None);
        }
    }
}
