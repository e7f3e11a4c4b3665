//! Rules of observing exchanges: access log, tracing, and the evidence of verdicts.

use std::time::Duration;

use super::{Check, in_memory, word};
use crate::file;
use crate::reader::{At, Key};
use crate::syntax;
use crate::units::{GIB, KIB, MIB, show_period};
use crate::{
    AccessLog, Admin, Claim, Collector, EvidenceFile, Judging, LogFormat, Notable, Pem, Percent, Tracing,
    Trust,
};

impl Check<'_> {
    /// `None` where nothing is logged.
    pub(super) fn access_log(&mut self, table: &At<file::AccessLog>) -> Option<AccessLog> {
        let written = &table.value;
        let to = self.required(&written.to, &table.at, "to", r#""stdout""#);
        // Everything is checked, also of a log that is switched off.
        let to = to.and_then(|to| self.syntax(to, syntax::log_target));
        let percent = self.share(&written.percent, Percent::ALL);
        let only = written.only.given().map(|table| self.notable(table));
        let redact = self.each(&written.redact, syntax::nonempty);
        Some(AccessLog { to: to??, format: word(&written.format, LogFormat::Json), percent, only, redact })
    }

    fn notable(&mut self, table: &At<file::Notable>) -> Notable {
        let written = &table.value;
        let notable = Notable {
            statuses: self.each(&written.statuses, syntax::statuses),
            slower_than: self.given_period(&written.slower_than),
            mismatched: word(&written.mismatched, false),
        };
        // A value that was refused is reported already.
        let says_nothing = written.statuses.given().is_none_or(|list| list.value.is_empty())
            && !matches!(written.statuses, Key::Refused)
            && written.slower_than.is_absent()
            && !notable.mismatched;
        if says_nothing {
            let message = r#"no exchange is like this; write statuses = ["5xx"], slower_than = "1s" or mismatched = true"#;
            self.report.error(&table.at, message);
        }
        notable
    }

    /// `None` where traces are passed by.
    /// The target, believed by `ca` where that is given.
    fn collector_ca(
        &mut self,
        written: &file::Tracing,
        mut to: Option<Option<Option<Collector>>>,
    ) -> Option<Option<Option<Collector>>> {
        let Some(given) = written.ca.given() else { return to };
        let ca = self.syntax(given, syntax::nonempty);
        match &mut to {
            Some(Some(Some(Collector { tls: Some(trust), .. }))) => {
                if let Some(ca) = ca {
                    *trust = Trust::Ca(Pem::File(ca.into()));
                }
            }
            Some(_) => self.report.error(&given.at, r#"is only used with to = "https://…""#),
            // The target was refused, and is reported already.
            None => {}
        }
        to
    }

    pub(super) fn tracing(&mut self, table: &At<file::Tracing>) -> Option<Tracing> {
        let written = &table.value;
        let to = self.required(&written.to, &table.at, "to", r#""http://127.0.0.1:4318""#);
        let to = to.and_then(|to| self.syntax(to, syntax::span_target));
        let to = self.collector_ca(written, to);
        let one_percent = Percent { per_million: 10_000 };
        let percent = self.share(&written.percent, one_percent);
        let name = written.service_name.given().and_then(|name| self.syntax(name, syntax::nonempty));
        let spans_max = in_memory(self.count(&written.spans_max, 8192, 1..=1_048_576));
        let spans_bytes_max = in_memory(self.size(&written.spans_bytes_max, 16 * MIB, 64 * KIB..=4 * GIB));
        let timeout = self.bounded(
            written.timeout.given().map(|given| (given.value, &given.at)),
            Duration::from_secs(5),
            Duration::from_millis(1)..=Duration::from_secs(60),
            show_period,
        );
        Some(Tracing {
            percent,
            parent: word(&written.parent, Claim::Keep),
            collector: to??,
            service_name: name.unwrap_or_else(|| "umbra".to_owned()),
            spans_max,
            spans_bytes_max,
            timeout,
        })
    }

    pub(super) fn judging(&mut self, written: &file::Judging, admin: &Admin) -> Judging {
        let evidence = written.evidence.given().and_then(|to| self.syntax(to, syntax::nonempty));
        let evidence = match evidence.as_deref() {
            None => EvidenceFile::StateDirectory,
            Some("off") => EvidenceFile::Nowhere,
            Some(path) => EvidenceFile::At(path.into()),
        };
        let peers = self.each(&written.peers, syntax::remote);
        if let Some(list) = written.peers.given().filter(|list| list.value.len() > PEERS_MAX) {
            let message = format!("{} are too many: at most {PEERS_MAX}", list.value.len());
            self.report.error(&list.at, message);
        }
        if let Some(list) = written.peers.given().filter(|list| !list.value.is_empty())
            && admin.bind.is_none()
        {
            self.report.error(&list.at, "is of no use without an admin listener: nobody asks for a verdict");
        }
        let peers_ca = written.peers_ca.given().and_then(|given| {
            if admin.tls.is_none() {
                self.report.error(&given.at, "is only used where [admin] has tls");
            }
            self.syntax(given, syntax::nonempty).map(Into::into)
        });
        Judging { evidence, peers, peers_ca }
    }
}

/// Names or addresses of peers; each name may stand for many.
const PEERS_MAX: usize = 256;
