//! The admin listener's metrics page, read by name and labels, and the ledger that must balance.

use std::net::SocketAddr;

use crate::{Client, eventually};

/// A reading of the page.
#[derive(Debug, Clone)]
pub struct Metrics(String);

impl Metrics {
    #[track_caller]
    pub fn read(admin: SocketAddr) -> Self {
        let mut client = Client::connect(admin);
        let response = client.ask("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(response.status, 200);
        Self(response.text())
    }

    /// The sum of all samples of `name` whose labels include all of `labels`, each written `key="value"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> i64 {
        let samples = self.0.lines().filter_map(|line| line.rsplit_once(' '));
        let of_name = samples.filter(|(series, _)| series.split('{').next() == Some(name));
        let chosen = of_name.filter(|(series, _)| labels.iter().all(|label| series.contains(label)));
        chosen.map(|(_, value)| value.parse::<f64>().expect("a number") as i64).sum()
    }

    pub fn text(&self) -> &str {
        &self.0
    }

    /// A counter or gauge of a mirror over all routes and label values: `eligible_total`, `in_flight`.
    pub fn mirror(&self, mirror: &str, what: &str) -> i64 {
        self.sum(&format!("umbra_mirror_{what}"), &[&format!("mirror=\"{mirror}\"")])
    }

    /// A label value of a mirror's counter: `("dropped_total", "reason", "oldest")`.
    pub fn mirror_by(&self, mirror: &str, what: &str, key: &str, value: &str) -> i64 {
        let labels = [&*format!("mirror=\"{mirror}\""), &*format!("{key}=\"{value}\"")];
        self.sum(&format!("umbra_mirror_{what}"), &labels)
    }

    /// Checks the two equations of a mirror's ledger; the error tells the difference.
    pub fn ledger(&self, mirror: &str) -> Result<(), String> {
        let n = |what: &str| self.mirror(mirror, what);
        let eligible = n("eligible_total");
        let (out, skipped, dropped, sent) =
            (n("sampled_out_total"), n("skipped_total"), n("dropped_total"), n("sent_total"));
        let (pending, waiting) = (n("pending"), n("waiting"));
        let (completed, failed, in_flight) = (n("completed_total"), n("failed_total"), n("in_flight"));
        if eligible != out + skipped + dropped + sent + pending + waiting {
            return Err(format!(
                "eligible {eligible} != sampled_out {out} + skipped {skipped} + dropped {dropped} + sent {sent} + \
                 pending {pending} + waiting {waiting}"
            ));
        }
        if sent != completed + failed + in_flight {
            return Err(format!(
                "sent {sent} != completed {completed} + failed {failed} + in_flight {in_flight}"
            ));
        }
        Ok(())
    }

    /// Waits until nothing of `mirror` is under way, then checks its ledger.
    #[track_caller]
    pub fn settled(admin: SocketAddr, mirror: &str) -> Self {
        let label = format!("mirror=\"{mirror}\"");
        let mut last = Self(String::new());
        let mut settled_text = String::new();
        eventually(&format!("the copies for {mirror} settle"), || {
            last = Self::read(admin);
            let levels = ["pending", "waiting", "in_flight"];
            let is_still = levels.iter().all(|g| last.sum(&format!("umbra_mirror_{g}"), &[&label]) == 0);
            // Counters are read one after the other while the worker writes them, so that a copy that ends meanwhile is in one
            // and not yet in another: only two equal readings count.
            let own = |text: &str| -> String { text.lines().filter(|line| line.contains(&label)).collect() };
            let was = std::mem::replace(&mut settled_text, own(&last.0));
            is_still && was == settled_text
        });
        if let Err(why) = last.ledger(mirror) {
            panic!("the ledger of {mirror} does not balance: {why}\n{}", last.0);
        }
        last
    }
}
