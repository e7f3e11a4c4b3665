//! A name server of a test's own: answers A questions as the test says, with a TTL of one second.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// What it says of a name: a list of addresses, or the code of an error (2: it failed, 3: there is no such name).
type Said = Result<Vec<Ipv4Addr>, u8>;

/// Answers until the process ends. Of names it was told nothing of it says that they do not exist.
#[derive(Clone)]
pub struct NameServer {
    pub address: SocketAddr,
    names: Arc<Mutex<HashMap<String, Said>>>,
}

impl NameServer {
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let address = socket.local_addr().expect("address");
        let names = Arc::<Mutex<HashMap<String, Said>>>::default();
        let for_thread = Arc::clone(&names);
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((n, from)) = socket.recv_from(&mut question) {
                let answer = answer(&question[..n], &for_thread.lock().expect("names"));
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, names }
    }

    /// From now on `name` has these addresses.
    pub fn say(&self, name: &str, addresses: &[Ipv4Addr]) {
        self.names.lock().expect("names").insert(name.to_owned(), Ok(addresses.to_vec()));
    }

    /// From now on it cannot answer for `name`.
    pub fn fail(&self, name: &str) {
        self.names.lock().expect("names").insert(name.to_owned(), Err(2));
    }

    /// The environment of a gateway that asks it, in debug builds.
    pub fn environment(&self) -> (String, String) {
        ("UMBRA_TEST_DNS".to_owned(), self.address.to_string())
    }
}

/// RFC 1035 §4: the question's header and question again, then the records.
fn answer(question: &[u8], names: &HashMap<String, Said>) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while question[at] != 0 {
        let len = usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..at + 1 + len]).to_ascii_lowercase());
        at += 1 + len;
    }
    let end = at + 5;
    let is_a = question[at + 1..at + 3] == [0, 1];
    let (addresses, code) = match names.get(&labels.join(".")) {
        Some(Ok(addresses)) if is_a => (addresses.as_slice(), 0),
        Some(Ok(_)) => (&[][..], 0),
        Some(Err(code)) => (&[][..], *code),
        None => (&[][..], 3),
    };
    let mut out = question[..2].to_vec();
    // An answer, with recursion, to one question.
    out.extend([0x81, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).expect("few"), 0, 0, 0, 0]);
    out.extend(&question[12..end]);
    for address in addresses {
        // The question's name, A, IN, one second, four bytes.
        out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        out.extend(address.octets());
    }
    out
}
