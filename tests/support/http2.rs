//! HTTP/2 peers: hyperium's `h2` for clients that behave, and a framer of our own for those that do not. The framer has no
//! limits and no state but the one that tests look at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END: u8 = 1;
pub const WHOLE: u8 = 4;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest wait of a peer for bytes that must come.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let n = payload.len();
    let mut frame = vec![(n >> 16) as u8, (n >> 8) as u8, n as u8, kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    if text.len() < 127 {
        out.push(text.len() as u8);
    } else {
        let rest = text.len() - 127;
        out.extend([127, rest as u8 | 128, (rest >> 7) as u8 | 128, (rest >> 14) as u8]);
    }
    out.extend(text);
}

/// Every field a literal that is not indexed, its name spelt out.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        text(&mut block, name.as_bytes());
        text(&mut block, value.as_bytes());
    }
    block
}

pub fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | WHOLE, stream, &block(fields))
}

/// A request's fields with these in front or behind: a field of the same name replaces the default one.
pub fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "a")];
    for (name, value) in more {
        match fields.iter_mut().find(|(known, _)| name.starts_with(':') && known == name) {
            Some(field) => field.1 = value,
            None => fields.push((name, value)),
        }
    }
    fields
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Of RST_STREAM: its code.
    pub fn code(&self) -> u32 {
        self.payload.first_chunk().map_or(u32::MAX, |code| u32::from_be_bytes(*code))
    }
}

/// The frames of one stream, read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    pub interims: Vec<String>,
    /// With `:status`.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    pub has_ended: bool,
    pub reset: Option<u32>,
}

impl Heard {
    pub fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    pub fn status(&self) -> &str {
        self.field(":status")
    }

    pub fn is_over(&self) -> bool {
        self.has_ended || self.reset.is_some()
    }
}

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

/// A client that sends any bytes it is given.
pub struct Raw {
    stream: Box<dyn Both>,
    /// The plain connection, where there is no TLS.
    tcp: Option<TcpStream>,
    inbox: Vec<u8>,
    decoder: loona_hpack::Decoder<'static>,
    pub streams: BTreeMap<u32, Heard>,
    /// Code and text.
    pub goaways: Vec<(u32, u32, String)>,
    pub is_ended: bool,
    /// Gives windows back, and answers PINGs and SETTINGS.
    pub is_kind: bool,
}

impl Raw {
    /// A client that has sent its preface and SETTINGS.
    pub fn connect(address: SocketAddr) -> Self {
        let mut raw = Self::silent(address);
        raw.introduce();
        raw
    }

    pub fn silent(address: SocketAddr) -> Self {
        let tcp = dial(address);
        let own = tcp.try_clone().expect("a second descriptor");
        Self { tcp: Some(own), ..Self::over(tcp) }
    }

    /// Sends nothing more.
    pub fn finish(&mut self) {
        let tcp = self.tcp.as_ref().expect("a connection that is not covered");
        tcp.shutdown(std::net::Shutdown::Write).expect("it is open");
    }

    /// Over TLS, with this ALPN.
    pub fn covered(address: SocketAddr, ca: &Path, name: &str, alpn: &[&str]) -> std::io::Result<Self> {
        let mut raw = Self::over(covered(address, ca, name, alpn)?);
        raw.introduce();
        Ok(raw)
    }

    /// A server's end that has sent these SETTINGS; a client's request is in `trailers` of its stream.
    pub fn serve(mut tcp: TcpStream, settings: &[(u16, u32)]) -> Self {
        tcp.set_nodelay(true).expect("nodelay");
        tcp.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        tcp.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mut preface = [0; PREFACE.len()];
        tcp.read_exact(&mut preface).expect("a preface");
        assert_eq!(preface, PREFACE);
        let own = tcp.try_clone().expect("a second descriptor");
        let mut raw = Self { tcp: Some(own), ..Self::over(tcp) };
        let settings = settings.iter().flat_map(|(id, value)| {
            let (id, value) = (id.to_be_bytes(), value.to_be_bytes());
            [id[0], id[1], value[0], value[1], value[2], value[3]]
        });
        raw.send(&frame(SETTINGS, 0, 0, &settings.collect::<Vec<u8>>()));
        raw
    }

