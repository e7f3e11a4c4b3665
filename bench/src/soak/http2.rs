//! One client connection of HTTP/2 and the requests on its streams, gRPC's among them. Framing is the h2 crate's.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Version};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, spawn_local};

use super::door::{Door, patiently};
use super::request::{Failure, Request};
use super::wire::Wire;

const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// A request that its server has not looked at is sent again (RFC 9113 §8.7), so often.
const TRIES: usize = 3;
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One connection after the other, shared by those who ask at once.
pub(super) struct Session {
    door: Rc<Door>,
    wire: Wire,
    current: Mutex<Option<Connection>>,
}

struct Connection {
    nth: u64,
    sender: SendRequest<Bytes>,
    task: AbortHandle,
}

impl Session {
    pub(super) fn new(door: Rc<Door>, wire: Wire) -> Self {
        Self { door, wire, current: Mutex::default() }
    }

    pub(super) fn another(&self) -> Self {
        Self::new(self.door.clone(), self.wire)
    }

    /// The content of a response of 200, and of a call whose status is 0.
    pub(super) async fn exchange(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        for _ in 1..TRIES {
            match self.once(request).await? {
                Some(content) => return Ok(content),
                None => continue,
            }
        }
        self.once(request).await?.ok_or_else(|| Failure::new("refused again"))
    }

    /// `None`: the server has not looked at it.
    async fn once(&self, request: &Request) -> Result<Option<Vec<u8>>, Failure> {
        let (response, mut stream) = self.begin(|| self.head(request)).await?;
        let content = &request.content;
        let size = request.pieces.unwrap_or(content.len());
        let sent = async {
            // A response may come before all of it is sent, and says enough.
            let _ = send_all(&mut stream, content, size, true).await;
            std::future::pending().await
        };
        tokio::select! {
            came = self.response(response) => came,
            () = sent => Err(Failure::new("never")),
        }
    }

    /// A stream on the connection that is there, or on a new one.
    pub(super) async fn begin(
        &self,
        head: impl Fn() -> Result<http::Request<()>, Failure>,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        let (nth, sender) = self.connected(None).await?;
        if let Ok(mut sender) = patiently(sender.ready()).await
            && let Ok(begun) = sender.send_request(head()?, false)
        {
            return Ok(begun);
        }
        let (_, sender) = self.connected(Some(nth)).await?;
        Ok(patiently(sender.ready()).await?.send_request(head()?, false)?)
    }

    /// The current connection and its number, made now if there is none but that which takes no streams.
    async fn connected(&self, full: Option<u64>) -> Result<(u64, SendRequest<Bytes>), Failure> {
        let mut current = self.current.lock().await;
        if let Some(Connection { nth, sender, task }) = current.as_ref()
            && Some(*nth) != full
            && !task.is_finished()
        {
            return Ok((*nth, sender.clone()));
        }
        let nth = current.as_ref().map_or(0, |connection| connection.nth + 1);
        let stream = self.door.open(self.wire).await?;
        let mut builder = Builder::new();
        builder
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .enable_push(false);
        let (sender, connection) = patiently(builder.handshake(stream)).await?;
        let task = spawn_local(async move {
            // Its streams are told why it ended.
            let _ = connection.await;
        });
        *current = Some(Connection { nth, sender: sender.clone(), task: task.abort_handle() });
        Ok((nth, sender))
    }

