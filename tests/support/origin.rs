//! A scripted origin: records every byte of every connection, and answers as the test says.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::eventually;
use crate::load::bound_and_refusing;
use crate::message::{Read, Request};

/// An origin's treatment of its connection after it handled a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
    /// Closes with a reset.
    Reset,
    /// Keeps the connection open and never looks at it again.
    Hang,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<Request>>,
    /// Every byte received, by connection.
    wires: Mutex<Vec<Vec<u8>>>,
    /// Bytes that no request can start with.
    invalid: Mutex<Vec<String>>,
    /// Connections that ended inside a request.
    incomplete: AtomicUsize,
    stopped: AtomicBool,
}

/// A running origin; stops accepting when dropped.
pub struct Origin {
    pub address: SocketAddr,
    seen: Arc<Seen>,
}

impl Origin {
    /// Answers each request with 200 and `name`; HEAD without the content (RFC 9110 §9.3.2).
    pub fn named(name: &'static str) -> Self {
        Self::named_on(local(), name)
    }

    /// As [`Origin::named`], on an address of the test's choice.
    pub fn named_on(listener: TcpListener, name: &'static str) -> Self {
        Self::on(listener, move |request, stream| {
            let content = if request.method == "HEAD" { "" } else { name };
            write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", name.len()))
        })
    }

    /// Answers each request with exactly these bytes.
    pub fn fixed(bytes: impl Into<Vec<u8>>, after: After) -> Self {
        let bytes = bytes.into();
        Self::new(move |_, stream| match write(stream, &bytes) {
            After::Keep => after,
            gone => gone,
        })
    }

    /// Calls `handler` with each complete request and the stream to answer on.
    pub fn new(handler: impl Fn(&Request, &mut TcpStream) -> After + Send + Sync + 'static) -> Self {
        Self::on(local(), handler)
    }

    /// As [`Origin::new`], on an address of the test's choice.
    pub fn on(
        listener: TcpListener,
        handler: impl Fn(&Request, &mut TcpStream) -> After + Send + Sync + 'static,
    ) -> Self {
        Self::scripted_on(listener, move |conn| {
            while let Some(request) = conn.request() {
                match handler(&request, &mut conn.stream) {
                    After::Keep => {}
                    After::Close => return,
                    After::Reset => return conn.reset(),
                    After::Hang => conn.hang(),
                }
            }
        })
    }

    /// Calls `script` with each connection, which it may read and write as it likes; it is closed when `script` returns.
    pub fn scripted(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::scripted_on(local(), script)
    }

    fn scripted_on(listener: TcpListener, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Self {
        Self::raw(listener, move |stream, seen, number| {
            let _ = stream.set_nodelay(true);
            script(&mut Conn { stream, number, inbox: Vec::new(), seen, block: vec![0; 64 * 1024] });
        })
    }

    /// Accepts and never reads.
    pub fn never_reading() -> Self {
        let held = Mutex::new(Vec::new());
        Self::raw(local(), move |stream, _, _| held.lock().expect("held").push(stream))
    }

    fn raw(
        listener: TcpListener,
        on_connection: impl Fn(TcpStream, Arc<Seen>, usize) + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("address");
        let seen = Arc::new(Seen::default());
        let on_connection = Arc::new(on_connection);
        let for_thread = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if for_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let connection = {
                    let mut wires = for_thread.wires.lock().expect("wires");
                    wires.push(Vec::new());
                    wires.len() - 1
                };
                let (on_connection, seen) = (Arc::clone(&on_connection), Arc::clone(&for_thread));
                std::thread::spawn(move || on_connection(stream, seen, connection));
            }
        });
        Self { address, seen }
    }

    /// An address where nothing listens: connections to it are refused.
    pub fn refusing() -> SocketAddr {
        let (bound, address) = bound_and_refusing();
        // As long as the process runs no other socket gets its port.
        std::mem::forget(bound);
        address
    }

    /// The complete requests so far, in the order they were complete.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("requests").clone()
    }

    pub fn count(&self) -> usize {
        self.seen.requests.lock().expect("requests").len()
    }

    /// Whether `n` complete requests in all come in time.
    pub fn reaches(&self, n: usize) -> bool {
        let deadline = std::time::Instant::now() + crate::PATIENCE;
        while self.count() < n && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.count() >= n
    }

    /// Waits for `n` complete requests in all and returns them.
    #[track_caller]
    pub fn wait_for(&self, n: usize) -> Vec<Request> {
        eventually(&format!("{n} requests at {} (it saw {:?})", self.address, self.wires()), || {
            self.count() >= n
        });
        self.requests()
    }

    /// Everything received, by connection.
    pub fn wires(&self) -> Vec<String> {
        let wires = self.seen.wires.lock().expect("wires");
        wires.iter().map(|w| String::from_utf8_lossy(&w[..w.len().min(4000)]).into_owned()).collect()
    }

    /// Whether these bytes are anywhere in the received bytes.
    pub fn saw(&self, bytes: &str) -> bool {
        self.seen.wires.lock().expect("wires").iter().any(|wire| has(wire, bytes))
    }

    /// How many bytes the connection has carried on which these came.
    pub fn carried_with(&self, bytes: &str) -> Option<usize> {
        let wires = self.seen.wires.lock().expect("wires");
        wires.iter().find(|wire| has(wire, bytes)).map(Vec::len)
    }

    pub fn connections(&self) -> usize {
        self.seen.wires.lock().expect("wires").len()
    }

    /// Bytes that were no HTTP request, described.
    pub fn invalid(&self) -> Vec<String> {
        self.seen.invalid.lock().expect("invalid").clone()
    }

    /// Connections that ended inside a request.
    pub fn incomplete(&self) -> usize {
        self.seen.incomplete.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn local() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").expect("bind")
}

