//! Sessions of both roles, in memory: records split anywhere, and everything that comes between messages.

use rustls::pki_types::PrivateKeyDer;
use rustls::{RootCertStore, SupportedProtocolVersion};

use super::*;
use crate::tls::load::provider;

/// The configurations of both sides of a test.
fn configs(versions: &'static [&'static SupportedProtocolVersion]) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["shop.example".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let server = ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let mut server =
        server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    server.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().unwrap();
    let client = ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    (Arc::new(server), Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

fn sessions(versions: &'static [&'static SupportedProtocolVersion]) -> (Session, Session) {
    let (server, client) = configs(versions);
    let name = ServerName::try_from("shop.example").unwrap();
    (Session::client(&client, &name, None).unwrap(), Session::server(&server, false).unwrap())
}

/// Carries the messages of `from` to `to`, in pieces of `piece` bytes; whether there were any.
fn carry(from: &mut Session, to: &mut Session, piece: usize) -> bool {
    let mut out = Vec::new();
    from.send(&mut out);
    for piece in out.chunks(piece) {
        to.push(piece).unwrap();
    }
    !out.is_empty()
}

fn shaken(versions: &'static [&'static SupportedProtocolVersion], piece: usize) -> (Session, Session) {
    let (mut client, mut server) = sessions(versions);
    while carry(&mut client, &mut server, piece) | carry(&mut server, &mut client, piece) {}
    assert!(!client.is_handshaking() && !server.is_handshaking());
    (client, server)
}

fn sealed(session: &mut Session, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let pieces: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    session.seal(&pieces, &mut out).unwrap();
    out
}

/// Opens `cipher` as it would come from a wire in reads of `piece` bytes, each with as much room for plaintext.
fn opened(session: &mut Session, cipher: &[u8], piece: usize) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in cipher.chunks(piece) {
        let before = all.len();
        all.extend_from_slice(piece);
        session.open(&mut all, before).unwrap();
        assert!(all.len() - before <= piece.len(), "more than there was room for");
        while session.take(&mut all, piece.len()).unwrap() > 0 {}
    }
    all
}

const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

#[test]
fn a_handshake_may_come_in_pieces_of_any_size() {
    for versions in BOTH {
        for piece in [1, 7, 300, 5_000, usize::MAX] {
            let (client, server) = shaken(versions, piece);
            assert_eq!(client.facts(), server.facts());
            assert_eq!(server.name(), Some("shop.example"));
        }
    }
}

#[test]
fn content_comes_out_as_it_went_in_wherever_records_are_split() {
    let content: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for versions in BOTH {
        for piece in [1, 5, 100, 4096, 16_384, 65_536, usize::MAX] {
            let (mut client, mut server) = shaken(versions, usize::MAX);
            let cipher = sealed(&mut client, &[&content]);
            assert!(opened(&mut server, &cipher, piece) == content, "in pieces of {piece}");
            let back = sealed(&mut server, &[&content[..10], &content[10..50_000]]);
            assert!(opened(&mut client, &back, piece) == content[..50_000], "back in pieces of {piece}");
        }
    }
}

#[test]
fn what_is_taken_never_exceeds_the_room_and_the_rest_waits_its_turn() {
    let (mut client, mut server) = shaken(BOTH[0], usize::MAX);
    let content = vec![7_u8; 60_000];
    let cipher = sealed(&mut client, &[&content]);
    server.push(&cipher).unwrap();
    let mut all = Vec::new();
    while all.len() < content.len() {
        let n = server.take(&mut all, 1_000).unwrap();
        assert!((1..=1_000).contains(&n));
    }
    assert!(all == content && server.is_quiet());
}

#[test]
fn pieces_of_a_batch_share_records() {
    let (mut client, mut server) = shaken(BOTH[0], usize::MAX);
    let copies: Vec<Vec<u8>> = (0..128).map(|n| vec![n; 100]).collect();
    let pieces: Vec<&[u8]> = copies.iter().map(Vec::as_slice).collect();
    let cipher = sealed(&mut client, &pieces);
    assert!(cipher.len() < 12_800 + 100, "12,800 bytes are one record, not 128: {}", cipher.len());
    assert_eq!(opened(&mut server, &cipher, usize::MAX), copies.concat());
}

#[test]
fn tickets_and_key_updates_are_nobodys_message() {
    let (mut client, mut server) = sessions(BOTH[0]);
    carry(&mut client, &mut server, usize::MAX);
    carry(&mut server, &mut client, usize::MAX);
    carry(&mut client, &mut server, usize::MAX);
    // Its tickets are under way now.
    assert!(client.is_quiet());
    assert!(carry(&mut server, &mut client, 50), "a server sends tickets after its handshake");
    assert!(client.is_quiet() && !client.has_plaintext());

    server.tls.refresh_traffic_keys().unwrap();
    assert!(carry(&mut server, &mut client, usize::MAX));
    assert!(client.is_quiet());
    // The answer goes out with the next data, before it.
    let cipher = sealed(&mut client, &[b"after"]);
    assert_eq!(opened(&mut server, &cipher, usize::MAX), b"after");
    let cipher = sealed(&mut server, &[b"too"]);
    assert_eq!(opened(&mut client, &cipher, usize::MAX), b"too");
}

#[test]
fn an_end_is_told_from_a_cut() {
    let (mut client, mut server) = shaken(BOTH[0], usize::MAX);
    let mut cipher = sealed(&mut client, &[b"all of it"]);
    client.close(&mut cipher);
    let mut all = cipher.clone();
    server.open(&mut all, 0).unwrap();
    assert_eq!(all, b"all of it");
    assert!(server.is_ended() && !server.is_quiet());
    server.cut();
    assert!(server.is_ended(), "the wire's end adds nothing");
    // Only its own direction is over (RFC 8446 §6.1).
    let cipher = sealed(&mut server, &[b"an answer"]);
    assert_eq!(opened(&mut client, &cipher, usize::MAX), b"an answer");
    assert!(!client.is_ended());

    let (mut client, mut server) = shaken(BOTH[0], usize::MAX);
    let mut all = sealed(&mut client, &[b"half"]);
    server.open(&mut all, 0).unwrap();
    server.cut();
    assert!(!server.is_ended() && server.is_cut() && !server.is_quiet());
}

