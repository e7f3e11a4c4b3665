//! From the configuration as written to the configuration as meant: defaults, bounds, and the rules that hold between
//! keys. Says everything that is wrong at once. Deliberately does not know how TOML is spelled: `file` and `reader` do.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::file::{self, File};
use crate::pattern::{Pattern, Patterns};
pub use crate::problem::Problem;
use crate::problem::{Place, Report};
use crate::reader::{At, Key, List, Size};
use crate::syntax;
use crate::units::{GIB, KIB, MIB, show_period, show_size};
use crate::write::Shown;
use crate::{
    Admin, Capture, Claim, ClientAuth, Config, Driver, Forwarded, Lane, Limits, Listener, Material, Percent,
    Protocols, Timeouts, Upstream, Via, Workers,
};

mod upstreams;
mod routes;
mod rewrites;
mod matches;
mod cors;
mod mirrors;
mod captures;
mod observe;
mod tls;
mod http2;

use upstreams::reaches;

/// A configuration that may be served, with warnings for its operator.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub config: Config,
    /// The same as TOML.
    pub written: Shown,
    pub warnings: Vec<Problem>,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines; an unreadable file is one problem without a line.
pub fn load(path: impl AsRef<Path>) -> Result<Checked, Vec<Problem>> {
    let path = path.as_ref();
    let file = path.display().to_string();
    match crate::text::read(path) {
        Ok(bytes) => parse_bytes(&file, &bytes),
        Err(error) => {
            let message = format!("cannot be read: {error}");
            Err(vec![Problem { file, message, ..Problem::default() }])
        }
    }
}

/// As [`parse`], of a text that may not be one.
///
/// # Errors
/// As [`parse`].
pub fn parse_bytes(source_name: &str, bytes: &[u8]) -> Result<Checked, Vec<Problem>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => parse(source_name, text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = Some(1 + before.iter().filter(|&&byte| byte == b'\n').count());
            let message = "not TOML: this line is not UTF-8".to_owned();
            Err(vec![Problem { file: source_name.to_owned(), line, message, ..Problem::default() }])
        }
    }
}

/// Reads and checks a text; problems name it `source_name`.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(source_name: &str, text: &str) -> Result<Checked, Vec<Problem>> {
    let mut report = Report::new(source_name, text);
    let read = file::read(text, &mut report).map(|file| {
        let written = Shown::of(&file);
        (Check::new(&mut report).config(file), written)
    });
    let warnings = report.finish()?;
    match read {
        Some((config, written)) => Ok(Checked { config, written, warnings }),
        // A text that cannot be read has said why, so `finish` has already returned.
        None => Err(Vec::new()),
    }
}

/// The configuration of a gateway that was given none: two sample services at these addresses. Sound unless a port is 0.
pub fn embedded_text(v1: SocketAddr, v2: SocketAddr) -> String {
    // Without the zone of a link-local address, which no endpoint can have.
    let [v1, v2] = [v1, v2].map(|address| SocketAddr::new(address.ip(), address.port()));
    format!(
        r#"[[listener]]
bind = "{LISTENER_DEFAULT}"

[admin]
bind = "{ADMIN_DEFAULT}"

[upstream.v1]
endpoints = ["{v1}"]

[upstream.v2]
endpoints = ["{v2}"]

[[route]]
name = "default"
path_prefix = "/"
primary = "v1"
mirrors = [{{ upstream = "v2", percent = 100 }}]
"#
    )
}

pub(crate) const LISTENER_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// Beyond a month a timeout is none, and an instant that far may not be representable.
const PERIOD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// No bound but that of the number.
const ANY: u64 = u64::MAX;

/// A walk through a file. Where a value is wrong the walk goes on with a stand-in: the report then holds an error, and no
/// configuration leaves this room.
pub(crate) struct Check<'r> {
    report: &'r mut Report,
    upstreams: Vec<Upstream>,
    /// By `UpstreamId`: named by some route.
    used: Vec<bool>,
    lanes: Vec<Lane>,
    captures: Vec<Capture>,
    known_captures: Vec<captures::Known>,
    /// Where requests come in; empty where a port is chosen when listening.
    ports: Vec<u16>,
    /// Of routes without one of their own.
    request_timeout: Option<Duration>,
    patterns: Rc<Patterns>,
    /// Some listener looks at clients' certificates.
    sees_certificates: bool,
    /// PEM that came with the configuration, by the name it has there.
    materials: Materials,
}

