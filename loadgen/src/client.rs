//! A small blocking HTTP client for the tool's own errands: control URLs, metrics, the proof's requests. Not the load.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::http1::body::Body;
use crate::http1::head;
use crate::run::request::Url;

/// Answers above this are refused: a million logged requests need some hundred megabytes.
const ANSWER_BYTES_MAX: usize = 2 << 30;

pub struct Client {
    addr: SocketAddr,
    timeout: Duration,
    stream: Option<TcpStream>,
}

pub struct Reply {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(addr: SocketAddr, timeout: Duration) -> Self {
        Self { addr, timeout, stream: None }
    }

    /// Sends a request and reads its answer. After an error the next request gets a new connection.
    pub fn exchange(&mut self, request: &[u8], to_head: bool) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.addr, self.timeout)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(self.timeout))?;
                stream.set_write_timeout(Some(self.timeout))?;
                stream
            }
        };
        stream.write_all(request)?;
        let (reply, reusable) = read_reply(&mut stream, to_head)?;
        self.stream = reusable.then_some(stream);
        Ok(reply)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_reply(stream: &mut TcpStream, to_head: bool) -> io::Result<(Reply, bool)> {
    let (mut buffer, mut start) = (Vec::new(), 0);
    let parsed = loop {
        match head::response(&buffer[start..], to_head).map_err(|bad| invalid(bad.label()))? {
            // Interim answers go before the one that counts.
            Some(interim) if interim.status < 200 => start += interim.head_len,
            Some(parsed) => break parsed,
            None => {
                if read_more(stream, &mut buffer)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
        }
    };
    let (mut body, mut content) = (Body::new(parsed.framing), Vec::new());
    let mut unread = buffer.split_off(start + parsed.head_len);
    loop {
        let used =
            body.feed(&unread, |data| content.extend_from_slice(data)).map_err(|b| invalid(b.label()))?;
        unread.drain(..used);
        if content.len() > ANSWER_BYTES_MAX {
            return Err(invalid("the answer does not end"));
        }
        if body.is_done() {
            let reusable = parsed.keep_alive && unread.is_empty();
            return Ok((Reply { status: parsed.status, body: content }, reusable));
        }
        if read_more(stream, &mut unread)? == 0 {
            if body.ends_at_close() {
                return Ok((Reply { status: parsed.status, body: content }, false));
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut part = [0u8; 64 * 1024];
    let count = stream.read(&mut part)?;
    buffer.extend_from_slice(&part[..count]);
    Ok(count)
}

/// Sends one request: any status but 2xx is an error that shows the answer.
pub fn errand(method: &str, url: &Url, body: &str) -> anyhow::Result<String> {
    let request = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        url.target,
        url.authority,
        body.len()
    );
    let name = format!("{method} {url}");
    ensure!(!url.secure, "{name}: errands go over http:// alone");
    let mut client = Client::new(url.resolve()?, Duration::from_secs(20));
    let reply = client.exchange(request.as_bytes(), false).with_context(|| name.clone())?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    ensure!((200..300).contains(&reply.status), "{name}: {} {}", reply.status, text.trim());
    Ok(text)
}

/// `base` with `path` behind it.
pub fn below(base: &Url, path: &str) -> Url {
    Url { target: format!("{}{path}", base.target.trim_end_matches('/')), ..base.clone() }
}

/// Switches a fault of a `serve` port; `port` is its control URL, such as http://127.0.0.1:9000/ports/v2.
pub fn set_fault(port: &Url, fault: &str) -> anyhow::Result<()> {
    if let Err(error) = errand("PUT", &below(port, "/fault"), fault) {
        bail!("cannot switch the fault: {error:#}");
    }
    Ok(())
}