    /// Until a request has come whole; its stream.
    pub fn asked(&mut self, stream: u32) -> Heard {
        self.until(|raw| raw.streams.get(&stream).is_some_and(Heard::is_over));
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    fn over(stream: impl Both + 'static) -> Self {
        Self {
            stream: Box::new(stream),
            tcp: None,
            inbox: Vec::new(),
            decoder: loona_hpack::Decoder::new(),
            streams: BTreeMap::new(),
            goaways: Vec::new(),
            is_ended: false,
            is_kind: true,
        }
    }

    fn introduce(&mut self) {
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
        self.send(&hello);
    }

    /// Bytes that cannot be sent are dropped: the gateway may have had enough.
    pub fn send(&mut self, bytes: &[u8]) -> &mut Self {
        let sent = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
        if sent.is_err() {
            self.is_ended |= self.inbox.is_empty();
        }
        self
    }

    /// The next frame; `None` at the end.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(head) = self.inbox.first_chunk::<9>() {
                let n = (head[0] as usize) << 16 | (head[1] as usize) << 8 | head[2] as usize;
                if self.inbox.len() >= 9 + n {
                    let bytes: Vec<u8> = self.inbox.drain(..9 + n).collect();
                    let stream = u32::from_be_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
                    let frame =
                        Frame { kind: bytes[3], flags: bytes[4], stream, payload: bytes[9..].to_vec() };
                    self.see(&frame);
                    return Some(frame);
                }
            }
            let mut block = [0; 16 * 1024];
            match self.stream.read(&mut block) {
                Ok(n @ 1..) => self.inbox.extend_from_slice(&block[..n]),
                Ok(0) => {
                    self.is_ended = true;
                    return None;
                }
                Err(error) => {
                    let is_slow =
                        matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                    assert!(!is_slow, "nothing came for {PATIENCE:?}: {:?} {:?}", self.streams, self.goaways);
                    self.is_ended = true;
                    return None;
                }
            }
        }
    }

    fn see(&mut self, frame: &Frame) {
        let is_end = frame.flags & END != 0;
        match frame.kind {
            HEADERS => {
                let fields = self.decoder.decode(&frame.payload).expect("a block that can be read");
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                let fields: Vec<_> = fields.into_iter().map(|(n, v)| (text(n), text(v))).collect();
                let heard = self.streams.entry(frame.stream).or_default();
                let status =
                    fields.iter().find(|(name, _)| name == ":status").map(|(_, status)| status.clone());
                match status {
                    Some(status) if status.starts_with('1') => heard.interims.push(status),
                    Some(_) => heard.fields = fields,
                    None => heard.trailers = fields,
                }
                heard.has_ended |= is_end;
            }
            DATA => {
                let heard = self.streams.entry(frame.stream).or_default();
                heard.body.extend_from_slice(&frame.payload);
                heard.has_ended |= is_end;
                if self.is_kind && !frame.payload.is_empty() {
                    let more = (frame.payload.len() as u32).to_be_bytes();
                    let mut back = super::http2::frame(WINDOW_UPDATE, 0, 0, &more);
                    if !is_end {
                        back.extend(super::http2::frame(WINDOW_UPDATE, 0, frame.stream, &more));
                    }
                    self.send(&back);
                }
            }
            RST_STREAM => self.streams.entry(frame.stream).or_default().reset = Some(frame.code()),
            SETTINGS if !is_end && self.is_kind => {
                self.send(&super::http2::frame(SETTINGS, END, 0, b""));
            }
            PING if !is_end && self.is_kind => {
                self.send(&super::http2::frame(PING, END, 0, &frame.payload));
            }
            GOAWAY => {
                let last = frame.payload.first_chunk().map_or(0, |last| u32::from_be_bytes(*last));
                let code = frame.payload.get(4..8).and_then(|code| code.first_chunk());
                let code = code.map_or(u32::MAX, |code| u32::from_be_bytes(*code));
                let why = String::from_utf8_lossy(frame.payload.get(8..).unwrap_or_default()).into_owned();
                self.goaways.push((last, code, why));
            }
            _ => {}
        }
    }

    /// Reads until `is` holds, or the connection ends.
    pub fn until(&mut self, mut is: impl FnMut(&Self) -> bool) -> &mut Self {
        while !is(self) && self.frame().is_some() {}
        self
    }

    /// The response on a stream, once it is over.
    #[track_caller]
    pub fn response(&mut self, stream: u32) -> Heard {
        self.until(|raw| raw.streams.get(&stream).is_some_and(Heard::is_over));
        let heard = self.streams.get(&stream).cloned().unwrap_or_default();
        assert!(heard.is_over(), "the connection ended: {:?} {heard:?}", self.goaways);
        heard
    }

    /// Reads to the end of the connection; the last GOAWAY's code and text.
    pub fn end(&mut self) -> Option<(u32, String)> {
        self.until(|_| false);
        self.goaways.last().map(|(_, code, why)| (*code, why.clone()))
    }
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