/// PEM by name.
pub(crate) type Materials = BTreeMap<String, Arc<Material>>;

impl<'r> Check<'r> {
    pub(crate) fn new(report: &'r mut Report) -> Self {
        Self {
            report,
            upstreams: Vec::new(),
            used: Vec::new(),
            lanes: Vec::new(),
            captures: Vec::new(),
            known_captures: Vec::new(),
            ports: Vec::new(),
            request_timeout: None,
            patterns: Rc::default(),
            sees_certificates: false,
            materials: Materials::new(),
        }
    }

    /// The same, where the names of these materials mean them and no file.
    pub(crate) fn with(self, materials: Materials) -> Self {
        Self { materials, ..self }
    }

    pub(crate) fn config(mut self, file: File) -> Config {
        let listeners = self.listeners(&file.listener);
        let admin = self.admin(&file.admin.into_table(), &listeners);
        let workers = self.workers(&file.workers.into_table());
        let limits = self.limits(&file.limits.into_table());
        let http2 = self.http2(&file.http2.into_table());
        let timeouts = self.timeouts(&file.timeouts.into_table());
        self.request_timeout = timeouts.request;
        let headers = file.headers.into_table();
        let access_log = file.access_log.given().and_then(|table| self.access_log(table));
        let tracing = file.tracing.given().and_then(|table| self.tracing(table));
        let judging = self.judging(&file.verdict.into_table(), &admin);
        if listeners.iter().all(|listener| listener.bind.port() != 0) {
            self.ports = listeners.iter().map(|listener| listener.bind.port()).collect();
        }
        let asks =
            |listener: &Listener| listener.tls.as_ref().is_some_and(|tls| tls.client_auth != ClientAuth::Off);
        self.sees_certificates = listeners.iter().any(asks);
        self.upstreams(&file.upstream, (&listeners, admin.bind), &timeouts);
        self.captures(&file.capture);
        let routes = self.routes(&file.route);
        self.unused(&file.upstream);
        self.unused_captures(&file.capture);
        Config {
            listeners,
            admin,
            workers,
            limits,
            http2,
            timeouts,
            forwarded: word(&headers.forwarded, Forwarded::Append),
            via: word(&headers.via, Via::Append),
            request_id: word(&headers.request_id, Claim::Keep),
            access_log,
            tracing,
            judging,
            upstreams: self.upstreams,
            routes,
            lanes: self.lanes,
            captures: self.captures,
        }
    }

