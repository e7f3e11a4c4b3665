//! Addresses to listening sockets: for each listener one SO_REUSEPORT socket per worker, and one for admin; or those that
//! the process was started with.
//!
//! It knows socket options and which key each address stands under; nothing here accepts.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};

use config::Config;
use config::check::Problem;
use socket2::{Domain, Protocol, Socket, Type};

use super::Source;
use super::inherit::{Inherited, Use};
use crate::io::Owner;

/// Connections the kernel completes while a worker is busy elsewhere; it clips this to net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Sockets that listen.
#[derive(Debug)]
pub(super) struct Bound {
    /// By listener; port 0 has become the port it got.
    pub(super) listener_addresses: Vec<SocketAddr>,
    /// For each worker its own sockets of every listener.
    pub(super) listeners_by_worker: Vec<Vec<(TcpListener, Owner)>>,
    /// Ready for an asynchronous runtime: it does not block.
    pub(super) admin: Option<(SocketAddr, TcpListener)>,
    /// All of them once more, for a successor, and what a service manager opened and nobody named.
    pub(super) kept: Vec<(Use, TcpListener)>,
}

/// Binds everything that was not `inherited`, or says all that does not work. What is left of `inherited` stays there.
pub(super) fn bind(
    config: &Config,
    source: &Source,
    inherited: &mut Inherited,
) -> Result<Bound, Vec<Problem>> {
    let workers = config.workers.count;
    let mut kept = Vec::new();
    let mut keep = |sockets: &[(Use, TcpListener)]| -> io::Result<()> {
        for (is, socket) in sockets {
            kept.push((*is, socket.try_clone()?));
        }
        Ok(())
    };
    let mut refused = Vec::new();
    let mut listener_addresses = Vec::with_capacity(config.listeners.len());
    let mut listeners_by_worker: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, listener) in config.listeners.iter().enumerate() {
        let sockets = match inherited.listener(listener.bind) {
            none if none.is_empty() => shared(listener.bind, workers).map(|(address, sockets)| {
                (address, sockets.into_iter().map(|socket| (Use::Listener(listener.bind), socket)).collect())
            }),
            sockets => given(sockets),
        };
        let dealt = sockets.and_then(|(address, sockets)| {
            keep(&sockets)?;
            deal(&sockets, &mut listeners_by_worker)?;
            Ok(address)
        });
        match dealt {
            Ok(address) => listener_addresses.push(address),
            Err(e) => refused.push(problem(source, format!("listener[{index}].bind"), listener.bind, &e)),
        }
    }
    let mut admin = None;
    if let Some(address) = config.admin.bind {
        let found = inherited.admin(address).map_or_else(|| Ok((Use::Admin(address), single(address)?)), Ok);
        let bound = found.and_then(|one| {
            keep(std::slice::from_ref(&one))?;
            let (_, socket) = one;
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        });
        match bound {
            Ok(bound) => admin = Some(bound),
            Err(e) => refused.push(problem(source, "admin.bind".to_owned(), address, &e)),
        }
    }
    if refused.is_empty() {
        Ok(Bound { listener_addresses, listeners_by_worker, admin, kept })
    } else {
        Err(refused)
    }
}

fn problem(source: &Source, key: String, address: SocketAddr, error: &io::Error) -> Problem {
    let message = match error.kind() {
        ErrorKind::AddrInUse => format!("{address} is already in use{}", elsewhere(source)),
        ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        ErrorKind::PermissionDenied => format!("{address} may not be bound by this user: {error}"),
        // `ErrorKind` is open; whatever else the kernel says is said on.
        _ => format!("cannot listen on {address}: {error}"),
    };
    source.problem(key, &address.to_string(), message)
}

fn elsewhere(source: &Source) -> &'static str {
    match source {
        Source::Embedded => "; with --config FILE the gateway listens elsewhere",
        Source::File(_) | Source::Manifests(_) => "",
    }
}

/// Sockets that were open before.
fn given(sockets: Vec<(Use, TcpListener)>) -> io::Result<(SocketAddr, Vec<(Use, TcpListener)>)> {
    let address = sockets.first().map(|(_, socket)| socket.local_addr()).ok_or(ErrorKind::NotFound)??;
    Ok((address, sockets))
}

fn owner(is: Use) -> Owner {
    match is {
        Use::Listener(_) | Use::Admin(_) => Owner::Us,
        Use::Address => Owner::ServiceManager,
    }
}

/// Each socket to a worker, so that nobody waits in one from which nobody takes, and to each worker a socket. With as many
/// of the one as of the other, each has its own.
fn deal(sockets: &[(Use, TcpListener)], workers: &mut [Vec<(TcpListener, Owner)>]) -> io::Result<()> {
    let turns = if sockets.is_empty() { 0 } else { sockets.len().max(workers.len()) };
    for turn in 0..turns {
        let worker = turn % workers.len().max(1);
        let socket = sockets.get(turn % sockets.len());
        if let (Some((is, socket)), Some(worker)) = (socket, workers.get_mut(worker)) {
            worker.push((socket.try_clone()?, owner(*is)));
        }
    }
    Ok(())
}