#[test]
fn nothing_counts_behind_the_end() {
    let (mut client, mut server) = shaken(BOTH[0], usize::MAX);
    let mut cipher = Vec::new();
    client.close(&mut cipher);
    cipher.extend_from_slice(b"\x17\x03\x03\x00\x05smuggled, and never a record");
    assert_eq!(opened(&mut server, &cipher, usize::MAX), b"");
    assert!(server.is_ended());
}

#[test]
fn a_changed_byte_ends_it_with_an_alert() {
    let (mut client, mut server) = shaken(BOTH[0], usize::MAX);
    let mut cipher = sealed(&mut client, &[b"untouched"]);
    let mut second = sealed(&mut client, &[b"touched"]);
    second[10] ^= 1;
    cipher.extend(second);
    let result = server.open(&mut cipher, 0);
    assert_eq!((result, cipher.as_slice()), (Err(Fault::Protocol), b"untouched".as_slice()));
    assert!(server.take(&mut cipher, 10).is_err(), "and stays so");
    let mut alert = Vec::new();
    server.send(&mut alert);
    assert_eq!(client.push(&alert), Err(Fault::Alert));
}

#[test]
fn plaintext_is_no_tls_and_said_to_be_none() {
    let (_, mut server) = sessions(BOTH[0]);
    assert_eq!(server.push(b"GET / HTTP/1.1\r\n"), Err(Fault::NotTls));
    let (mut client, _) = sessions(BOTH[0]);
    assert_eq!(client.push(b"HTTP/1.1 400 Bad Request\r\n"), Err(Fault::NotTls));
}

#[test]
fn a_session_tells_nothing_of_its_content() {
    let (mut client, _) = shaken(BOTH[0], usize::MAX);
    let _cipher = sealed(&mut client, &[b"secret"]);
    assert_eq!(format!("{client:?}"), "Session { is_handshaking: false, .. }");
}

/// A client that resumes by a store of its own, behind a handshake with a server that sends so many tickets.
fn with_tickets(sent: usize) -> (Session, Session) {
    let (server, client) = configs(BOTH[0]);
    let (mut server, mut client) = ((*server).clone(), (*client).clone());
    server.send_tls13_tickets = sent;
    let tickets = Arc::<Tickets>::default();
    client.resumption = rustls::client::Resumption::store(Arc::clone(&tickets) as _);
    let name = ServerName::try_from("shop.example").unwrap();
    let client = Session::client(&Arc::new(client), &name, Some(&tickets)).unwrap();
    (client, Session::server(&Arc::new(server), false).unwrap())
}

#[test]
fn tickets_are_taken_up_to_a_number_that_grows_with_the_content() {
    for (sent, is_taken) in
        [(2, true), (TLS_TICKETS_MAX as usize, true), (TLS_TICKETS_MAX as usize + 1, false)]
    {
        let (mut client, mut server) = with_tickets(sent);
        let mut out = Vec::new();
        while client.is_handshaking() {
            carry(&mut client, &mut server, usize::MAX);
            out.clear();
            server.send(&mut out);
            client.push(&out).unwrap();
        }
        carry(&mut client, &mut server, usize::MAX);
        out.clear();
        server.send(&mut out);
        let result = client.push(&out);
        assert_eq!(result.is_ok(), is_taken, "{sent} tickets: {result:?}");
        assert_eq!(client.broken(), (!is_taken).then_some(Fault::Noise));
    }
}

#[test]
fn records_of_single_bytes_are_content_and_records_of_none_are_noise() {
    for versions in BOTH {
        let (mut client, mut server) = shaken(versions, usize::MAX);
        let bytes = 20_000;
        for n in 0..bytes {
            let cipher = sealed(&mut server, &[&[n as u8]]);
            assert_eq!(opened(&mut client, &cipher, usize::MAX), [n as u8]);
        }
        assert_eq!(client.broken(), None);
    }
    let mut came = Came::default();
    came.took(TLS_NOISE_BYTES_MAX, 0);
    assert!(!came.is_noise());
    came.took(1, 0);
    assert!(came.is_noise());
    // A record around ever so little content, padded as far as may be.
    let mut came = Came::default();
    for _ in 0..10_000 {
        (0..3).for_each(|_| came.took(4096, 0));
        came.took(4096 + 22, 1);
        assert!(!came.is_noise());
    }
}

#[test]
fn a_record_costs_the_same_with_padding_and_without() {
    let record = |bytes: u16| [&[23, 3, 3][..], &bytes.to_be_bytes(), &vec![0; usize::from(bytes)]].concat();
    let overheads = [4_113, 18, 16_401].map(|bytes| {
        let mut came = Came::default();
        for _ in 0..1_000 {
            // A request in each, and reads that split it anywhere.
            let padded = record(bytes);
            let (first, second) = padded.split_at(3);
            for (read, content) in [(first, 0), (second, 1)] {
                came.records.came(read);
                came.took(read.len() as u64, content);
            }
            assert!(!came.is_noise());
        }
        assert_eq!((came.records.begun, came.records.header, came.plain), (1_000, 0, 1_000));
        came.overhead() / 1_000
    });
    assert_eq!(overheads, [TLS_RECORD_BYTES, 22, TLS_RECORD_BYTES]);
}
