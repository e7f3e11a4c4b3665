//! A scripted origin: records every byte of every connection, and answers as the test says.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::eventually;
use crate::message::{Read, Request};

/// What an origin does with its connection after it handled a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Keep,
    Close,
    /// Closes with a reset.
    Reset,
    /// Keeps the connection open and never looks at it again.
    Hang,
}

type Handler = dyn Fn(&Request, &mut TcpStream) -> After + Send + Sync;

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
    /// Answers each request with 200 and `name`.
    pub fn named(name: &'static str) -> Self {
        Self::new(move |_, stream| {
            write(stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()))
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
        let handler: Arc<Handler> = Arc::new(handler);
        Self::raw(move |stream, seen, connection| serve(stream, &*handler, &seen, connection))
    }

    /// Accepts and never reads.
    pub fn never_reading() -> Self {
        let held = Mutex::new(Vec::new());
        Self::raw(move |stream, _, _| held.lock().expect("held").push(stream))
    }

    /// Calls `handler` with each connection before anything of it is read.
    pub fn on_connection(handler: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::raw(move |stream, _, _| handler(stream))
    }

    fn raw(on_connection: impl Fn(TcpStream, Arc<Seen>, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.local_addr().expect("address")
    }

    /// The complete requests so far, in the order they were complete.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.requests.lock().expect("requests").clone()
    }

    pub fn count(&self) -> usize {
        self.seen.requests.lock().expect("requests").len()
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

/// Writes an answer; a peer that is gone closes.
pub fn write(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) -> After {
    match stream.write_all(bytes.as_ref()) {
        Ok(()) => After::Keep,
        Err(_) => After::Close,
    }
}

fn serve(mut stream: TcpStream, handler: &Handler, seen: &Seen, connection: usize) {
    let _ = stream.set_nodelay(true);
    let (mut inbox, mut block) = (Vec::new(), vec![0; 256 * 1024]);
    loop {
        loop {
            match Request::read(&inbox) {
                Read::Complete(request, used) => {
                    inbox.drain(..used);
                    seen.requests.lock().expect("requests").push(request.clone());
                    match handler(&request, &mut stream) {
                        After::Keep => {}
                        After::Close => return,
                        After::Reset => {
                            let _ =
                                socket2::SockRef::from(&stream).set_linger(Some(std::time::Duration::ZERO));
                            return;
                        }
                        After::Hang => loop {
                            std::thread::park();
                        },
                    }
                }
                Read::Partial => break,
                Read::Invalid(why) => {
                    seen.invalid.lock().expect("invalid").push(why);
                    return;
                }
            }
        }
        match stream.read(&mut block) {
            Ok(0) | Err(_) => {
                if !inbox.is_empty() {
                    seen.incomplete.fetch_add(1, Ordering::SeqCst);
                }
                return;
            }
            Ok(n) => {
                inbox.extend_from_slice(&block[..n]);
                let wires = &mut seen.wires.lock().expect("wires")[connection];
                // Enough to look at; big uploads are compared by what was parsed.
                if wires.len() < 1 << 20 {
                    wires.extend_from_slice(&block[..n]);
                }
            }
        }
    }
}