    fn listeners(&mut self, written: &Key<List<file::Listener>>) -> Vec<Listener> {
        let list = match written {
            Key::Absent => {
                return vec![Listener { bind: LISTENER_DEFAULT, protocols: Protocols::default(), tls: None }];
            }
            Key::Refused => return Vec::new(),
            Key::Given(list) => list,
        };
        if list.value.is_empty() {
            let message = format!("nothing to listen on; leave the key out to listen on {LISTENER_DEFAULT}");
            self.report.error(&list.at, message);
        }
        let mut listeners: Vec<Listener> = Vec::new();
        for entry in list.value.iter().filter_map(Key::given) {
            let Some(bind) = self.required(&entry.value.bind, &entry.at, "bind", r#""127.0.0.1:8080""#)
            else {
                continue;
            };
            let Some(address) = self.syntax(bind, syntax::bind) else {
                continue;
            };
            // Each listener on port 0 gets a port of its own.
            if address.port() != 0 && listeners.iter().any(|other| other.bind == address) {
                self.report.error(&bind.at, format!("{address} is already the address of another listener"));
            }
            let protocols = self.protocols(&entry.value.protocols, !entry.value.tls.is_absent());
            let tls = entry.value.tls.given().and_then(|table| self.listener_tls(table));
            listeners.push(Listener { bind: address, protocols, tls });
        }
        listeners
    }

    fn admin(&mut self, written: &file::Admin, listeners: &[Listener]) -> Admin {
        let token = written.token.given().map(|token| {
            if token.value.len() < 8 || token.value.bytes().any(|b| !b.is_ascii_graphic()) {
                self.report.error(&token.at, "must be at least 8 printable ASCII characters without spaces");
            }
            token.value.clone()
        });
        let tls = written.tls.given().and_then(|table| self.listener_tls(table));
        let history = written.history.given().and_then(|to| self.syntax(to, syntax::nonempty));
        let history = history.filter(|to| to != "off").map(PathBuf::from);
        let Some(bind) = written.bind.given() else {
            return Admin { bind: Some(ADMIN_DEFAULT), token, tls, history };
        };
        if bind.value == "off" {
            return Admin { bind: None, token, tls, history };
        }
        let or_off = |text: &str| syntax::bind(text).map_err(|why| format!(r#"{why}, or "off" for none"#));
        let address = self.syntax(bind, or_off);
        if let Some(address) = address
            && listeners.iter().any(|listener| reaches(listener.bind, address))
        {
            self.report.error(&bind.at, format!("{address} is already taken by a listener"));
        }
        Admin { bind: address, token, tls, history }
    }

    fn workers(&mut self, written: &file::Workers) -> Workers {
        let cores = crate::cores_available() as u64;
        let workers = Workers {
            count: in_memory(self.count(&written.count, cores.clamp(1, 1024), 1..=1024)),
            pin: written.pin.given().is_none_or(|pin| pin.value),
            driver: word(&written.driver, Driver::Auto),
            // In u32: the bound of `count` says so.
            uring_entries: self.count(&written.uring_entries, 1024, 64..=32_768) as u32,
        };
        if let Some(entries) = written.uring_entries.given()
            && (64..=32_768).contains(&entries.value)
            && !entries.value.is_power_of_two()
        {
            let message = format!("{} is not a power of two, as 512, 1024 and 2048 are", entries.value);
            self.report.error(&entries.at, message);
        }
        workers
    }

    fn limits(&mut self, written: &file::Limits) -> Limits {
        let head = self.size(&written.request_head_bytes_max, 16 * KIB, KIB..=MIB);
        // A line of 8000 bytes must be admitted (RFC 9112 §3), unless the operator wants smaller heads than that.
        let line = self.size(&written.request_line_bytes_max, head.min(8 * KIB), 64..=MIB);
        if let Some(given) = written.request_line_bytes_max.given()
            && line > head
        {
            let message = format!(
                "{} is more than the head that contains the line may have; \
                 request_head_bytes_max is {}",
                show_size(line),
                show_size(head)
            );
            self.report.error(&given.at, message);
        }
        let connections = self.count(&written.connections_max, 16_384, 1..=1_000_000);
        Limits {
            connections_max: in_memory(connections),
            request_head_bytes_max: in_memory(head),
            request_line_bytes_max: in_memory(line),
            response_head_bytes_max: in_memory(self.size(
                &written.response_head_bytes_max,
                64 * KIB,
                KIB..=MIB,
            )),
            fields_max: in_memory(self.count(&written.fields_max, 100, 1..=4096)),
            request_body_bytes_max: written.request_body_bytes_max.given().and_then(|given| given.value.0),
            connections_per_address_max: in_memory(self.count(
                &written.connections_per_address_max,
                ANY,
                1..=ANY,
            )),
            exchanges_max: in_memory(
                self.count(&written.exchanges_max, connections, 1..=1_000_000).min(connections),
            ),
            tunnels_max: in_memory(
                self.count(&written.tunnels_max, connections, 1..=1_000_000).min(connections),
            ),
            requests_per_second_max: self.rate(&written.requests_per_second_max),
            requests_per_second_per_address_max: self.rate(&written.requests_per_second_per_address_max),
            request_bytes_per_second_min: self.count(&written.request_bytes_per_second_min, 240, 0..=GIB),
            response_bytes_per_second_min: self.count(&written.response_bytes_per_second_min, 240, 0..=GIB),
            requests_per_connection_max: self.count(&written.requests_per_connection_max, 1_000_000, 1..=ANY),
            connection_age_max: self.given_period(&written.connection_age_max),
            upstream_idle_max: in_memory(self.count(&written.upstream_idle_max, 256, 0..=65_536)),
            drain_bytes_max: self.size(&written.drain_bytes_max, 256 * KIB, 0..=GIB),
            tls_handshakes_pending_max: in_memory(self.count(
                &written.tls_handshakes_pending_max,
                256,
                1..=1_000_000,
            )),
            tls_handshakes_per_second_per_address_max: self
                .rate(&written.tls_handshakes_per_second_per_address_max),
        }
    }

    fn timeouts(&mut self, written: &file::Timeouts) -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts {
            request: self.given_period(&written.request),
            tls_handshake: self.period(&written.tls_handshake, seconds(10)),
            request_head: self.period(&written.request_head, seconds(10)),
            client_idle: self.period(&written.client_idle, seconds(75)),
            request_body: self.period(&written.request_body, seconds(30)),
            write: self.period(&written.write, seconds(30)),
            connect: self.period(&written.connect, seconds(2)),
            response_head: self.period(&written.response_head, seconds(60)),
            response_body: self.period(&written.response_body, seconds(60)),
            upstream_idle: self.period(&written.upstream_idle, seconds(60)),
            tunnel_idle: self.period(&written.tunnel_idle, seconds(3600)),
            drain: self.period(&written.drain, seconds(10)),
        }
    }

    fn required<'k, T>(
        &mut self,
        key: &'k Key<T>,
        table: &Place,
        name: &str,
        example: &str,
    ) -> Option<&'k At<T>> {
        if key.is_absent() {
            self.report.error(&table.child(name), format!("is missing; write {name} = {example}"));
        }
        key.given()
    }

