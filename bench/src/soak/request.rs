//! Requests whose content is their own, and how each ended for the client that made it. Pure.

use bytes::Bytes;
use loadgen::grpc;

use super::wire::{Upstream, Wire};

/// Every piece of its content says whose it is.
pub(super) struct Request {
    pub id: String,
    pub method: &'static str,
    /// It begins with the name of a route.
    pub path: String,
    pub content: Bytes,
    /// Its length is not said beforehand, and it comes in pieces of so many bytes.
    pub pieces: Option<usize>,
}

impl Request {
    /// Most are short, some fill several reads; messages of a WebSocket never do, for no timeout of the gateway ends a peer
    /// that is slow with them.
    pub(super) fn draw(wire: Wire, upstream: Upstream, id: String, random: &mut fastrand::Rng) -> Self {
        let may_be_long = !wire.is_websocket() && random.u8(..16) == 0;
        let length = 1_usize << random.u32(if may_be_long { 5..18 } else { 5..12 });
        let length = id.len() + random.usize(..length);
        let mut content = id.repeat(length.div_ceil(id.len())).into_bytes();
        content.truncate(length);
        if wire == Wire::Grpc {
            content = content.chunks(length.div_ceil(random.usize(1..=4))).flat_map(grpc::frame).collect();
        }
        Self {
            path: format!("/{}/soak?{id}", upstream.name()),
            id,
            // Requests that may be tried again, and those that may not.
            method: if wire != Wire::Grpc && random.bool() { "PUT" } else { "POST" },
            content: content.into(),
            pieces: (random.u8(..3) == 0).then(|| random.usize(1..=8192)),
        }
    }

    /// The verdict on what came back.
    pub(super) fn judge(&self, came: Result<Vec<u8>, Failure>) -> End {
        match came {
            Ok(content) if content == self.content => End::Whole,
            Ok(content) => End::Wrong(self.differs(&content)),
            // Content before a failure is the client's own too.
            Err(failure) if self.content.starts_with(&failure.so_far) => End::Failed(
                failure.what,
                format!("{} of {} bytes{}", self.path, self.content.len(), failure.place),
            ),
            Err(failure) => End::Wrong(format!("{}, then {}", self.differs(&failure.so_far), failure.what)),
        }
    }

    fn differs(&self, content: &[u8]) -> String {
        format!(
            "{} ({}) was answered with {} bytes instead of {}: {}",
            self.id,
            self.path,
            content.len(),
            self.content.len(),
            String::from_utf8_lossy(&content[..content.len().min(60)])
        )
    }
}

/// How a request ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    /// Another's response, or nobody's.
    Wrong(String),
    /// Neither: its status, or what happened to its connection; and which request it was.
    Failed(String, String),
}

/// A request that was not answered whole.
#[derive(Debug, Default)]
pub(super) struct Failure {
    pub what: String,
    /// Where in a conversation it happened, if that is more than one exchange.
    pub place: String,
    /// Content of a response that had begun well.
    pub so_far: Vec<u8>,
}

impl Failure {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    pub(super) fn after(self, so_far: Vec<u8>) -> Self {
        Self { so_far, ..self }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        Self::new(match error.kind() {
            Kind::ConnectionReset | Kind::BrokenPipe => "reset".to_string(),
            Kind::UnexpectedEof => "cut".to_string(),
            kind => format!("{kind:?}"),
        })
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        let reason = error.reason().map_or_else(String::new, |reason| format!(" {reason:?}"));
        match error.get_io() {
            Some(io) => std::io::Error::from(io.kind()).into(),
            None if error.is_go_away() => Self::new(format!("GOAWAY{reason}")),
            None if error.is_reset() => Self::new(format!("RST_STREAM{reason}")),
            None => Self::new(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_told_from_anothers_and_from_less() {
        let mut random = fastrand::Rng::with_seed(3);
        for wire in Wire::ALL {
            let request = Request::draw(wire, Upstream::Http2, "1.2.3;".into(), &mut random);
            let mut other = request.content.to_vec();
            assert_eq!(request.judge(Ok(other.clone())), End::Whole, "{wire:?}");
            assert!(matches!(request.judge(Ok(other[1..].to_vec())), End::Wrong(_)), "{wire:?}");
            let part = Failure::new("cut").after(other[..other.len() / 2].to_vec());
            assert!(matches!(request.judge(Err(part)), End::Failed(what, _) if what == "cut"), "{wire:?}");
            other[0] ^= 1;
            assert!(
                matches!(request.judge(Err(Failure::new("cut").after(other))), End::Wrong(_)),
                "{wire:?}"
            );
        }
    }
}
