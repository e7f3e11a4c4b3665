//! Warnings of TLS, for operators who do not look at metrics: certificates that expire soon, and handshakes that fail because
//! of a configuration on either side. Each is logged once, and again when it is worse.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use config::Config;

use crate::metrics::{Counters, Label, Shard};
use crate::tls::fault::Fault;
use crate::tls::load::Expiry;

/// How long before its end a certificate is warned of, the later the louder.
const SOON: [Duration; 2] = [Duration::from_secs(24 * 3600), Duration::from_secs(14 * 24 * 3600)];

/// The warnings that were logged.
#[derive(Debug, Default)]
pub(super) struct TlsWatch {
    /// By name: until when it is good, and how soon that was when it was said.
    warned: Vec<(Expiry, usize)>,
    hinted: Vec<Fault>,
    /// By upstream and fault: how often it had happened when it was logged last, and when that was.
    in_vain: HashMap<(String, Fault), (u64, SystemTime)>,
}

/// From one warning of an upstream that is called in vain to the next.
const AGAIN: Duration = Duration::from_secs(60);

impl TlsWatch {
    /// The warnings to be logged now.
    pub(super) fn look(
        &mut self,
        certificates: &[Expiry],
        shards: &[Arc<Shard>],
        now: SystemTime,
    ) -> Vec<String> {
        self.warned.retain(|(known, _)| certificates.contains(known));
        let mut said = Vec::new();
        for certificate in certificates {
            let left = certificate.seconds_left(now);
            let Some(how_soon) = SOON.iter().position(|soon| left <= soon.as_secs() as i64) else { continue };
            if self.warned.iter().any(|(known, before)| known == certificate && *before <= how_soon) {
                continue;
            }
            self.warned.push((certificate.clone(), how_soon));
            said.push(format!("certificate {} {}", certificate.name, end(left)));
        }
        for fault in Fault::ALL {
            let has_happened = || shards.iter().any(|shard| shard.tls.failures.get(*fault) > 0);
            if !self.hinted.contains(fault) && has_happened() {
                self.hinted.push(*fault);
                let why = fault.text();
                said.push(format!("a TLS handshake came to nothing ({why}): {}; umbra_tls_handshake_failures_total counts them", fault.hint()));
            }
        }
        said
    }
}

impl TlsWatch {
    /// The warnings of upstreams that are called in vain.
    pub(super) fn look_up(
        &mut self,
        config: &Config,
        counters: &[Arc<Counters>],
        now: SystemTime,
    ) -> Vec<String> {
        let mut said = Vec::new();
        let primaries = config.upstreams.iter().enumerate().map(|(id, upstream)| {
            let of = counters.iter().filter_map(|c| c.upstreams.get(id)).map(|of| &of.tls);
            (format!("upstream {}", upstream.name), of.collect::<Vec<_>>())
        });
        let lanes = config.lanes.iter().enumerate().map(|(id, lane)| {
            let of = counters.iter().filter_map(|c| c.lanes.get(id)).map(|of| &of.tls);
            (format!("mirror {}", lane.name), of.collect())
        });
        for (who, of) in primaries.chain(lanes) {
            for fault in Fault::ALL {
                let count: u64 = of.iter().map(|one| one.failures.get(*fault)).sum();
                if count == 0 {
                    continue;
                }
                let key = (who.clone(), *fault);
                let before = self.in_vain.get(&key);
                let is_new = before.is_none_or(|(known, at)| {
                    count > *known && now.duration_since(*at).unwrap_or_default() >= AGAIN
                });
                if is_new {
                    let (why, hint) = (fault.text(), fault.hint_of_upstream());
                    said.push(format!("{who}: no TLS with it ({why}), {count} times so far: {hint}"));
                    self.in_vain.insert(key, (count, now));
                }
            }
        }
        said
    }
}

/// The certificates that end soon, and when.
pub(super) fn ending(certificates: &[Expiry], now: SystemTime) -> Vec<(String, String)> {
    let left = certificates.iter().map(|certificate| (certificate, certificate.seconds_left(now)));
    let soon = left.filter(|(_, left)| SOON.iter().any(|soon| *left <= soon.as_secs() as i64));
    soon.map(|(certificate, left)| (certificate.name.clone(), end(left))).collect()
}

fn end(seconds_left: i64) -> String {
    match seconds_left {
        ..0 => "has expired: it is refused".to_owned(),
        0..=7200 => format!("expires in {} minutes", seconds_left / 60),
        _ if seconds_left <= 48 * 3600 => format!("expires in {} hours", seconds_left / 3600),
        _ => format!("expires in {} days", seconds_left / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_that_is_called_in_vain_is_told_once_a_minute_with_its_reason() {
        let text = "[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\ntls = { ca = \"a\" }\n[[route]]\nprimary = \"v1\"\n";
        let config = config::parse("test", text).expect("the test's own text is sound").config;
        let counters = [Arc::new(Counters::new(&config))];
        let mut watch = TlsWatch::default();
        let now = SystemTime::UNIX_EPOCH;
        assert!(watch.look_up(&config, &counters, now).is_empty());
        let fails = || counters[0].upstreams[0].tls.failures.inc(Fault::WrongName);
        fails();
        let said = watch.look_up(&config, &counters, now);
        assert!(said.len() == 1 && said[0].contains("upstream v1: no TLS with it (wrong_name)"), "{said:?}");
        fails();
        assert!(watch.look_up(&config, &counters, now + AGAIN / 2).is_empty());
        assert_eq!(watch.look_up(&config, &counters, now + AGAIN).len(), 1);
        assert!(watch.look_up(&config, &counters, now + 2 * AGAIN).is_empty(), "it has not happened again");
    }

    #[test]
    fn a_certificate_is_warned_of_twice_before_its_end_and_anew_when_it_changes() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let day = Duration::from_secs(24 * 3600);
        let until = |not_after| [Expiry { name: "shop.pem".to_owned(), not_after }];
        let mut watch = TlsWatch::default();
        let mut said =
            |left: u32, at: SystemTime| watch.look(&until(now + 30 * day), &[], at + (30 - left) * day).len();
        assert_eq!(
            [said(30, now), said(15, now), said(14, now), said(13, now), said(2, now)],
            [0, 0, 1, 0, 0]
        );
        assert_eq!([said(1, now), said(0, now)], [1, 0]);
        assert_eq!(watch.look(&until(now + 90 * day), &[], now), Vec::<String>::new());
        let said = watch.look(&until(now - day), &[], now);
        assert_eq!(said, ["certificate shop.pem has expired: it is refused"]);
    }

    #[test]
    fn a_failed_handshake_is_explained_once() {
        let shards = [Arc::<Shard>::default()];
        let mut watch = TlsWatch::default();
        let now = SystemTime::UNIX_EPOCH;
        assert!(watch.look(&[], &shards, now).is_empty());
        shards[0].tls.failures.inc(Fault::NotTls);
        let said = watch.look(&[], &shards, now);
        assert!(said.len() == 1 && said[0].contains("plaintext"), "{said:?}");
        shards[0].tls.failures.inc(Fault::NotTls);
        assert!(watch.look(&[], &shards, now).is_empty());
    }
}
