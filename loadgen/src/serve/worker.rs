//! A thread of the server: its runtime, its listeners, its connections. Obeys commands; decides nothing.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpListener;
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use super::answer;
use super::connection;
use super::local::{LocalPlan, PortLocal};
use super::port::{Plan, Port};
use crate::io::{Alarm, Listener};
use crate::{io as runtime, os};

/// Accepts in flight per listener: storms of connections are taken several per turn of the ring.
const ACCEPTS_PER_LISTENER: usize = 4;

/// A new state of one port.
pub struct Command {
    pub port: usize,
    pub plan: Arc<Plan>,
    pub reset_live: bool,
    /// The listener's next state.
    pub listener: Listen,
    pub done: Sender<()>,
}

pub enum Listen {
    Keep,
    Close,
    Open(TcpListener),
}

/// The other threads' end of a worker.
pub struct Handle {
    queue: Arc<Mutex<Vec<Command>>>,
    bell: UnixStream,
}

impl Handle {
    pub fn send(&self, command: Command) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        // A full bell is already ringing.
        let _ = io::Write::write(&mut &self.bell, &[1]);
    }
}

pub fn start(number: usize, ports: Vec<Arc<Port>>) -> io::Result<Handle> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let queue = Arc::<Mutex<Vec<Command>>>::default();
    let commands = queue.clone();
    std::thread::Builder::new().name(format!("serve-{number}")).spawn(move || {
        let result = runtime::run(|| work(number, ports, commands, theirs));
        if let Err(error) | Ok(Err(error)) = result {
            eprintln!("loadgen serve: worker {number} cannot run: {error}");
            std::process::exit(1);
        }
    })?;
    Ok(Handle { queue, bell: ours })
}

/// A listener that accepts, and how to end that.
struct Accepting {
    fd: RawFd,
    closing: Rc<Cell<bool>>,
    /// Kept so that the descriptor stays ours until it was shut down.
    _listener: Rc<Listener>,
}

async fn work(
    number: usize,
    ports: Vec<Arc<Port>>,
    commands: Arc<Mutex<Vec<Command>>>,
    bell: UnixStream,
) -> io::Result<()> {
    let alarm = Alarm::start()?;
    let pattern = answer::pattern();
    let mut bell = runtime::bell(bell)?;
    let locals: Vec<Rc<PortLocal>> = ports
        .into_iter()
        .map(|port| {
            let plan = RefCell::new(Rc::new(LocalPlan::new(port.plan(), &pattern)));
            let seed = port.now_unix_ns() ^ (number as u64) << 48;
            Rc::new(PortLocal {
                port,
                worker: number,
                plan,
                changed: Default::default(),
                live: Default::default(),
                random: RefCell::new(fastrand::Rng::with_seed(seed)),
                alarm: alarm.clone(),
                pattern: pattern.clone(),
                next_connection: Cell::new(0),
            })
        })
        .collect();
    let mut accepting: Vec<Option<Accepting>> = locals.iter().map(|_| None).collect();
    while runtime::rung(&mut bell).await {
        let batch = std::mem::take(&mut *commands.lock().unwrap_or_else(PoisonError::into_inner));
        for command in batch {
            obey(&locals[command.port], &mut accepting[command.port], command)?;
        }
    }
    Ok(())
}

fn obey(local: &Rc<PortLocal>, accepting: &mut Option<Accepting>, command: Command) -> io::Result<()> {
    *local.plan.borrow_mut() = Rc::new(LocalPlan::new(command.plan, &local.pattern));
    if !matches!(command.listener, Listen::Keep)
        && let Some(old) = accepting.take()
    {
        old.closing.set(true);
        os::shutdown(old.fd);
    }
    if command.reset_live {
        local.live.borrow().iter().for_each(|(_, &fd)| os::abort_connection(fd));
    }
    if let Listen::Open(listener) = command.listener {
        *accepting = Some(accept(local, listener)?);
    }
    local.changed.notify_all();
    // The receiver is gone if the control thread gave up.
    let _ = command.done.send(());
    Ok(())
}

fn accept(local: &Rc<PortLocal>, listener: TcpListener) -> io::Result<Accepting> {
    let listener = Rc::new(Listener::new(listener)?);
    let closing = Rc::new(Cell::new(false));
    for _ in 0..ACCEPTS_PER_LISTENER {
        let (listener, closing, local) = (listener.clone(), closing.clone(), local.clone());
        runtime::spawn(async move {
            while let Some(stream) = listener.accept(&closing).await {
                runtime::spawn(connection::serve(stream, local.clone()));
            }
        });
    }
    Ok(Accepting { fd: listener.fd(), closing, _listener: listener })
}
