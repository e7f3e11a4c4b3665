//! The sockets at which this process listens: for each listener one SO_REUSEPORT socket per worker, and one for admin; bound,
//! or given to the process at its start.
//!
//! The room knows socket options and the key of each address; it accepts nothing. The next configuration's set is made beside
//! the one in force: it shares the sockets that stay and binds the new ones, and until it is put into force nothing has
//! changed.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use config::check::Problem;
use config::{Config, Protocols};
use socket2::{Domain, Protocol, Socket, Type};

use super::inherit::{Inherited, Use};
use super::source::SourceText;
use crate::generation::ListenerSockets;
use crate::io::Owner;
use crate::limits::LISTEN_QUEUE_MAX;
use crate::tls::Tls;

/// Sockets that listen.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// By listener of the configuration.
    open: Vec<Open>,
    admin: Option<Open>,
    /// Sockets from a service manager or a predecessor whose address no listener has.
    left: Inherited,
    /// Of the next listener that is opened.
    next_id: u32,
}

/// An address, with its sockets.
#[derive(Debug, Clone)]
struct Open {
    /// See [`ListenerSockets::id`].
    id: u32,
    /// As it is written, port 0 included.
    bind: SocketAddr,
    /// Port 0 has become the port it got.
    address: SocketAddr,
    sockets: Vec<(Use, Arc<TcpListener>)>,
}

/// The neighbours of a listener that is opened.
struct Around<'a> {
    /// These listen beside it from now on.
    beside: &'a [SocketAddr],
    /// These close when it is put into force.
    gone: &'a [Open],
}

impl Listeners {
    /// No listeners yet, and the sockets that this process was started with.
    pub(super) fn inherited(left: Inherited) -> Self {
        Self { left, next_id: 1, ..Self::default() }
    }

    /// The set of another configuration, or all that does not work about it.
    pub(super) fn next(&self, config: &Config, text: &SourceText) -> Result<Self, Vec<Problem>> {
        let mut next = Self { left: self.left.clone(), next_id: self.next_id, ..Self::default() };
        let mut gone = self.open.clone();
        // Several of one address (port 0) stay in their order: each is secured by its place.
        let mut keep = |bind| gone.iter().position(|open: &Open| open.bind == bind).map(|at| gone.remove(at));
        let kept: Vec<_> = config.listeners.iter().map(|listener| keep(listener.bind)).collect();
        let is_kept = |open: &Open| config.admin.bind == Some(open.bind);
        next.admin = self.admin.clone().filter(is_kept);
        gone.extend(self.admin.clone().filter(|open| !is_kept(open)));
        // The listeners beside one that is opened: all that stay, and those opened before it.
        let mut beside: Vec<SocketAddr> =
            kept.iter().flatten().chain(&next.admin).map(|open| open.address).collect();
        let mut refused = Vec::new();
        for (index, (listener, kept)) in config.listeners.iter().zip(kept).enumerate() {
            let bind = listener.bind;
            if let Some(open) = kept {
                next.open.push(open);
                continue;
            }
            let given = next.left.listener(bind);
            let around = Around { beside: &beside, gone: &gone };
            match next.open_one(bind, given, Use::Listener(bind), config.workers.count, &around) {
                Ok(open) => {
                    beside.push(open.address);
                    next.open.push(open);
                }
                Err(e) => refused.push(problem(text, format!("listener[{index}].bind"), bind, &e)),
            }
        }
        if let Some(bind) = config.admin.bind.filter(|_| next.admin.is_none()) {
            let given = next.left.admin(bind).into_iter().collect();
            let around = Around { beside: &beside, gone: &gone };
            match next.open_one(bind, given, Use::Admin(bind), 1, &around) {
                Ok(open) => next.admin = Some(open),
                Err(e) => refused.push(problem(text, "admin.bind".to_owned(), bind, &e)),
            }
        }
        // A service manager's socket stays open in any case: it waits for a configuration that names it.
        next.left.put_back(gone.into_iter().flat_map(|open| open.sockets));
        if refused.is_empty() { Ok(next) } else { Err(refused) }
    }

