//! The content of one HTTP/2 request as it comes, and its entry in the log.

use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderValue;
use sha2::{Digest, Sha256};

use super::fault::Fault;
use super::local::PortLocal;
use super::over::{Over, hex};
use super::port::{Arrival, bump};
use crate::http1::head::ID_HEADER;

fn arrival(head: &http::request::Parts, connection: u64) -> Option<Arrival> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Some(Arrival {
        id: text(head.headers.get(ID_HEADER)?),
        method: head.method.to_string(),
        target: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body_bytes: 0,
        body_sha256: String::new(),
        complete: false,
        received_unix_ns: 0,
        connection,
    })
}

/// A request's content.
pub struct Incoming {
    body: RecvStream,
    arrival: Option<Arrival>,
    count: u64,
    hash: Sha256,
}

impl Incoming {
    /// `connection`: its number.
    pub fn new(body: RecvStream, head: &http::request::Parts, connection: u64) -> Self {
        Self { body, arrival: arrival(head, connection), count: 0, hash: Sha256::new() }
    }

    /// The next piece; `None` at its end. The peer may send as much again.
    pub async fn next(&mut self, local: &PortLocal) -> Result<Option<Bytes>, Over> {
        let data = match self.body.data().await {
            None => return Ok(None),
            Some(Ok(data)) => data,
            Some(Err(error)) => {
                bump(&local.counters().requests_incomplete, 1);
                self.log(local, false);
                return Err(error.into());
            }
        };
        if let Fault::SlowRead(per_s) = local.fault() {
            let seconds = data.len() as f64 / per_s.max(1) as f64;
            local.alarm.sleep(Duration::from_secs_f64(seconds)).await;
        }
        while local.fault().forbids_reading() {
            local.changed.notified().await;
        }
        self.count += data.len() as u64;
        if self.arrival.is_some() {
            self.hash.update(&data);
        }
        if local.fault() != Fault::ZeroWindow {
            self.body.flow_control().release_capacity(data.len())?;
        }
        Ok(Some(data))
    }

    pub async fn read(&mut self, local: &PortLocal, mut on_data: impl FnMut(&[u8])) -> Result<(), Over> {
        while let Some(data) = self.next(local).await? {
            on_data(&data);
        }
        self.complete(local);
        Ok(())
    }

    pub fn complete(&mut self, local: &PortLocal) {
        bump(&local.counters().requests, 1);
        self.log(local, true);
    }

    fn log(&mut self, local: &PortLocal, complete: bool) {
        if let Some(mut arrival) = self.arrival.take() {
            arrival.body_bytes = self.count;
            arrival.body_sha256 = hex(&self.hash.finalize_reset());
            arrival.complete = complete;
            arrival.received_unix_ns = local.port.now_unix_ns();
            local.port.record(local.worker, arrival);
        }
    }
}