/// Listeners that share one port, each on an address of its own.
#[track_caller]
pub fn listeners<const N: usize>(hosts: [IpAddr; N]) -> [TcpListener; N] {
    loop {
        let first = TcpListener::bind((hosts[0], 0)).expect("bind");
        let port = first.local_addr().expect("address").port();
        let mut all = vec![first];
        // The port may be taken on the other hosts; then another one is tried.
        all.extend(hosts[1..].iter().map_while(|host| match TcpListener::bind((*host, port)) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => None,
            bound => Some(bound.expect("bind")),
        }));
        if let Ok(all) = all.try_into() {
            return all;
        }
    }
}

/// A listener whose backlog is full: the kernel answers no more connects.
pub struct Full {
    pub address: SocketAddr,
    _listener: socket2::Socket,
    _held: Vec<socket2::Socket>,
}

impl Full {
    pub fn new() -> Self {
        use socket2::{Domain, Socket, Type};
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
        let any: SocketAddr = ([127, 0, 0, 1], 0).into();
        listener.bind(&any.into()).expect("bind");
        listener.listen(0).expect("listen");
        let address = listener.local_addr().expect("address").as_socket().expect("an IP address");
        let held = (0..8)
            .map(|_| {
                let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("socket");
                socket.set_nonblocking(true).expect("non-blocking");
                // The connection stays under way: it is never accepted.
                let _ = socket.connect(&address.into());
                socket
            })
            .collect();
        Self { address, _listener: listener, _held: held }
    }
}

impl Default for Full {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes an answer; a peer that is gone closes.
pub fn write(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) -> After {
    match stream.write_all(bytes.as_ref()) {
        Ok(()) => After::Keep,
        Err(_) => After::Close,
    }
}

fn has(wire: &[u8], bytes: &str) -> bool {
    wire.windows(bytes.len()).any(|window| window == bytes.as_bytes())
}

/// A connection of a scripted origin. All bytes read from it are recorded.
pub struct Conn {
    pub stream: TcpStream,
    /// Counted from 0 in the order they were accepted.
    pub number: usize,
    /// Received and not yet taken as a request.
    pub inbox: Vec<u8>,
    seen: Arc<Seen>,
    block: Vec<u8>,
}

impl Conn {
    /// The next complete request; `None` when the connection ends first or carries something else.
    pub fn request(&mut self) -> Option<Request> {
        loop {
            match Request::read(&self.inbox) {
                Read::Complete(request, used) => {
                    self.inbox.drain(..used);
                    self.seen.requests.lock().expect("requests").push(request.clone());
                    return Some(request);
                }
                Read::Partial => {}
                Read::Invalid(why) => {
                    self.seen.invalid.lock().expect("invalid").push(why);
                    return None;
                }
            }
            if !self.read() {
                if !self.inbox.is_empty() {
                    self.seen.incomplete.fetch_add(1, Ordering::SeqCst);
                }
                return None;
            }
        }
    }

    /// Waits for a request's head and returns it with its empty line; its content stays in the inbox or on the wire.
    pub fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.inbox.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.inbox.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.read() {
                return None;
            }
        }
    }

    /// Reads once; `false` at the connection's end.
    pub fn read(&mut self) -> bool {
        match self.stream.read(&mut self.block) {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.inbox.extend_from_slice(&self.block[..n]);
                let wire = &mut self.seen.wires.lock().expect("wires")[self.number];
                // Enough to look at; large uploads are compared in their parsed form.
                if wire.len() < 1 << 20 {
                    wire.extend_from_slice(&self.block[..n]);
                }
                true
            }
        }
    }

    /// Reads and discards until the peer ends the connection; returns how many bytes came.
    pub fn read_to_end(&mut self) -> usize {
        let mut all = self.inbox.len();
        loop {
            self.inbox.clear();
            if !self.read() {
                return all;
            }
            all += self.inbox.len();
        }
    }

    /// Writes; `false` when the peer is gone.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Ends the connection with a reset.
    pub fn reset(&mut self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO));
    }

    /// Keeps the connection open and never looks at it again.
    pub fn hang(&mut self) -> ! {
        loop {
            std::thread::park();
        }
    }
}