    fn syntax<T>(&mut self, written: &At<String>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        parse(&written.value).map_err(|why| self.report.error(&written.at, why)).ok()
    }

    /// A pattern that must match the whole of a value.
    fn pattern(&mut self, written: &At<String>) -> Option<Pattern> {
        let patterns = Rc::clone(&self.patterns);
        let pattern = self.syntax(written, |text| patterns.whole(text))?;
        self.cost(written, &pattern);
        Some(pattern)
    }

    /// A pattern that requests are held against and that costs them something is warned of.
    fn cost(&mut self, written: &At<String>, pattern: &Pattern) {
        if let Some(cost) = pattern.cost() {
            self.report.warn(&written.at, format!("{:?} {cost}", written.value));
        }
    }

    /// A share from 0 to 100 %.
    fn share(&mut self, key: &Key<f64>, default: Percent) -> Percent {
        let Some(given) = key.given() else { return default };
        Percent::from_percent(given.value).unwrap_or_else(|| {
            let message = format!("{} is out of range: must be a number from 0 to 100", given.value);
            self.report.error(&given.at, message);
            default
        })
    }

    /// Each element that is well written.
    fn each<T>(&mut self, key: &Key<List<String>>, parse: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let list = key.given().map(|list| list.value.as_slice()).unwrap_or_default();
        list.iter().filter_map(Key::given).filter_map(|text| self.syntax(text, &parse)).collect()
    }

    fn count(&mut self, key: &Key<u64>, default: u64, allowed: RangeInclusive<u64>) -> u64 {
        let given = key.given().map(|given| (given.value, &given.at));
        self.bounded(given, default, allowed, |number| number.to_string())
    }

    fn rate(&mut self, key: &Key<u64>) -> Option<u32> {
        // In u32: the bound of `count` says so.
        key.given().map(|_| self.count(key, 1, 1..=u64::from(u32::MAX)) as u32)
    }

    fn size(&mut self, key: &Key<Size>, default: u64, allowed: RangeInclusive<u64>) -> u64 {
        let given = key.given().map(|given| (given.value.0, &given.at));
        self.bounded(given, default, allowed, show_size)
    }

    fn period(&mut self, key: &Key<Duration>, default: Duration) -> Duration {
        let given = key.given().map(|given| (given.value, &given.at));
        self.bounded(given, default, Duration::from_millis(1)..=PERIOD_MAX, show_period)
    }

    /// A duration that has no default.
    fn given_period(&mut self, key: &Key<Duration>) -> Option<Duration> {
        key.given()?;
        Some(self.period(key, PERIOD_MAX))
    }

    /// The value given if it is allowed, else the default, after saying so.
    fn bounded<T: Copy + PartialOrd>(
        &mut self,
        given: Option<(T, &Place)>,
        default: T,
        allowed: RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) -> T {
        let Some((value, at)) = given else {
            return default;
        };
        if !allowed.contains(&value) {
            let (least, most) = (show(*allowed.start()), show(*allowed.end()));
            self.report.error(at, format!("{} is out of range: must be from {least} to {most}", show(value)));
            return default;
        }
        value
    }
}

fn word<T: Copy>(key: &Key<T>, default: T) -> T {
    key.given().map_or(default, |given| given.value)
}

/// Converts a size. Sizes are bounded far below a 64-bit address space; on a smaller one the bound is the space itself.
fn in_memory(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Where `name` was written in this table, or where it would have been.
fn own_place<T>(key: &Key<T>, table: &Place, name: &str) -> Place {
    key.given().map_or_else(|| table.child(name), |given| given.at.clone())
}
