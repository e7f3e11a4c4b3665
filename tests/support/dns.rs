//! A name server of a test's own: answers A and AAAA questions as the test says, with a TTL of one second.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard};

/// The answer for a name's addresses of one kind: a list, or the code of an error (2: it failed, 3: there is no such name).
type Said<A> = Result<Vec<A>, u8>;

/// The answers for a name.
#[derive(Clone)]
struct Name {
    v4: Said<Ipv4Addr>,
    v6: Said<Ipv6Addr>,
}

#[derive(Default)]
struct Names {
    known: HashMap<String, Name>,
    /// Names whose questions wait, and those that do.
    held: HashMap<String, Vec<(Vec<u8>, SocketAddr)>>,
}

/// Answers until the process ends. Of names it was told nothing of it says that they do not exist.
#[derive(Clone)]
pub struct NameServer {
    pub address: SocketAddr,
    socket: Arc<UdpSocket>,
    names: Arc<Mutex<Names>>,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("bind"));
        let address = socket.local_addr().expect("address");
        let server = Self { address, socket, names: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((n, from)) = serving.socket.recv_from(&mut question) {
                let question = &question[..n];
                let mut names = serving.names();
                match names.held.get_mut(&name(question).0) {
                    Some(held) => held.push((question.to_vec(), from)),
                    None => drop(serving.socket.send_to(&answer(question, &names.known), from)),
                }
            }
        });
        server
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().expect("names")
    }

    fn set(&self, name: &str, v4: Said<Ipv4Addr>, v6: Said<Ipv6Addr>) {
        let mut names = self.names();
        names.known.insert(name.to_owned(), Name { v4, v6 });
        for (question, from) in names.held.remove(name).unwrap_or_default() {
            let _ = self.socket.send_to(&answer(&question, &names.known), from);
        }
    }

    /// From now on `name` has these addresses.
    pub fn say(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.set(name, Ok(addresses.to_vec()), Ok(Vec::new()));
    }

    /// From now on `name` has these addresses, or it cannot answer for one kind of them.
    pub fn say_both(&self, name: &str, v4: Option<&[Ipv4Addr]>, v6: Option<&[Ipv6Addr]>) {
        self.set(name, v4.map(<[_]>::to_vec).ok_or(2), v6.map(<[_]>::to_vec).ok_or(2));
    }

    /// From now on it cannot answer for `name`.
    pub fn fail(&self, name: &str) {
        self.set(name, Err(2), Err(2));
    }

    /// From now on questions for `name` wait until it has an answer.
    pub fn hold(&self, name: &str) {
        self.names().held.entry(name.to_owned()).or_default();
    }

    /// How many questions wait.
    pub fn holds(&self) -> usize {
        self.names().held.values().map(Vec::len).sum()
    }

    /// The environment of a gateway that asks it, in debug builds.
    pub fn environment(&self) -> (String, String) {
        ("UMBRA_TEST_DNS".to_owned(), self.address.to_string())
    }
}

/// The name that is asked for, and where its question's type stands.
fn name(question: &[u8]) -> (String, usize) {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let len = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + len]).to_ascii_lowercase());
        at += 1 + len;
    }
    (labels.join("."), at + 1)
}

/// RFC 1035 §4: the question's header and question again, then the records.
fn answer(question: &[u8], names: &HashMap<String, Name>) -> Vec<u8> {
    let (name, kind_at) = name(question);
    let kind = u16::from_be_bytes([question[kind_at], question[kind_at + 1]]);
    let said: Said<Vec<u8>> = match (names.get(&name), kind) {
        (None, _) => Err(3),
        (Some(name), 1) => name.v4.clone().map(|all| all.iter().map(|ip| ip.octets().to_vec()).collect()),
        (Some(name), 28) => name.v6.clone().map(|all| all.iter().map(|ip| ip.octets().to_vec()).collect()),
        (Some(_), _) => Ok(Vec::new()),
    };
    let (addresses, code) = match said {
        Ok(addresses) => (addresses, 0),
        Err(code) => (Vec::new(), code),
    };
    let mut out = question[..2].to_vec();
    // An answer, with recursion, to one question.
    out.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).expect("few"), 0, 0, 0, 0]);
    out.extend(&question[12..kind_at + 4]);
    for address in addresses {
        // The question's name, its type, IN, one second, so many bytes.
        out.extend([0xc0, 12]);
        out.extend(kind.to_be_bytes());
        out.extend([0, 1, 0, 0, 0, 1, 0, u8::try_from(address.len()).expect("few")]);
        out.extend(address);
    }
    out
}
