//! Owns the ports: binds them, opens and closes their listeners as faults demand, and tells the workers. Reads and
//! writes no connection.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::behavior::Behavior;
use super::fault::Fault;
use super::port::{Clock, Plan, Port};
use super::worker::{self, Command, Handle, Listen};
use crate::tls;
use crate::tls::server::{Certificates, Offer};

const BACKLOG: i32 = 4096;
const OBEY_LIMIT: Duration = Duration::from_secs(5);

/// A port as the command line asks for it.
#[derive(Clone, Debug, PartialEq)]
pub struct PortSpec {
    pub name: String,
    pub addr: SocketAddr,
    /// Its ALPN offer, if it speaks TLS.
    pub tls: Option<Offer>,
    pub behavior: Behavior,
    pub fault: Fault,
}

impl std::str::FromStr for PortSpec {
    type Err = String;

    /// `NAME[=ADDR][,tls][,key=value…]`; ADDR is `IP:PORT` or a port number of 127.0.0.1, 0 lets the kernel choose.
    fn from_str(text: &str) -> Result<Self, String> {
        let (first, settings) = text.split_once(',').unwrap_or((text, ""));
        let (name, addr) = first.split_once('=').unwrap_or((first, "0"));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(format!("`{text}`: a port starts with a name of letters, digits, - _ ."));
        }
        let addr = match addr.parse::<u16>() {
            Ok(port) => SocketAddr::from(([127, 0, 0, 1], port)),
            Err(_) => addr.parse().map_err(|_| format!("`{addr}` is neither IP:PORT nor a port number"))?,
        };
        let (mut behavior, mut fault, mut tls) = (Behavior::default(), Fault::None, None);
        for setting in settings.split(',').filter(|s| !s.is_empty()) {
            match setting.split_once('=').unwrap_or((setting, "")) {
                ("fault", _) => fault = setting["fault=".len()..].parse()?,
                ("tls", "" | "both") => tls = Some(Offer::Both),
                ("tls", "http1") => tls = Some(Offer::Http1),
                ("tls", "h2") => tls = Some(Offer::Http2),
                ("tls", _) => return Err(format!("{setting}: both, http1 or h2")),
                _ => behavior.apply(setting)?,
            }
        }
        Ok(Self { name: name.to_string(), addr, tls, behavior, fault })
    }
}

pub struct Supervisor {
    pub ports: Vec<Owned>,
    workers: Vec<Handle>,
}

pub struct Owned {
    pub port: Arc<Port>,
    /// Bound, never listening: keeps the number ours while the listeners are closed, and refuses by itself.
    reservation: Socket,
    state: Mutex<State>,
    /// Ends the flapping that an older plan began.
    plan_number: AtomicU64,
}

#[derive(Default)]
struct State {
    /// The workers accept.
    open: bool,
    /// Listens without accepting; with a connection of our own in its full backlog, if it is a black hole.
    mute: Option<(TcpListener, Option<TcpStream>)>,
}

impl Supervisor {
    pub fn start(
        specs: &[PortSpec],
        threads: usize,
        certificates: &tls::server::Settings,
    ) -> anyhow::Result<Arc<Self>> {
        let is_covered = specs.iter().any(|spec| spec.tls.is_some());
        let certificates = is_covered.then(|| Certificates::new(certificates)).transpose()?;
        let clock = Clock::start();
        let mut ports = Vec::new();
        for spec in specs {
            let reservation = bind(spec.addr)?;
            let addr = reservation.local_addr()?.as_socket().unwrap_or(spec.addr);
            let plan = Plan { behavior: spec.behavior.clone(), fault: Fault::None };
            let tls = match (spec.tls, &certificates) {
                (Some(offer), Some(certificates)) => Some(certificates.port(offer)?),
                (None, _) | (_, None) => None,
            };
            let port = Arc::new(Port::new(spec.name.clone(), addr, tls, plan, threads, clock));
            ports.push(Owned { port, reservation, state: Mutex::default(), plan_number: AtomicU64::new(0) });
        }
        let shared = || ports.iter().map(|owned: &Owned| owned.port.clone()).collect();
        let workers = (0..threads).map(|n| worker::start(n, shared())).collect::<io::Result<_>>()?;
        let supervisor = Arc::new(Self { ports, workers });
        for (index, spec) in specs.iter().enumerate() {
            supervisor.apply(index, Plan { behavior: spec.behavior.clone(), fault: spec.fault })?;
        }
        Ok(supervisor)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.ports.iter().position(|owned| owned.port.name == name)
    }

