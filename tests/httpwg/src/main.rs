//! h2spec's cases for RFC 9113 (the crate `httpwg`), one after the other against one address: `httpwg-cases ADDRESS [CA NAME]`.
//! A line for each, `ok CASE` or `failed CASE: why`, and at the end how many held. With an authority and a name each connection
//! goes over TLS, by a relay within this program.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use buffet::IntoHalves;
use buffet::net::TcpStream;
use httpwg::{Config, Conn};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

httpwg_macros::gen_catalog!(catalog);

/// The wait of a case for something that must come, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, tls) = match &arguments[..] {
        [address] => (address, None),
        [address, ca, name] => (address, Some((ca.clone(), name.clone()))),
        _ => panic!("usage: httpwg-cases ADDRESS [CA NAME]"),
    };
    let address: SocketAddr = address.parse().expect("an address");
    let at = match tls {
        None => address,
        Some((ca, name)) => relay(address, &ca, &name),
    };
    let (held, all) = buffet::start(run(at));
    println!("{held} of {all} cases hold");
    std::process::exit(i32::from(held != all));
}

async fn run(at: SocketAddr) -> (usize, usize) {
    let mut cases = Vec::new();
    for sections in catalog::<TcpStream>().into_values() {
        for (section, tests) in sections {
            cases.extend(tests.into_iter().map(|(name, test)| (format!("{section}: {name}"), test)));
        }
    }
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    let (mut held, all) = (0, cases.len());
    for (name, test) in cases {
        let config = Rc::new(Config { timeout: PATIENCE, ..Config::default() });
        let stream = TcpStream::connect(at).await.expect("it accepts");
        let result = tokio::task::spawn_local(async move { test(Conn::new(config, stream)).await }).await;
        match result {
            Ok(Ok(())) => {
                held += 1;
                println!("ok {name}");
            }
            Ok(Err(why)) => println!("failed {name}: {}", one_line(&format!("{why:#}"))),
            Err(panic) => println!("failed {name}: {}", one_line(&panic.to_string())),
        }
    }
    (held, all)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An address of which all connections go on to `to` over TLS, in HTTP/2.
fn relay(to: SocketAddr, ca: &str, name: &str) -> SocketAddr {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).expect("an authority") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let (connector, name) =
        (TlsConnector::from(Arc::new(config)), ServerName::try_from(name.to_owned()).expect("a name"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.set_nonblocking(true).expect("nonblocking");
    let at = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            while let Ok((mut near, _)) = listener.accept().await {
                let (connector, name) = (connector.clone(), name.clone());
                tokio::spawn(async move {
                    let far = tokio::net::TcpStream::connect(to).await?;
                    let mut far = connector.connect(name, far).await?;
                    tokio::io::copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
    });
    at
}