/// One listening socket per worker on one address.
fn shared(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    if address.port() != 0 {
        // With SO_REUSEPORT a second gateway of the same user would be let in and take half of the connections. A
        // socket without it is refused where anyone listens, so it asks first. (Port 0 never gets a port in use.)
        socket(address)?.bind(&address.into())?;
    }
    let mut sockets = vec![reuse_port(address)?];
    let mut bound = address;
    if let Some(first) = sockets.first() {
        bound = first.local_addr()?;
    }
    while sockets.len() < workers {
        sockets.push(reuse_port(bound)?);
    }
    Ok((bound, sockets))
}

fn reuse_port(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket(address)?;
    socket.set_reuse_port(true)?;
    listen(socket, address)
}

fn single(address: SocketAddr) -> io::Result<TcpListener> {
    listen(socket(address)?, address)
}

/// SO_REUSEADDR lets a new process bind while connections of the last one are in TIME_WAIT; two sockets that listen
/// still exclude each other on Linux.
fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    Ok(socket)
}

fn listen(socket: Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // Accepted sockets inherit it, which saves a system call on each connection.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use config::Listener;

    use super::*;
    use crate::control::budget::tests::config;

    fn any_port() -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
    }

    fn on(binds: &[SocketAddr], admin: Option<SocketAddr>) -> Config {
        let mut config = config();
        config.listeners = binds.iter().map(|bind| Listener { bind: *bind }).collect();
        config.admin.bind = admin;
        config
    }

    fn bound(config: &Config, source: &Source) -> Result<Bound, Vec<Problem>> {
        bind(config, source, &mut Inherited::default())
    }

    fn texts(refused: Result<Bound, Vec<Problem>>) -> Vec<String> {
        refused.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_workers_share_the_port_that_port_zero_became() {
        let config = on(&[any_port()], Some(any_port()));
        let all = bound(&config, &Source::Embedded).unwrap();
        let address = all.listener_addresses[0];
        assert_ne!(address.port(), 0);
        assert_eq!(all.listeners_by_worker.len(), config.workers.count);
        for worker in &all.listeners_by_worker {
            assert_eq!(worker[0].0.local_addr().unwrap(), address);
        }
        assert_ne!(all.admin.unwrap().0.port(), 0);
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        let one = |_| (Use::Address, TcpListener::bind(any_port()).unwrap());
        let open = |n| (0..n).map(one).collect::<Vec<_>>();
        for (sockets, workers, expect) in [
            (2, 2, vec![1, 1]),
            (3, 2, vec![2, 1]),
            (1, 3, vec![1, 1, 1]),
            (2, 3, vec![1, 1, 1]),
            (5, 1, vec![5]),
        ] {
            let mut dealt: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
            let sockets = open(sockets);
            deal(&sockets, &mut dealt).unwrap();
            assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), expect);
            let mut ports: Vec<u16> =
                dealt.iter().flatten().map(|(socket, _)| socket.local_addr().unwrap().port()).collect();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), sockets.len());
        }
    }

    #[test]
    fn accepted_sockets_inherit_nodelay() {
        let (address, sockets) = shared(any_port(), 1).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        assert!(sockets[0].accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn a_second_gateway_on_the_same_port_is_refused_by_key() {
        let first = bound(&on(&[any_port()], Some(any_port())), &Source::Embedded).unwrap();
        let (taken, admin) = (first.listener_addresses[0], first.admin.as_ref().unwrap().0);
        let texts = texts(bound(&on(&[any_port(), taken], Some(admin)), &Source::Embedded));
        assert_eq!(
            texts,
            [
                format!(
                    "embedded default: listener[1].bind: {taken} is already in use; with --config FILE the gateway \
                     listens elsewhere"
                ),
                format!(
                    "embedded default: admin.bind: {admin} is already in use; with --config FILE the gateway listens \
                     elsewhere"
                ),
            ]
        );
    }

    #[test]
    fn one_address_cannot_be_two_listeners() {
        let port = bound(&on(&[any_port()], None), &Source::Embedded).unwrap().listener_addresses[0];
        let texts = texts(bound(&on(&[port, port], None), &Source::Embedded));
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("listener[1].bind"), "{texts:?}");
    }

    #[test]
    fn the_line_in_the_file_is_named() {
        let (taken, _keep) = shared(any_port(), 1).unwrap();
        let file = std::env::temp_dir().join(format!("umbra-bind-{}.toml", taken.port()));
        std::fs::write(&file, format!("[[listener]]\nbind = \"{taken}\"\n")).unwrap();
        let texts = texts(bound(&on(&[taken], None), &Source::File(file.clone())));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(texts, [format!("{}:2: listener[0].bind: {taken} is already in use", file.display())]);
    }

    #[test]
    fn an_address_of_another_machine_is_called_that() {
        let texts = texts(bound(&on(&["192.0.2.1:80".parse().unwrap()], None), &Source::Embedded));
        assert_eq!(
            texts,
            ["embedded default: listener[0].bind: 192.0.2.1:80 is not an address of this machine"]
        );
    }
}