    fn open_one(
        &mut self,
        bind: SocketAddr,
        given: Vec<(Use, Arc<TcpListener>)>,
        is: Use,
        count: usize,
        around: &Around<'_>,
    ) -> io::Result<Open> {
        let id = self.next_id;
        self.next_id += 1;
        if let Some((_, first)) = given.first() {
            return Ok(Open { id, bind, address: first.local_addr()?, sockets: given });
        }
        // Where a socket of ours that goes is in the way, both share the address until it is closed. Without one the kernel says
        // whether the address is free; beside one it is not asked, so the listeners that stay or come too are compared here.
        let shares = around.gone.iter().any(|open| overlap(open.address, bind));
        if shares && around.beside.iter().any(|other| overlap(*other, bind)) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let (address, sockets) = shared(bind, count, shares)?;
        let sockets = sockets.into_iter().map(|socket| (is, Arc::new(socket))).collect();
        Ok(Open { id, bind, address, sockets })
    }

    /// By listener.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|open| open.address).collect()
    }

    pub(super) fn admin(&self) -> Option<(SocketAddr, &TcpListener)> {
        let admin = self.admin.as_ref()?;
        Some((admin.address, &admin.sockets.first()?.1))
    }

    /// The sockets of one of so many workers. Each socket goes to a worker, so that no client waits at one that is never
    /// accepted from, and each worker has a socket. With as many sockets as workers, each has its own.
    pub(super) fn of_worker(&self, worker: usize, workers: usize) -> Vec<ListenerSockets> {
        let of = |open: &Open| {
            let turns = open.sockets.len().max(workers);
            let turns = (worker..turns).step_by(workers.max(1));
            let sockets = turns.filter_map(|turn| open.sockets.get(turn % open.sockets.len().max(1)));
            let sockets = sockets.map(|(is, socket)| (Arc::clone(socket), owner(*is))).collect();
            ListenerSockets { id: open.id, sockets, protocols: Protocols::default(), tls: None }
        };
        self.open.iter().map(of).collect()
    }

    /// The same, with each listener's protocols and TLS.
    pub(super) fn of_worker_secured(
        &self,
        worker: usize,
        workers: usize,
        config: &Config,
        tls: &Tls,
    ) -> Vec<ListenerSockets> {
        let mut all = self.of_worker(worker, workers);
        for (index, (of, listener)) in all.iter_mut().zip(&config.listeners).enumerate() {
            of.protocols = listener.protocols;
            of.tls = tls.listener(index).map(Arc::clone);
        }
        all
    }

    /// Every listening socket, for a successor.
    pub(super) fn all(&self) -> impl Iterator<Item = (Use, &TcpListener)> {
        let open = self.open.iter().chain(&self.admin).flat_map(|open| &open.sockets);
        open.chain(self.left.all()).map(|(is, socket)| (*is, &**socket))
    }

    /// Addresses of sockets that no listener has; those that no service manager keeps open are closed.
    pub(super) fn leave(&mut self) -> Vec<SocketAddr> {
        self.left.leave()
    }

    /// The differences to `other`: (came, went) when it is put in this one's place.
    pub(super) fn changes(&self, other: &Self) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
        let without = |a: &Self, b: &Self| {
            let is_new = |open: &&Open| !b.open.iter().any(|known| known.id == open.id);
            a.open.iter().filter(is_new).map(|open| open.address).collect()
        };
        (without(other, self), without(self, other))
    }
}

/// Two sockets that listen at these are in each other's way: `[::]` takes IPv4's connections too.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let covers =
        |all: SocketAddr, one: SocketAddr| all.ip().is_unspecified() && (all.is_ipv6() || one.is_ipv4());
    a.port() == b.port() && (a.ip() == b.ip() || covers(a, b) || covers(b, a))
}

fn problem(text: &SourceText, key: String, address: SocketAddr, error: &io::Error) -> Problem {
    let message = match error.kind() {
        ErrorKind::AddrInUse => format!("{address} is already in use{}", text.hint),
        ErrorKind::AddrNotAvailable => format!("{address} is not an address of this machine"),
        ErrorKind::PermissionDenied => format!("{address} may not be bound by this user: {error}"),
        // `ErrorKind` is open; any other message of the kernel is passed on.
        _ => format!("cannot listen on {address}: {error}"),
    };
    text.problem(key, &address.to_string(), message)
}

fn owner(is: Use) -> Owner {
    match is {
        Use::Listener(_) | Use::Admin(_) => Owner::Us,
        Use::Address => Owner::ServiceManager,
    }
}

