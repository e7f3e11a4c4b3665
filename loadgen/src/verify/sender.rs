//! Sends the proof's requests, each with its own id, method, headers and body, and remembers them. Judges nothing.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::reconcile::Sent;
use crate::client::Client;
use crate::http1::{chunked, head::ID_HEADER};
use crate::run::request::Url;
use crate::serve::hex;

pub struct Job {
    pub url: Url,
    pub prefix: String,
    pub requests: u64,
    pub connections: usize,
    pub rate: Option<f64>,
    pub body_bytes: (u64, u64),
    pub chunked_share: f64,
    pub bodiless_share: f64,
    pub timeout: Duration,
    pub seed: u64,
}

pub struct SentAll {
    /// In the order of their ids.
    pub sent: Vec<Sent>,
    pub failures: Vec<String>,
}

pub fn send(job: &Job, interrupted: &AtomicBool) -> anyhow::Result<SentAll> {
    let addr = job.url.resolve()?;
    let next = AtomicU64::new(0);
    let all = Mutex::new((Vec::new(), Vec::new()));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..job.connections.max(1) {
            scope.spawn(|| {
                let mut client = Client::new(addr, job.timeout);
                while !interrupted.load(Relaxed) {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= job.requests {
                        return;
                    }
                    if let Some(rate) = job.rate {
                        let due = start + Duration::from_secs_f64(number as f64 / rate);
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    }
                    let (mut sent, bytes) = build(job, number);
                    let result = client.exchange(&bytes, false);
                    sent.answered = result.is_ok();
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(reply) if reply.status >= 400 => {
                            all.1.push(format!("{}: status {}", sent.id, reply.status))
                        }
                        Ok(_) => {}
                        Err(error) => all.1.push(format!("{}: {error}", sent.id)),
                    }
                    all.0.push((number, sent));
                }
            });
        }
    });
    let (mut sent, failures) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    sent.sort_by_key(|(number, _)| *number);
    Ok(SentAll { sent: sent.into_iter().map(|(_, sent)| sent).collect(), failures })
}

/// The `number`-th request: the same for the same seed.
fn build(job: &Job, number: u64) -> (Sent, Vec<u8>) {
    let mut random =
        fastrand::Rng::with_seed(job.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
    let id = format!("{}{number}", job.prefix);
    let with_body = job.body_bytes.1 > 0 && random.f64() >= job.bodiless_share;
    let method = match (with_body, random.u8(0..4)) {
        (true, 0) => "PUT",
        (true, 1) => "PATCH",
        (true, _) => "POST",
        (false, 0) => "DELETE",
        (false, _) => "GET",
    };
    let mut body =
        vec![0u8; if with_body { random.u64(job.body_bytes.0..=job.body_bytes.1) as usize } else { 0 }];
    random.fill(&mut body);
    let separator = if job.url.target.contains('?') { '&' } else { '?' };
    let target = format!("{}{separator}proof={number}", job.url.target);
    let headers = vec![
        ("Host".to_string(), job.url.authority.clone()),
        (ID_HEADER.to_string(), id.clone()),
        ("X-Proof-Value".to_string(), format!("{:016x}", random.u64(..))),
        // A name twice: the order and both values must survive.
        ("X-Proof-List".to_string(), "first".to_string()),
        ("X-Proof-List".to_string(), format!("second; {}", random.u32(..))),
    ];
    let mut bytes = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    for (name, value) in &headers {
        bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    if with_body && random.f64() < job.chunked_share {
        bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        let chunk_bytes = random.usize(1..=16 * 1024);
        chunked::encode(&body, chunk_bytes, &mut bytes);
    } else {
        if with_body {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&body);
    }
    let sent = Sent {
        id,
        method: method.to_string(),
        target,
        headers,
        body_bytes: body.len() as u64,
        body_sha256: hex(&Sha256::digest(&body)),
        answered: false,
    };
    (sent, bytes)
}