    /// Puts a plan in force on all workers; returns when every one of them follows it.
    pub fn apply(self: &Arc<Self>, index: usize, plan: Plan) -> io::Result<()> {
        let owned = &self.ports[index];
        let number = owned.plan_number.fetch_add(1, Relaxed) + 1;
        owned.port.set_plan(plan.clone());
        let Fault::Flap(every) = plan.fault else {
            return self.enforce(index, plan, number);
        };
        self.enforce(index, Plan { fault: Fault::Refuse, ..plan.clone() }, number)?;
        let supervisor = self.clone();
        std::thread::Builder::new().name("flap".into()).spawn(move || {
            let turns = [Fault::None, Fault::Refuse].into_iter().cycle();
            for fault in turns {
                std::thread::sleep(every);
                if supervisor.ports[index].plan_number.load(Relaxed) != number
                    || supervisor.enforce(index, Plan { fault, ..plan.clone() }, number).is_err()
                {
                    return;
                }
            }
        })?;
        Ok(())
    }

    fn enforce(&self, index: usize, plan: Plan, number: u64) -> io::Result<()> {
        let owned = &self.ports[index];
        let mut state = owned.state.lock().unwrap_or_else(PoisonError::into_inner);
        if owned.plan_number.load(Relaxed) != number {
            // A newer plan came while this one waited.
            return Ok(());
        }
        let closes = plan.fault.closes_listener();
        if !closes {
            state.mute = None;
        }
        let plan = Arc::new(plan);
        let (done, all_done) = mpsc::channel();
        for handle in &self.workers {
            let listener = match (closes, state.open) {
                (true, true) => Listen::Close,
                (false, false) => Listen::Open(listen(owned.port.addr, BACKLOG)?),
                (true, false) | (false, true) => Listen::Keep,
            };
            let reset_live = plan.fault == Fault::Refuse;
            handle.send(Command {
                port: index,
                plan: plan.clone(),
                reset_live,
                listener,
                done: done.clone(),
            });
        }
        drop(done);
        for _ in &self.workers {
            all_done.recv_timeout(OBEY_LIMIT).map_err(|_| io::Error::other("a worker does not answer"))?;
        }
        state.open = !closes;
        if closes {
            state.mute = None;
            state.mute = mute(plan.fault, owned)?;
        }
        Ok(())
    }
}

/// The listener that stands in for the workers', for the faults that need one.
fn mute(fault: Fault, owned: &Owned) -> io::Result<Option<(TcpListener, Option<TcpStream>)>> {
    // Looked at only to say which descriptor keeps the number taken meanwhile.
    debug_assert!(owned.reservation.local_addr().is_ok(), "the reservation outlives every listener");
    let addr = owned.port.addr;
    match fault {
        Fault::NeverAccept => Ok(Some((listen(addr, BACKLOG)?, None))),
        Fault::Blackhole => {
            // A backlog of zero holds one connection: ours. Every later SYN is dropped.
            let listener = listen(addr, 0)?;
            let filler = TcpStream::connect_timeout(&addr, Duration::from_secs(1)).ok();
            Ok(Some((listener, filler)))
        }
        _ => Ok(None),
    }
}

fn bind(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = bind(addr)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_spelled_by_name_address_and_settings() {
        let spec = |text: &str| text.parse::<PortSpec>();
        assert_eq!(spec("v1").map(|s| s.addr.port()), Ok(0));
        assert_eq!(spec("v1=8080").map(|s| s.addr.to_string()), Ok("127.0.0.1:8080".into()));
        let full = spec("v2=127.0.0.2:0,size=1k,delay=exp:5ms,fault=reset_at=100");
        assert_eq!(full.map(|s| s.fault), Ok(Fault::ResetAt(100)));
        assert_eq!(spec("v1,tls=h2").map(|s| s.tls), Ok(Some(Offer::Http2)));
        assert_eq!(spec("v1,tls").map(|s| s.tls), Ok(Some(Offer::Both)));
        assert!(spec("v1,tls=h3").is_err());
        assert!(spec("=1").is_err());
        assert!(spec("v1,sise=2").is_err());
    }
}