/// Binds a listening socket per worker on one address.
fn shared(address: SocketAddr, workers: usize, shares: bool) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    if address.port() != 0 && !shares {
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
    socket.listen(LISTEN_QUEUE_MAX.cast_signed())?;
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
        config.listeners = binds
            .iter()
            .map(|bind| Listener { bind: *bind, protocols: Protocols::default(), tls: None })
            .collect();
        config.admin.bind = admin;
        config
    }

    fn text() -> SourceText {
        SourceText::named("f")
    }

    fn bound(config: &Config, text: &SourceText) -> Result<Listeners, Vec<Problem>> {
        Listeners::inherited(Inherited::default()).next(config, text)
    }

    fn texts(refused: Result<Listeners, Vec<Problem>>) -> Vec<String> {
        refused.unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_workers_share_the_port_that_port_zero_became() {
        let config = on(&[any_port()], Some(any_port()));
        let all = bound(&config, &text()).unwrap();
        let address = all.addresses()[0];
        assert_ne!(address.port(), 0);
        for worker in 0..config.workers.count {
            let given = all.of_worker(worker, config.workers.count);
            assert_eq!(given[0].sockets[0].0.local_addr().unwrap(), address);
        }
        assert_ne!(all.admin().unwrap().0.port(), 0);
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        let one = |_| (Use::Address, Arc::new(TcpListener::bind(any_port()).unwrap()));
        for (sockets, workers, expect) in [
            (2, 2, vec![1, 1]),
            (3, 2, vec![2, 1]),
            (1, 3, vec![1, 1, 1]),
            (2, 3, vec![1, 1, 1]),
            (5, 1, vec![5]),
        ] {
            let open = Open {
                id: 1,
                bind: any_port(),
                address: any_port(),
                sockets: (0..sockets).map(one).collect(),
            };
            let all = Listeners { open: vec![open], ..Listeners::default() };
            let dealt: Vec<_> =
                (0..workers).flat_map(|worker| all.of_worker(worker, workers)).map(|of| of.sockets).collect();
            assert_eq!(dealt.iter().map(Vec::len).collect::<Vec<_>>(), expect);
            let mut ports: Vec<u16> =
                dealt.iter().flatten().map(|(socket, _)| socket.local_addr().unwrap().port()).collect();
            ports.sort_unstable();
            ports.dedup();
            assert_eq!(ports.len(), sockets);
        }
    }

    #[test]
    fn what_stays_keeps_its_sockets_and_what_is_refused_has_not_happened() {
        let ids = |all: &Listeners| all.open.iter().map(|open| open.id).collect::<Vec<_>>();
        let first = bound(&on(&[any_port()], Some(any_port())), &text()).unwrap();
        let both = first.next(&on(&[any_port(), any_port()], Some(any_port())), &text()).unwrap();
        assert_eq!(ids(&both)[0], ids(&first)[0]);
        assert_eq!(both.addresses()[0], first.addresses()[0]);
        assert_eq!(both.admin().unwrap().0, first.admin().unwrap().0);
        let (came, went) = first.changes(&both);
        assert_eq!((came, went), (vec![both.addresses()[1]], vec![]));
        let foreign = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
        let holds = TcpListener::bind(foreign).unwrap();
        let refused = texts(first.next(&on(&[any_port(), any_port(), foreign], None), &text()));
        assert_eq!(refused, [format!("f: listener[2].bind: {foreign} is already in use")]);
        drop(holds);
        // From all addresses to one, on the same port: the one that goes does not stand in the way.
        let everywhere: SocketAddr = ([0, 0, 0, 0], foreign.port()).into();
        let wide = bound(&on(&[everywhere], None), &text()).unwrap();
        let narrow = wide.next(&on(&[foreign], None), &text()).unwrap();
        assert_eq!(wide.changes(&narrow), (vec![foreign], vec![everywhere]));
    }

    #[test]
    fn of_three_on_one_address_each_keeps_its_place() {
        let at = |all: &Listeners| all.open.iter().map(|open| open.id).collect::<Vec<_>>();
        let three = on(&[any_port(); 3], Some(any_port()));
        let first = bound(&three, &text()).unwrap();
        let again = first.next(&three, &text()).unwrap();
        assert_eq!((at(&again), again.addresses()), (at(&first), first.addresses()));
        let fewer = first.next(&on(&[any_port(); 2], Some(any_port())), &text()).unwrap();
        assert_eq!(fewer.addresses(), first.addresses()[..2]);
    }

    #[test]
    fn what_a_restart_would_refuse_a_change_refuses_too() {
        // No port is looked for that is free on all addresses: port 0 gets one.
        let everywhere: SocketAddr = (Ipv4Addr::UNSPECIFIED, 0).into();
        let port = bound(&on(&[everywhere], None), &text()).unwrap().addresses()[0].port();
        let [wide, narrow, other] =
            [[0, 0, 0, 0], [127, 0, 0, 1], [127, 0, 0, 2]].map(|ip| SocketAddr::from((ip, port)));
        let in_use = |key: &str, at: SocketAddr| [format!("f: {key}: {at} is already in use")];
        let first = bound(&on(&[wide], None), &text()).unwrap();
        for next in [on(&[wide, narrow], None), on(&[wide], Some(narrow))] {
            let key = if next.admin.bind.is_some() { "admin.bind" } else { "listener[1].bind" };
            assert_eq!(texts(first.next(&next, &text())), in_use(key, narrow));
        }
        // A listener goes, and the ones in its place conflict with each other.
        assert_eq!(
            texts(first.next(&on(&[narrow, narrow], None), &text())),
            in_use("listener[1].bind", narrow)
        );
        let two = first.next(&on(&[narrow, other], None), &text()).unwrap();
        drop(first);
        // One goes and another stays: room is made only in place of the one that goes.
        assert_eq!(texts(two.next(&on(&[wide, other], None), &text())), in_use("listener[0].bind", wide));
        assert!(two.next(&on(&[wide], None), &text()).is_ok());
    }

    #[test]
    fn addresses_overlap_where_the_kernel_says_so() {
        for (a, b, expect) in [
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("0.0.0.0:1", "127.0.0.1:2", false),
            ("[::]:1", "127.0.0.1:1", true),
            ("[::]:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "[::1]:1", false),
            ("127.0.0.2:1", "127.0.0.1:1", false),
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!((overlap(a, b), overlap(b, a)), (expect, expect), "{a} {b}");
        }
    }

    #[test]
    fn a_service_managers_socket_is_used_when_it_is_named_and_kept_when_it_is_not() {
        let lent = TcpListener::bind(any_port()).unwrap();
        let at = lent.local_addr().unwrap();
        let all = Listeners::inherited(Inherited::of(vec![(Use::Address, lent)]));
        let unnamed = all.next(&on(&[any_port()], None), &text()).unwrap();
        assert_eq!(unnamed.all().filter(|(is, _)| *is == Use::Address).count(), 1);
        let named = unnamed.next(&on(&[at], None), &text()).unwrap();
        assert_eq!(named.of_worker(1, 2)[0].sockets[0].1, Owner::ServiceManager);
        let again = named.next(&on(&[any_port()], None), &text()).unwrap();
        assert_eq!(again.all().filter(|(is, _)| *is == Use::Address).count(), 1);
    }

    #[test]
    fn accepted_sockets_inherit_nodelay() {
        let (address, sockets) = shared(any_port(), 1, false).unwrap();
        let _client = TcpStream::connect(address).unwrap();
        assert!(sockets[0].accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn a_second_gateway_on_the_same_port_is_refused_by_key() {
        let first = bound(&on(&[any_port()], Some(any_port())), &text()).unwrap();
        let (taken, admin) = (first.addresses()[0], first.admin().unwrap().0);
        let hinted = text().hinting("; elsewhere");
        assert_eq!(
            texts(bound(&on(&[any_port(), taken], Some(admin)), &hinted)),
            [
                format!("f: listener[1].bind: {taken} is already in use; elsewhere"),
                format!("f: admin.bind: {admin} is already in use; elsewhere"),
            ]
        );
    }

    #[test]
    fn one_address_cannot_be_two_listeners() {
        let port = bound(&on(&[any_port()], None), &text()).unwrap().addresses()[0];
        let texts = texts(bound(&on(&[port, port], None), &text()));
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(texts[0].contains("listener[1].bind"), "{texts:?}");
    }

    #[test]
    fn the_line_in_the_text_is_named() {
        let (taken, _keep) = shared(any_port(), 1, false).unwrap();
        let text = SourceText::new("f", format!("[[listener]]\nbind = \"{taken}\"\n"));
        let texts = texts(bound(&on(&[taken], None), &text));
        assert_eq!(texts, [format!("f:2: listener[0].bind: {taken} is already in use")]);
    }

    #[test]
    fn an_address_of_another_machine_is_called_that() {
        let texts = texts(bound(&on(&["192.0.2.1:80".parse().unwrap()], None), &text()));
        assert_eq!(texts, ["f: listener[0].bind: 192.0.2.1:80 is not an address of this machine"]);
    }
}
