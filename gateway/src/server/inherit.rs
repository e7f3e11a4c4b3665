//! Listening sockets that were open before this process began: from the gateway it follows (`handover`), or from a service
//! manager (socket activation). The room finds them and hands each to the listener that names its address.

use std::env;
use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use socket2::{Protocol, Socket, Type};

use crate::os;

/// A predecessor's variable: its process id, then a word for each socket, in the order of their descriptors.
pub(super) const HANDED_OVER: &str = "UMBRA_HANDED_OVER";

/// A service manager's variables (sd_listen_fds(3)).
pub(super) const ACTIVATED: [&str; 3] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// The first descriptor that is handed to a process, by both conventions.
pub(super) const FIRST: RawFd = 3;

/// Sockets that a process may be handed; more is a mistake.
const SOCKETS_MAX: usize = 4096;

/// The use of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The address as it is configured, port 0 included.
    Listener(SocketAddr),
    Admin(SocketAddr),
    /// The listener that has the socket's own address. A service manager opened the socket: it is handed on as such, through
    /// any number of processes, and none of them may end it.
    Address,
}

impl Use {
    /// As a word of [`HANDED_OVER`].
    pub(super) fn word(self) -> String {
        match self {
            Self::Listener(bind) => format!("listener={bind}"),
            Self::Admin(bind) => format!("admin={bind}"),
            Self::Address => "socket".to_owned(),
        }
    }

    fn of(word: &str) -> Option<Self> {
        let address = |text: &str| text.parse().ok();
        match word.split_once('=') {
            Some(("listener", bind)) => Some(Self::Listener(address(bind)?)),
            Some(("admin", bind)) => Some(Self::Admin(address(bind)?)),
            _ => (word == "socket").then_some(Self::Address),
        }
    }
}

/// Inherited sockets that are not taken yet.
#[derive(Debug, Default, Clone)]
pub(super) struct Inherited {
    sockets: Vec<(Use, Arc<TcpListener>)>,
}

impl Inherited {
    #[cfg(test)]
    pub(super) fn of(sockets: Vec<(Use, TcpListener)>) -> Self {
        Self { sockets: sockets.into_iter().map(|(is, socket)| (is, Arc::new(socket))).collect() }
    }

    /// The sockets that the environment names, and the pipe on which a predecessor waits to hear that this process serves. Call
    /// it once, before this process opens anything of its own.
    ///
    /// # Errors
    /// A socket that is named is not there, or is no such socket.
    pub(super) fn find() -> Result<(Self, Option<OwnedFd>), String> {
        let var = |name: &str| env::var_os(name);
        // An environment is inherited further than descriptors are: one that was meant for another process is ignored.
        if let Some(uses) = handed_over(var(HANDED_OVER), std::os::unix::process::parent_id()) {
            let found = Self::adopt(&uses?)?;
            let after = FIRST + RawFd::try_from(found.sockets.len()).unwrap_or(0);
            let predecessor = os::adopt(after).map_err(|e| format!("{HANDED_OVER}: no pipe: {e}"))?;
            return Ok((found, Some(predecessor)));
        }
        let [count, process, _] = ACTIVATED.map(var);
        match activated(count, process, std::process::id()) {
            Some(count) => Ok((Self::adopt(&vec![Use::Address; count?])?, None)),
            None => Ok((Self::default(), None)),
        }
    }

    fn adopt(uses: &[Use]) -> Result<Self, String> {
        let adopt = |(at, wanted): (RawFd, &Use)| {
            let not = |why: String| format!("descriptor {at} was said to be a listening socket: {why}");
            let socket = Socket::from(os::adopt(at).map_err(|e| not(e.to_string()))?);
            let listens = socket.is_listener().map_err(|e| not(e.to_string()))?;
            let is_tcp = socket.r#type().is_ok_and(|t| t == Type::STREAM)
                && socket.protocol().is_ok_and(|p| p == Some(Protocol::TCP));
            if !listens || !is_tcp {
                return Err(not("it is not one of TCP".to_owned()));
            }
            // Accepted sockets inherit it.
            socket.set_tcp_nodelay(true).map_err(|e| not(e.to_string()))?;
            Ok((*wanted, Arc::new(TcpListener::from(socket))))
        };
        let sockets = (FIRST..).zip(uses).map(adopt).collect::<Result<_, _>>()?;
        Ok(Self { sockets })
    }

    /// The sockets of a listener with this `bind`.
    pub(super) fn listener(&mut self, bind: SocketAddr) -> Vec<(Use, Arc<TcpListener>)> {
        self.take(|is, own| is == Use::Listener(bind) || (is == Use::Address && own == bind))
    }

    /// The admin listener's socket.
    pub(super) fn admin(&mut self, bind: SocketAddr) -> Option<(Use, Arc<TcpListener>)> {
        self.take(|is, own| is == Use::Admin(bind) || (is == Use::Address && own == bind)).into_iter().next()
    }

