//! Configuration as written: the tables and keys of the TOML form, and the types of their values. Deliberately does not
//! know defaults, bounds or how keys relate: `check` does.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Place, Report};
use crate::reader::{List, Named, Read, Size, SizeOrUnlimited, tables, words};
use crate::{Balance, Driver, DropPolicy, Forwarded};

words!(Driver, Balance, DropPolicy, Forwarded);

tables! {
    /// The whole file.
    pub(crate) struct File {
        listener: List<Listener>,
        admin: Admin,
        workers: Workers,
        limits: Limits,
        timeouts: Timeouts,
        headers: Headers,
        upstream: Named<Upstream>,
        route: List<Route>,
    }

    /// `[[listener]]`
    pub(crate) struct Listener {
        /// IP address and port.
        bind: String,
    }

    /// `[admin]`
    pub(crate) struct Admin {
        /// IP address and port, or `off`.
        bind: String,
    }

    /// `[workers]`
    pub(crate) struct Workers {
        count: u64,
        pin: bool,
        driver: Driver,
        uring_entries: u64,
    }

    /// `[limits]`; see [`crate::Limits`].
    pub(crate) struct Limits {
        connections_max: u64,
        request_head_bytes_max: Size,
        request_line_bytes_max: Size,
        response_head_bytes_max: Size,
        fields_max: u64,
        request_body_bytes_max: SizeOrUnlimited,
        requests_per_connection_max: u64,
        upstream_idle_max: u64,
        drain_bytes_max: Size,
    }

    /// `[timeouts]`; see [`crate::Timeouts`].
    pub(crate) struct Timeouts {
        request_head: Duration,
        client_idle: Duration,
        request_body: Duration,
        write: Duration,
        connect: Duration,
        response_head: Duration,
        response_body: Duration,
        upstream_idle: Duration,
        drain: Duration,
    }

    /// `[headers]`
    pub(crate) struct Headers {
        forwarded: Forwarded,
    }

    /// `[upstream.NAME]`
    pub(crate) struct Upstream {
        /// `ip:port`, `[v6]:port` or `name:port`.
        endpoints: List<String>,
        balance: Balance,
    }

    /// `[[route]]`
    pub(crate) struct Route {
        name: String,
        /// Exact, or with `*.` at its left.
        host: String,
        path: String,
        path_prefix: String,
        methods: List<String>,
        /// Name of an upstream.
        primary: String,
        mirrors: List<Mirror>,
    }

    /// One of `mirrors` of a route.
    pub(crate) struct Mirror {
        /// Name of an upstream.
        upstream: String,
        name: String,
        /// 0 to 100, with a grain of 0.0001: kept as a whole number of millionths, rounded to the nearest.
        percent: f64,
        ring_entries_max: u64,
        ring_bytes_max: Size,
        drop: DropPolicy,
        body_bytes_max: Size,
        connect_timeout: Duration,
        timeout: Duration,
        connections_max: u64,
        pipeline_max: u64,
        response_bytes_max: Size,
        /// `keep`, `shadow`, or a literal value of Host.
        host: String,
    }
}

/// Reads a text as far as it can be read. What is wrong with it, types and unknown keys included, goes to `report`.
pub(crate) fn read(text: &str, report: &mut Report) -> Option<File> {
    let (document, syntax) = DeTable::parse_recoverable(text);
    if !syntax.is_empty() {
        // What a broken text means can only be guessed at; its syntax comes first and alone.
        let mut last_line = None;
        for error in syntax {
            let line = error.span().map(|span| report.line(&span));
            // One slip often trips the parser several times in its line.
            if line.is_some() && line == last_line {
                continue;
            }
            last_line = line;
            report.error(&Place { key: String::new(), line }, syntax_message(text, &error));
        }
        return None;
    }
    let root = Spanned::new(document.span(), DeValue::Table(document.into_inner()));
    File::read(root.get_ref(), &Place::default(), report)
}

fn syntax_message(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', " ");
    let excerpt = error.span().and_then(|span| text.get(span)).map(str::trim).unwrap_or_default();
    let tellable = !excerpt.is_empty() && excerpt.len() <= 40 && !excerpt.contains(char::is_control);
    if tellable { format!("not TOML: {message} at `{excerpt}`") } else { format!("not TOML: {message}") }
}
