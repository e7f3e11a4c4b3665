//! A server of gRPC calls made of frames.

use crate::http2::{DATA, END, HEADERS, Raw};
use crate::load::Peer;

/// The field that makes a request a call.
pub const CALL: (&str, &str) = ("content-type", "application/grpc");

/// Hands each call that has come whole to `answer`, by its stream and its path.
pub fn server(answer: impl Fn(&mut Raw, u32, &str) + Send + Sync + 'static) -> Peer {
    Peer::new(move |tcp| {
        if !tcp.peek(&mut [0]).is_ok_and(|n| n > 0) {
            return;
        }
        let mut raw = Raw::serve(tcp, &[]);
        while let Some(heard) = raw.frame() {
            if heard.flags & END == 0 || ![HEADERS, DATA].contains(&heard.kind) {
                continue;
            }
            let asked = raw.streams.get(&heard.stream).cloned().unwrap_or_default();
            let path = asked.trailers.iter().find(|(name, _)| name == ":path").map_or("", |(_, path)| path);
            answer(&mut raw, heard.stream, path);
        }
    })
}
