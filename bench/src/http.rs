//! A small request on a connection of its own, for control URLs and counters. Blocking, bounded, loopback only; never used for
//! load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

const WAIT_MAX: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

pub fn get(addr: SocketAddr, path: &str) -> Result<String> {
    request(addr, "GET", path, "")
}

pub fn put(addr: SocketAddr, path: &str, body: &str) -> Result<String> {
    request(addr, "PUT", path, body)
}

fn request(addr: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let what = || format!("{method} http://{addr}{path}");
    let mut stream = TcpStream::connect_timeout(&addr, WAIT_MAX).with_context(what)?;
    stream.set_read_timeout(Some(WAIT_MAX))?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    // HTTP/1.0: the answer ends with the connection and is never chunked.
    let head = format!(
        "{method} {path} HTTP/1.0\r\nHost: {addr}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).with_context(what)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).with_context(what)?;
    let answer = String::from_utf8_lossy(&answer);
    let Some((head, content)) = answer.split_once("\r\n\r\n") else {
        bail!("{}: no whole answer", what());
    };
    match head.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(content.to_string()),
        _ => bail!("{}: {} {}", what(), head.lines().next().unwrap_or(""), content.trim()),
    }
}