    fn take(&mut self, wanted: impl Fn(Use, SocketAddr) -> bool) -> Vec<(Use, Arc<TcpListener>)> {
        let is_wanted = |(is, socket): &mut (Use, Arc<TcpListener>)| {
            socket.local_addr().is_ok_and(|own| wanted(*is, own))
        };
        self.sockets.extract_if(.., is_wanted).collect()
    }

    /// Closes the sockets that no listener wants, lest clients wait at a socket that is never accepted from; returns their
    /// addresses. A service manager's socket stays open in any case: it is kept for a configuration or a successor that names
    /// it.
    pub(super) fn leave(&mut self) -> Vec<SocketAddr> {
        let mut left: Vec<_> =
            self.sockets.iter().filter_map(|(_, socket)| socket.local_addr().ok()).collect();
        left.sort_unstable();
        left.dedup();
        self.sockets.retain(is_lent);
        left
    }

    /// Takes back sockets that no listener has any more, as far as they are a service manager's.
    pub(super) fn put_back(&mut self, sockets: impl Iterator<Item = (Use, Arc<TcpListener>)>) {
        self.sockets.extend(sockets.filter(is_lent));
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &(Use, Arc<TcpListener>)> {
        self.sockets.iter()
    }
}

fn is_lent((is, _): &(Use, Arc<TcpListener>)) -> bool {
    match is {
        Use::Address => true,
        Use::Listener(_) | Use::Admin(_) => false,
    }
}

/// The uses of the sockets that a predecessor handed over, if it did so to a child of `parent`.
fn handed_over(told: Option<OsString>, parent: u32) -> Option<Result<Vec<Use>, String>> {
    let told = told?.into_string().ok()?;
    let mut words = told.split(' ');
    if words.next()?.parse() != Ok(parent) {
        return None;
    }
    let uses = words.take(SOCKETS_MAX + 1).map(|word| {
        Use::of(word).ok_or_else(|| format!("{HANDED_OVER}: {word:?} is no socket that this version knows"))
    });
    Some(uses.collect())
}

/// How many sockets a service manager opened for the process `own`.
fn activated(count: Option<OsString>, process: Option<OsString>, own: u32) -> Option<Result<usize, String>> {
    let text = |of: Option<OsString>| of?.into_string().ok();
    if text(process)?.parse() != Ok(own) {
        return None;
    }
    let count = text(count)?;
    let number = count.parse().ok().filter(|number| *number <= SOCKETS_MAX);
    Some(number.ok_or_else(|| format!("LISTEN_FDS: {count:?} is no number of sockets up to {SOCKETS_MAX}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_by_the_process_it_was_written_for() {
        let bind: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let all = [Use::Listener(bind), Use::Listener(bind), Use::Admin(bind), Use::Address];
        let told: Vec<String> = ["7".to_owned()].into_iter().chain(all.map(Use::word)).collect();
        let told = Some(OsString::from(told.join(" ")));
        assert_eq!(handed_over(told.clone(), 7), Some(Ok(all.to_vec())));
        assert_eq!(handed_over(told, 8), None, "a grandchild");
        assert_eq!(handed_over(None, 7), None);
        assert!(handed_over(Some("7 listener=x".into()), 7).unwrap().unwrap_err().contains("listener=x"));
        let some = |text: &str| Some(OsString::from(text));
        assert_eq!(activated(some("2"), some("7"), 7), Some(Ok(2)));
        assert_eq!(activated(some("2"), some("8"), 7), None);
        assert_eq!(activated(some("2"), None, 7), None);
        assert!(activated(some("many"), some("7"), 7).unwrap().is_err());
    }

    #[test]
    fn a_socket_goes_to_who_names_its_address_and_once() {
        let open = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (first, second, third) = (open(), open(), open());
        let [a, b] = [&first, &second].map(|socket| socket.local_addr().unwrap());
        let port_zero: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let sockets = vec![(Use::Address, first), (Use::Address, second), (Use::Listener(port_zero), third)];
        let mut found = Inherited::of(sockets);
        assert_eq!(found.listener(a).len(), 1);
        assert_eq!(found.listener(a).len(), 0);
        assert_eq!(found.listener(port_zero).len(), 1);
        assert!(found.admin(b).is_some() && found.all().count() == 0);
    }

    #[test]
    fn of_sockets_that_nobody_names_only_a_service_managers_are_kept() {
        let open = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (lent, ours) = (open(), open());
        let [lent_at, ours_at] = [&lent, &ours].map(|socket| socket.local_addr().unwrap());
        let sockets = vec![(Use::Address, lent), (Use::Listener(ours_at), ours)];
        let mut found = Inherited::of(sockets);
        assert_eq!(found.leave().len(), 2);
        let kept = found.sockets;
        assert!(kept.len() == 1 && kept[0].0 == Use::Address, "{kept:?}");
        assert_eq!(kept[0].1.local_addr().unwrap(), lent_at);
        assert!(TcpListener::bind(ours_at).is_ok(), "the other is closed");
    }
}