    /// Waits until the server has allowed extended CONNECT by its SETTINGS.
    pub(super) async fn allow_connect(&self) -> Result<(), Failure> {
        let (_, sender) = self.connected(None).await?;
        patiently(async {
            while !sender.is_extended_connect_protocol_enabled() {
                if self.is_over().await {
                    return Err(Failure::new("cut"));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(())
        })
        .await
    }

    async fn is_over(&self) -> bool {
        self.current.lock().await.as_ref().is_none_or(|connection| connection.task.is_finished())
    }

    pub(super) fn uri(&self, path: &str) -> String {
        format!("{}://localhost{path}", if self.wire.is_covered() { "https" } else { "http" })
    }

    fn head(&self, request: &Request) -> Result<http::Request<()>, Failure> {
        let mut head = http::Request::builder()
            .version(Version::HTTP_2)
            .method(request.method)
            .uri(self.uri(&request.path))
            .header("x-request-id", &request.id);
        if self.wire == Wire::Grpc {
            head = head.header("content-type", "application/grpc").header("te", "trailers");
        } else if request.pieces.is_none() {
            head = head.header("content-length", request.content.len());
        }
        head.body(()).map_err(|error| Failure::new(error.to_string()))
    }

    async fn response(&self, response: ResponseFuture) -> Result<Option<Vec<u8>>, Failure> {
        let response = match patiently(async { Ok::<_, Failure>(response.await) }).await? {
            Ok(response) => response,
            Err(error) if was_not_looked_at(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (head, mut body) = response.into_parts();
        let mut content = Vec::new();
        let trailers = match read(&mut body, &mut content).await {
            Ok(trailers) => trailers,
            Err(failure) if head.status == 200 => return Err(failure.after(content)),
            Err(failure) => return Err(failure),
        };
        if head.status != 200 {
            return Err(Failure::new(head.status.as_str()));
        }
        if self.wire == Wire::Grpc {
            let status = trailers.as_ref().unwrap_or(&head.headers).get("grpc-status");
            match status.map(|status| String::from_utf8_lossy(status.as_bytes())) {
                Some(status) if status == "0" => {}
                Some(status) => return Err(Failure::new(format!("grpc {status}")).after(content)),
                None => return Err(Failure::new("grpc without status").after(content)),
            }
        }
        Ok(Some(content))
    }

    /// Begins, and resets its stream, or ends a connection of its own in the middle.
    pub(super) async fn leave(&self, request: &Request, random: &mut fastrand::Rng) {
        let own = self.another();
        let is_alone = random.bool();
        let session = if is_alone { &own } else { self };
        let some = if random.bool() { request.content.len() } else { random.usize(..request.content.len()) };
        if let Ok((response, mut stream)) = session.begin(|| self.head(request)).await {
            let pause = Duration::from_millis(random.u64(..5));
            let content = request.content.slice(..some);
            let ends = some == request.content.len();
            let _ = tokio::time::timeout(pause, async {
                let _ = send_all(&mut stream, &content, request.pieces.unwrap_or(some), ends).await;
                std::future::pending::<()>().await;
            })
            .await;
            if is_alone && let Some(connection) = own.current.lock().await.take() {
                connection.task.abort();
            }
            drop((response, stream));
        }
    }
}

/// GOAWAY names the last stream it looked at, and later ones are told its reason; REFUSED_STREAM says it of one.
fn was_not_looked_at(error: &h2::Error) -> bool {
    match error.reason() {
        Some(Reason::NO_ERROR) => error.is_go_away() && error.is_remote(),
        Some(Reason::REFUSED_STREAM) => error.is_reset() && error.is_remote(),
        _ => false,
    }
}

/// Adds to `content` as it comes; the trailers, if there are some.
async fn read(body: &mut RecvStream, content: &mut Vec<u8>) -> Result<Option<HeaderMap>, Failure> {
    while let Some(data) = next(body).await? {
        content.extend_from_slice(&data);
    }
    patiently(body.trailers()).await
}

/// The next piece, for which the peer may send as much again.
pub(super) async fn next(body: &mut RecvStream) -> Result<Option<Bytes>, Failure> {
    let data = patiently(async { body.data().await.transpose() }).await?;
    if let Some(data) = &data {
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(data)
}

/// All of `content` in pieces of `size`, and perhaps the stream's end.
async fn send_all(
    stream: &mut SendStream<Bytes>,
    content: &Bytes,
    size: usize,
    ends: bool,
) -> Result<(), Failure> {
    let mut sent = 0;
    while sent < content.len() {
        let to = content.len().min(sent + size);
        send(stream, content.slice(sent..to), ends && to == content.len()).await?;
        sent = to;
    }
    Ok(())
}

/// As the peer's windows allow.
pub(super) async fn send(
    stream: &mut SendStream<Bytes>,
    mut bytes: Bytes,
    is_last: bool,
) -> Result<(), Failure> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = match stream.capacity() {
            0 => {
                patiently(async {
                    let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
                    room.transpose()?.ok_or_else(|| Failure::new("cut"))
                })
                .await?
            }
            room => room,
        };
        let piece = bytes.split_to(room.min(bytes.len()));
        stream.send_data(piece, is_last && bytes.is_empty())?;
    }
    Ok(())
}