fn covered(
    address: SocketAddr,
    ca: &Path,
    name: &str,
    alpn: &[&str],
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut roots = RootCertStore::empty();
    let file = BufReader::new(File::open(ca)?);
    for certificate in CertificateDer::pem_reader_iter(file) {
        roots.add(certificate.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut tls = ClientConnection::new(Arc::new(config), name).expect("a connection");
    let mut tcp = dial(address);
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(StreamOwned::new(tls, tcp))
}

/// The protocol that ALPN chooses.
pub fn alpn_chosen(address: SocketAddr, ca: &Path, name: &str, alpn: &[&str]) -> std::io::Result<String> {
    let stream = covered(address, ca, name, alpn)?;
    Ok(String::from_utf8_lossy(stream.conn.alpn_protocol().unwrap_or_default()).into_owned())
}

/// Runs a client of `h2`.
pub fn run<T>(client: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let result = runtime
        .block_on(async { tokio::time::timeout(2 * PATIENCE, client).await.expect("it ends in time") });
    runtime.shutdown_background();
    result
}

/// A connection of `h2`'s.
pub async fn connect(address: SocketAddr) -> SendRequest<Bytes> {
    connect_with(address, 65_535).await
}

/// The same, whose streams' windows are so large.
pub async fn connect_with(address: SocketAddr, window: u32) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("the gateway listens");
    stream.set_nodelay(true).expect("nodelay");
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(window).initial_connection_window_size(8 << 20);
    let (client, connection) = builder.handshake(stream).await.expect("a handshake");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    client
}

/// A whole response.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub fields: http::HeaderMap,
    pub body: Vec<u8>,
    pub trailers: http::HeaderMap,
}

/// Sends all of `content` as the window lets it.
pub async fn send_all(
    stream: &mut h2::SendStream<Bytes>,
    content: &[u8],
    end: bool,
) -> Result<(), h2::Error> {
    let mut rest = Bytes::copy_from_slice(content);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len().min(64 * 1024));
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.expect("a stream")?;
        stream.send_data(rest.split_to(room.min(rest.len())), false)?;
    }
    if end { stream.send_data(Bytes::new(), true) } else { Ok(()) }
}

/// Reads a response to its end.
pub async fn read_all(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut body) = response.await?.into_parts();
    let mut answer = Answer { status: parts.status.as_u16(), fields: parts.headers, ..Answer::default() };
    while let Some(piece) = body.data().await {
        let piece = piece?;
        answer.body.extend_from_slice(&piece);
        body.flow_control().release_capacity(piece.len())?;
    }
    answer.trailers = body.trailers().await?.unwrap_or_default();
    Ok(answer)
}

/// A request and its response.
pub async fn ask(
    client: &SendRequest<Bytes>,
    method: &str,
    path: &str,
    content: &[u8],
) -> Result<Answer, h2::Error> {
    let mut client = client.clone().ready().await?;
    let request = http::Request::builder().method(method).uri(format!("http://a{path}")).body(());
    let (response, mut stream) = client.send_request(request.expect("a request"), content.is_empty())?;
    if content.is_empty() {
        return read_all(response).await;
    }
    let content = content.to_vec();
    let sending = tokio::spawn(async move { send_all(&mut stream, &content, true).await });
    let answer = read_all(response).await;
    let _ = sending.await;
    answer
}
