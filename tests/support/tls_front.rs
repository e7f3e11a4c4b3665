//! TLS in front of an origin: handshakes by the test's rules, recorded, and plaintext passed on.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig, ServerConnection};

use crate::certificates::{Authority, Pair};

/// How a front shakes hands, and ends.
#[derive(Clone, Copy, Default)]
pub struct Rules<'a> {
    /// The authority of the clients' certificates that it requires.
    pub clients: Option<&'a Authority>,
    /// The server speaks 1.2 and nothing newer.
    pub is_old: bool,
    /// The server accepts and stays silent.
    pub stalls: bool,
    /// The server ends connections without close_notify.
    pub cuts: bool,
    /// Tickets that it sends behind each handshake; two, where it is 0.
    pub tickets: usize,
    /// Protocols that it speaks, preferred first; HTTP/1.1 where it is empty.
    pub alpn: &'a [&'a str],
}

/// The facts of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shaken {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub is_resumed: bool,
    pub has_client_certificate: bool,
}

#[derive(Default)]
struct Seen {
    shaken: Mutex<Vec<Shaken>>,
    /// Every byte of ciphertext that came.
    wire: Mutex<Vec<u8>>,
    accepted: AtomicU64,
    stopped: AtomicBool,
}

/// A running front; stops accepting when dropped.
pub struct Front {
    pub address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
    seen: Arc<Seen>,
}

impl Front {
    /// In front of the origin at `to`, with this certificate.
    pub fn new(pair: &Pair, to: SocketAddr, rules: Rules<'_>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let config = Arc::new(Mutex::new(configured(pair, rules)));
        let seen = Arc::new(Seen::default());
        let (for_thread, current) = (Arc::clone(&seen), Arc::clone(&config));
        let (stalls, cuts) = (rules.stalls, rules.cuts);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if for_thread.stopped.load(Ordering::SeqCst) {
                    return;
                }
                for_thread.accepted.fetch_add(1, Ordering::SeqCst);
                if stalls {
                    held.push(stream);
                    continue;
                }
                let config = Arc::clone(&current.lock().expect("config"));
                let seen = Arc::clone(&for_thread);
                std::thread::spawn(move || pass(stream, to, config, &seen, cuts));
            }
        });
        Self { address, config, seen }
    }

    /// From the next connection on it has this certificate and these rules, all but those about stalls and ends.
    pub fn change(&self, pair: &Pair, rules: Rules<'_>) {
        *self.config.lock().expect("config") = configured(pair, rules);
    }

    /// Handshakes that were completed.
    pub fn shaken(&self) -> Vec<Shaken> {
        self.seen.shaken.lock().expect("shaken").clone()
    }

    /// Connections that were accepted.
    pub fn accepted(&self) -> u64 {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// Bytes of ciphertext that came.
    pub fn saw_bytes(&self) -> usize {
        self.seen.wire.lock().expect("wire").len()
    }

    /// Whether these bytes came as they are.
    pub fn saw(&self, bytes: &str) -> bool {
        self.seen.wire.lock().expect("wire").windows(bytes.len()).any(|window| window == bytes.as_bytes())
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn configured(pair: &Pair, rules: Rules<'_>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions: &[_] = if rules.is_old {
        &[&rustls::version::TLS12]
    } else {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_protocol_versions(versions).expect("versions");
    let builder = match rules.clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(&authority.ca).expect("a certificate")).expect("a root");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = CertificateDer::pem_file_iter(&pair.cert).expect("a file").map(|one| one.expect("PEM"));
    let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
    let mut config = builder.with_single_cert(chain.collect(), key).expect("a pair");
    if rules.tickets > 0 {
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().expect("a ticketer");
        config.send_tls13_tickets = rules.tickets;
    }
    let alpn = if rules.alpn.is_empty() { &["http/1.1"] } else { rules.alpn };
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// State that both directions of a connection share.
struct Covered {
    tls: Mutex<ServerConnection>,
    /// Held from sealing to sending, so that records go out in their order.
    out: Mutex<TcpStream>,
}

impl Covered {
    /// Sends the records that `seal` made, and all others that wait.
    fn send(&self, seal: impl FnOnce(&mut ServerConnection)) -> bool {
        let mut out = self.out.lock().expect("out");
        let mut records = Vec::new();
        {
            let mut tls = self.tls.lock().expect("tls");
            seal(&mut tls);
            while tls.wants_write() {
                if tls.write_tls(&mut records).is_err() {
                    return false;
                }
            }
        }
        out.write_all(&records).is_ok()
    }
}

fn pass(stream: TcpStream, to: SocketAddr, config: Arc<ServerConfig>, seen: &Arc<Seen>, cuts: bool) {
    let _ = stream.set_nodelay(true);
    let mut tls = ServerConnection::new(config).expect("a session");
    tls.set_buffer_limit(None);
    let mut inward = stream.try_clone().expect("a clone");
    let covered = Arc::new(Covered { tls: Mutex::new(tls), out: Mutex::new(stream) });
    let mut origin: Option<TcpStream> = None;
    let mut block = vec![0; 64 * 1024];
    loop {
        let n = inward.read(&mut block).unwrap_or(0);
        if n == 0 {
            break;
        }
        seen.wire.lock().expect("wire").extend_from_slice(&block[..n]);
        let mut rest = &block[..n];
        while !rest.is_empty() {
            let mut plain = Vec::new();
            let (mut failed, mut ended) = (false, false);
            let mut shaken = None;
            let sent = covered.send(|tls| {
                failed = tls.read_tls(&mut rest).is_err();
                match tls.process_new_packets() {
                    Ok(state) => {
                        plain.resize(state.plaintext_bytes_to_read(), 0);
                        failed |= tls.reader().read_exact(&mut plain).is_err();
                        ended = state.peer_has_closed();
                    }
                    Err(_) => failed = true,
                }
                if !tls.is_handshaking() {
                    shaken = Some(Shaken {
                        name: tls.server_name().map(str::to_owned),
                        protocol: tls.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
                        is_resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
                        has_client_certificate: tls.peer_certificates().is_some(),
                    });
                }
            });
            if let (None, Some(shaken), false) = (&origin, shaken, failed) {
                seen.shaken.lock().expect("shaken").push(shaken);
                let Ok(stream) = TcpStream::connect(to) else { return };
                let _ = stream.set_nodelay(true);
                let (back, covered) = (stream.try_clone().expect("a clone"), Arc::clone(&covered));
                std::thread::spawn(move || answer(back, &covered, cuts));
                origin = Some(stream);
            }
            let passed = origin.as_mut().is_none_or(|origin| origin.write_all(&plain).is_ok());
            if ended && let Some(origin) = &origin {
                let _ = origin.shutdown(Shutdown::Write);
            }
            if failed || !sent || !passed {
                let _ = inward.shutdown(Shutdown::Both);
                return;
            }
        }
    }
    if let Some(origin) = origin {
        let _ = origin.shutdown(Shutdown::Both);
    }
}

/// Seals the origin's bytes, and their end.
fn answer(mut origin: TcpStream, covered: &Covered, cuts: bool) {
    let mut block = vec![0; 64 * 1024];
    loop {
        let n = origin.read(&mut block).unwrap_or(0);
        if n == 0 {
            break;
        }
        let sealed = |tls: &mut ServerConnection| tls.writer().write_all(&block[..n]).expect("it has room");
        if !covered.send(sealed) {
            return;
        }
    }
    if !cuts {
        covered.send(|tls| tls.send_close_notify());
    }
    let _ = covered.out.lock().expect("out").shutdown(Shutdown::Write);
}
