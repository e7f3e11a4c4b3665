//! A request of the control plane to one endpoint, by the settings of requests there: in plaintext or over TLS, in HTTP/1.1 or
//! HTTP/2, on a connection of its own. The caller bounds its time and the bytes that are read.

use std::error::Error as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use config::UpstreamProtocol;
use http::header::{CONNECTION, HOST};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::address::Address;
use crate::tls::Calling;
use crate::tls::fault::Fault;

/// How an endpoint is called.
#[derive(Debug, Clone)]
pub struct Manner {
    pub protocol: UpstreamProtocol,
    /// Over TLS, with an endpoint of this name.
    pub secured: Option<(Arc<Calling>, ServerName<'static>)>,
}

impl PartialEq for Manner {
    fn eq(&self, other: &Self) -> bool {
        let secured = match (&self.secured, &other.secured) {
            (None, None) => true,
            (Some((calling, name)), Some((other, its_name))) => {
                Arc::ptr_eq(calling, other) && name == its_name
            }
            (Some(_), None) | (None, Some(_)) => false,
        };
        self.protocol == other.protocol && secured
    }
}

/// A response whose head has come. The connection ends when it is dropped, even if the server has more to send.
#[derive(Debug)]
pub struct Answered {
    pub response: Response<Incoming>,
    _held: Held,
}

/// The answer to `request`, which is written as HTTP/1.1 has it; or why there is none.
pub async fn ask(address: Address, manner: &Manner, request: Request<String>) -> Result<Answered, String> {
    match address {
        Address::Ip(address) => over(TcpStream::connect(address).await, manner, request).await,
        Address::Unix(path) => over(UnixStream::connect(path).await, manner, request).await,
    }
}

async fn over(
    stream: io::Result<impl AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    manner: &Manner,
    request: Request<String>,
) -> Result<Answered, String> {
    let stream = stream.map_err(|e| e.to_string())?;
    let Some((calling, name)) = &manner.secured else {
        return match manner.protocol {
            UpstreamProtocol::Http1 | UpstreamProtocol::Alpn => by_http1(stream, request).await,
            UpstreamProtocol::Http2 => by_http2(stream, request, "http").await,
        };
    };
    let connector = TlsConnector::from(calling.config(manner.protocol));
    let stream = connector.connect(name.clone(), stream).await.map_err(why_not)?;
    match (manner.protocol, stream.get_ref().1.alpn_protocol() == Some(b"h2")) {
        (UpstreamProtocol::Http2 | UpstreamProtocol::Alpn, true) => by_http2(stream, request, "https").await,
        (UpstreamProtocol::Http1, _) | (UpstreamProtocol::Alpn, false) => by_http1(stream, request).await,
        (UpstreamProtocol::Http2, false) => Err(no_tls(Fault::NoCommonProtocol)),
    }
}

async fn by_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
) -> Result<Answered, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let held = Held::default();
    held.execute(async {
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(said)?;
    Ok(Answered { response, _held: held })
}

async fn by_http2(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<String>,
    scheme: &str,
) -> Result<Answered, String> {
    let request = in_http2(request, scheme)?;
    let held = Held::default();
    let tasks = Tasks(Arc::clone(&held.0));
    let (mut sender, connection) = http2::handshake(tasks, TokioIo::new(stream)).await.map_err(said)?;
    held.execute(async {
        let _ = connection.await;
    });
    let response = sender.send_request(request).await.map_err(said)?;
    Ok(Answered { response, _held: held })
}

/// The authority is no field (RFC 9113 §8.3.1), and a connection has none (§8.2.2).
fn in_http2(request: Request<String>, scheme: &str) -> Result<Request<String>, String> {
    let (mut head, content) = request.into_parts();
    head.headers.remove(CONNECTION);
    let host = head.headers.remove(HOST);
    let authority = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target);
    head.uri = uri.build().map_err(|e| e.to_string())?;
    head.version = Version::HTTP_2;
    Ok(Request::from_parts(head, content))
}

/// The tasks that drive a connection; they end when this is dropped.
#[derive(Debug, Default)]
struct Held(Arc<Mutex<JoinSet<()>>>);

impl Held {
    fn execute(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(future);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }
}

/// The place where hyper spawns the tasks of an HTTP/2 connection.
#[derive(Clone)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spawn(future);
    }
}

fn said(error: hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// A handshake that came to nothing, in the words that the workers' have.
fn why_not(error: io::Error) -> String {
    let known = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()).map(Fault::of);
    known.map_or_else(|| format!("no TLS: {error}"), no_tls)
}

fn no_tls(fault: Fault) -> String {
    format!("no TLS: {}", fault.hint_of_upstream())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_http2_a_host_is_the_authority_and_a_connection_has_no_field() {
        let request = Request::get("/a?b=[1]").header(HOST, "shop:80").header(CONNECTION, "close");
        let request = in_http2(request.header("x-a", "1").body(String::new()).unwrap(), "https").unwrap();
        assert_eq!(request.uri(), "https://shop:80/a?b=[1]");
        let names: Vec<&str> = request.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-a"]);
    }
}
