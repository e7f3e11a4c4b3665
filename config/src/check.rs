//! From the configuration as written to the configuration as meant: defaults, bounds, and the rules that hold between
//! keys. Says everything that is wrong at once. Deliberately does not know how TOML is spelled: `file` and `reader` do.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use crate::file::{self, File};
pub use crate::problem::Problem;
use crate::problem::{Place, Report, near_miss};
use crate::reader::{At, Key, List, Named, Size};
use crate::syntax;
use crate::units::{GIB, KIB, MIB, TIB, show_period, show_size};
use crate::{
    Action, Admin, Balance, Config, Driver, DropPolicy, Endpoint, Fault, Forward, Forwarded, HeaderEdits,
    Host, HostMatch, Lane, LaneId, Limits, Listener, Match, Mirror, MirrorHost, PathMatch, Percent, Primary,
    Redact, Retries, Rewrite, Route, Timeouts, Upstream, UpstreamId, Workers,
};

/// A configuration that may be served, and what its operator may want to know about it all the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    pub config: Config,
    pub warnings: Vec<Problem>,
}

/// Reads and checks a file.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines; an unreadable file is one problem without a line.
pub fn load(path: impl AsRef<Path>) -> Result<Checked, Vec<Problem>> {
    let path = path.as_ref();
    let file = path.display().to_string();
    let alone = |line, message| Err(vec![Problem { file: file.clone(), line, key: None, message }]);
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return alone(None, format!("cannot be read: {error}")),
    };
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&file, text),
        Err(error) => {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            alone(Some(line), "not TOML: this line is not UTF-8".to_owned())
        }
    }
}

/// Reads and checks a text; problems name it `source_name`.
///
/// # Errors
/// Everything that is wrong with it, in the order of its lines.
pub fn parse(source_name: &str, text: &str) -> Result<Checked, Vec<Problem>> {
    let mut report = Report::new(source_name, text);
    let config = file::read(text, &mut report).map(|file| Check::new(&mut report).config(file));
    let warnings = report.finish()?;
    match config {
        Some(config) => Ok(Checked { config, warnings }),
        // A text that cannot be read has said why, so `finish` has already returned.
        None => Err(Vec::new()),
    }
}

/// What the gateway runs without a file, as a file would say it.
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

/// The meaning of [`embedded_text`].
///
/// # Panics
/// If a port is 0: nobody can connect to it.
pub fn embedded_default(v1: SocketAddr, v2: SocketAddr) -> Config {
    match parse("embedded default", &embedded_text(v1, v2)) {
        Ok(checked) => checked.config,
        Err(problems) => panic!("our own text is sound for bound addresses: {problems:?}"),
    }
}

const LISTENER_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const ADMIN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// Beyond a month a timeout is none, and an instant that far may not be representable.
const PERIOD_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// No bound but that of the number.
const ANY: u64 = u64::MAX;

/// One walk through a file. Where something is wrong it goes on with a stand-in: the report then holds an error, and
/// no configuration leaves this room.
struct Check<'r> {
    report: &'r mut Report,
    upstreams: Vec<Upstream>,
    /// By `UpstreamId`: named by some route.
    used: Vec<bool>,
    lanes: Vec<Lane>,
}

impl<'r> Check<'r> {
    fn new(report: &'r mut Report) -> Self {
        Self { report, upstreams: Vec::new(), used: Vec::new(), lanes: Vec::new() }
    }

    fn config(mut self, file: File) -> Config {
        let listeners = self.listeners(&file.listener);
        let admin = self.admin(&file.admin.into_table(), &listeners);
        let workers = self.workers(&file.workers.into_table());
        let limits = self.limits(&file.limits.into_table());
        let timeouts = self.timeouts(&file.timeouts.into_table());
        let forwarded = word(&file.headers.into_table().forwarded, Forwarded::Append);
        self.upstreams(&file.upstream, &listeners);
        let routes = self.routes(&file.route);
        self.unused(&file.upstream);
        Config {
            listeners,
            admin,
            workers,
            limits,
            timeouts,
            forwarded,
            upstreams: self.upstreams,
            routes,
            lanes: self.lanes,
        }
    }

    fn listeners(&mut self, written: &Key<List<file::Listener>>) -> Vec<Listener> {
        let list = match written {
            Key::Absent => return vec![Listener { bind: LISTENER_DEFAULT }],
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
            listeners.push(Listener { bind: address });
        }
        listeners
    }

    fn admin(&mut self, written: &file::Admin, listeners: &[Listener]) -> Admin {
        let Some(bind) = written.bind.given() else {
            return Admin { bind: Some(ADMIN_DEFAULT) };
        };
        if bind.value == "off" {
            return Admin { bind: None };
        }
        let or_off = |text: &str| syntax::bind(text).map_err(|why| format!(r#"{why}, or "off" for none"#));
        let address = self.syntax(bind, or_off);
        if let Some(address) = address
            && listeners.iter().any(|listener| reaches(listener.bind, address))
        {
            self.report.error(&bind.at, format!("{address} is already taken by a listener"));
        }
        Admin { bind: address }
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
        Limits {
            connections_max: in_memory(self.count(&written.connections_max, 16_384, 1..=1_000_000)),
            request_head_bytes_max: in_memory(head),
            request_line_bytes_max: in_memory(line),
            response_head_bytes_max: in_memory(self.size(
                &written.response_head_bytes_max,
                64 * KIB,
                KIB..=MIB,
            )),
            fields_max: in_memory(self.count(&written.fields_max, 100, 1..=4096)),
            request_body_bytes_max: written.request_body_bytes_max.given().and_then(|given| given.value.0),
            requests_per_connection_max: self.count(&written.requests_per_connection_max, 1_000_000, 1..=ANY),
            upstream_idle_max: in_memory(self.count(&written.upstream_idle_max, 256, 0..=65_536)),
            drain_bytes_max: self.size(&written.drain_bytes_max, 256 * KIB, 0..=GIB),
        }
    }

    fn timeouts(&mut self, written: &file::Timeouts) -> Timeouts {
        let seconds = Duration::from_secs;
        Timeouts {
            request_head: self.period(&written.request_head, seconds(10)),
            client_idle: self.period(&written.client_idle, seconds(75)),
            request_body: self.period(&written.request_body, seconds(30)),
            write: self.period(&written.write, seconds(30)),
            connect: self.period(&written.connect, seconds(2)),
            response_head: self.period(&written.response_head, seconds(60)),
            response_body: self.period(&written.response_body, seconds(60)),
            upstream_idle: self.period(&written.upstream_idle, seconds(60)),
            drain: self.period(&written.drain, seconds(10)),
        }
    }

    fn upstreams(&mut self, written: &Key<Named<file::Upstream>>, listeners: &[Listener]) {
        for (name, entry) in written.given().map(|named| named.value.as_slice()).unwrap_or_default() {
            let _reported = self.syntax(name, syntax::token_name);
            // Kept even when something in it is wrong, so that routes do not miss it.
            let (endpoints, balance) = match entry {
                Key::Given(table) => {
                    (self.endpoints(table, listeners), word(&table.value.balance, Balance::RoundRobin))
                }
                Key::Absent | Key::Refused => (Vec::new(), Balance::RoundRobin),
            };
            self.upstreams.push(Upstream {
                name: name.value.clone(),
                endpoints,
                balance,
                hash_by: None,
                connect_timeout: Duration::from_secs(2),
                idle_timeout: Duration::from_secs(60),
                requests_per_connection_max: u64::MAX,
                connections_max: usize::MAX,
                pending_max: usize::MAX,
                ejection: None,
                health: None,
            });
            self.used.push(false);
        }
    }

    fn endpoints(&mut self, table: &At<file::Upstream>, listeners: &[Listener]) -> Vec<Endpoint> {
        let example = r#"["127.0.0.1:9001"]"#;
        let Some(list) = self.required(&table.value.endpoints, &table.at, "endpoints", example) else {
            return Vec::new();
        };
        if list.value.is_empty() {
            self.report.error(&list.at, format!("an upstream needs at least one endpoint, as in {example}"));
        }
        let mut endpoints = Vec::new();
        for written in list.value.iter().filter_map(Key::given) {
            let Some(endpoint) = self.syntax(written, syntax::endpoint) else {
                continue;
            };
            if endpoints.contains(&endpoint) {
                self.report
                    .warn(&written.at, format!("{endpoint} is here twice and gets twice the requests"));
            }
            if let Host::Address(address) = endpoint.host
                && listeners.iter().any(|on| reaches(on.bind, SocketAddr::new(address, endpoint.port)))
            {
                self.report.warn(
                    &written.at,
                    format!("{endpoint} is a listener of this gateway: requests will loop"),
                );
            }
            endpoints.push(endpoint);
        }
        endpoints
    }

    fn unused(&mut self, written: &Key<Named<file::Upstream>>) {
        let names = written.given().map(|named| named.value.as_slice()).unwrap_or_default();
        for ((name, _), used) in names.iter().zip(&self.used) {
            if !used {
                self.report.warn(&name.at, "no route names this upstream");
            }
        }
    }

    fn routes(&mut self, written: &Key<List<file::Route>>) -> Vec<Route> {
        let list = match written {
            Key::Given(list) => list.value.as_slice(),
            Key::Absent => &[],
            Key::Refused => return Vec::new(),
        };
        if list.is_empty() {
            let at = Place { key: "route".to_owned(), line: written.given().and_then(|list| list.at.line) };
            self.report
                .error(&at, "there is no route, so nothing can be served; write [[route]] with a primary");
        }
        let mut routes: Vec<Route> = Vec::new();
        let mut names = HashMap::new();
        for (index, entry) in list.iter().enumerate() {
            let Some(table) = entry.given() else {
                continue;
            };
            let route = self.route(index, table);
            if let Some(first) = names.insert(route.name.clone(), index) {
                let at = own_place(&table.value.name, &table.at, "name");
                let message =
                    format!("{:?} is already the name of route[{first}]; names must differ", route.name);
                self.report.error(&at, message);
            }
            if let Some(earlier) = routes
                .iter()
                .find(|earlier| route.matches.iter().all(|m| earlier.matches.iter().any(|e| covers(e, m))))
            {
                let message = format!(
                    "never reached: {:?} comes first and matches all that this one does",
                    earlier.name
                );
                self.report.warn(&table.at, message);
            }
            routes.push(route);
        }
        routes
    }

    fn route(&mut self, index: usize, table: &At<file::Route>) -> Route {
        let written = &table.value;
        let name = match written.name.given() {
            Some(name) => {
                let _reported = self.syntax(name, syntax::label_name);
                name.value.clone()
            }
            None => format!("route-{}", index + 1),
        };
        let host = written.host.given().and_then(|host| self.syntax(host, syntax::host_match));
        let path = self.path(written);
        let methods = self.methods(&written.methods);
        let primary = self
            .required(&written.primary, &table.at, "primary", "the name of an upstream")
            .and_then(|name| self.upstream(name));
        let mirrors = self.mirrors(&written.mirrors, primary);
        let none = HeaderEdits::default;
        let matches = vec![Match { hosts: host.into_iter().collect(), path, methods, ..Match::default() }];
        let primaries =
            vec![Primary { upstream: primary, weight: 1, request_headers: none(), response_headers: none() }];
        let retries = Retries {
            attempts: 0,
            on: Vec::new(),
            statuses: Vec::new(),
            per_try_timeout: None,
            backoff: Duration::from_millis(25),
        };
        Route {
            name,
            matches,
            fault: Fault::default(),
            request_headers: none(),
            response_headers: none(),
            action: Action::Forward(Forward {
                primaries,
                rewrite: Rewrite::default(),
                timeout: None,
                retries,
            }),
            mirrors,
        }
    }

    fn path(&mut self, written: &file::Route) -> PathMatch {
        for path in [&written.path, &written.path_prefix].into_iter().filter_map(|key| key.given()) {
            let _reported = self.syntax(path, syntax::path);
        }
        match (written.path.given(), written.path_prefix.given()) {
            (Some(exact), Some(prefix)) => {
                let message = format!("a route has path or path_prefix, not both; path is {:?}", exact.value);
                self.report.error(&prefix.at, message);
                PathMatch::Exact(exact.value.clone())
            }
            (Some(exact), None) => PathMatch::Exact(exact.value.clone()),
            (None, Some(prefix)) => PathMatch::Prefix(prefix.value.clone()),
            (None, None) => PathMatch::Prefix("/".to_owned()),
        }
    }

    fn methods(&mut self, written: &Key<List<String>>) -> Vec<String> {
        let Some(list) = written.given() else {
            return Vec::new();
        };
        if list.value.is_empty() {
            self.report.error(&list.at, "no method is named; leave the key out to match every method");
        }
        let mut methods = Vec::new();
        for method in list.value.iter().filter_map(Key::given) {
            if self.syntax(method, syntax::method).is_none() {
                continue;
            }
            if methods.contains(&method.value) {
                self.report.warn(&method.at, format!("{:?} is here twice", method.value));
                continue;
            }
            if method.value.bytes().any(|b| b.is_ascii_lowercase()) {
                let upper = method.value.to_ascii_uppercase();
                let message =
                    format!("methods are case-sensitive: {:?} does not match {upper:?}", method.value);
                self.report.warn(&method.at, message);
            }
            methods.push(method.value.clone());
        }
        methods
    }

    fn mirrors(&mut self, written: &Key<List<file::Mirror>>, primary: Option<UpstreamId>) -> Vec<Mirror> {
        let mut mirrors: Vec<Mirror> = Vec::new();
        let list = written.given().map(|list| list.value.as_slice()).unwrap_or_default();
        for table in list.iter().filter_map(Key::given) {
            let Some(mirror) = self.mirror(table, primary) else {
                continue;
            };
            if mirrors.iter().any(|other| other.name == mirror.name) {
                let at = own_place(&table.value.name, &table.at, "name");
                let message = format!(
                    "{:?} is already the name of another mirror of this route; give each a name of its own",
                    mirror.name
                );
                self.report.error(&at, message);
            }
            mirrors.push(mirror);
        }
        mirrors
    }

    /// `None` when its upstream is not known; everything else is checked all the same.
    fn mirror(&mut self, table: &At<file::Mirror>, primary: Option<UpstreamId>) -> Option<Mirror> {
        let written = &table.value;
        let upstream = self
            .required(&written.upstream, &table.at, "upstream", "the name of an upstream")
            .and_then(|name| self.upstream(name));
        if let (Some(name), Some(upstream)) = (written.upstream.given(), upstream)
            && primary == Some(upstream)
        {
            let message =
                "the mirror is the primary of its route: the same servers get each copied request twice";
            self.report.warn(&name.at, message);
        }
        if let Some(name) = written.name.given() {
            let _reported = self.syntax(name, syntax::token_name);
        }
        let percent = self.percent(&written.percent);
        let host = written
            .host
            .given()
            .map_or(Some(MirrorHost::Keep), |host| self.syntax(host, syntax::mirror_host));
        let lane = self.lane(written, upstream.unwrap_or_default());
        let body_bytes_max = self.size(&written.body_bytes_max, MIB, 0..=TIB);
        self.copy_fits_on_ring(written, body_bytes_max, lane.ring_bytes_max as u64);
        let upstream = self.upstreams.get(upstream?)?;
        let name = written.name.given().map_or(&upstream.name, |name| &name.value).clone();
        let lane = self.share(lane);
        Some(Mirror {
            name,
            lane,
            percent,
            only: None,
            only_primary: None,
            sample_by: None,
            rate_max: None,
            ttl: None,
            answer: None,
            governor: None,
            body_bytes_max: in_memory(body_bytes_max),
            host: host?,
            path: None,
            headers: HeaderEdits::default(),
            redact: Redact::default(),
        })
    }

    fn percent(&mut self, written: &Key<f64>) -> Percent {
        let Some(given) = written.given() else {
            return Percent::ALL;
        };
        let Some(percent) = Percent::from_percent(given.value) else {
            self.report
                .error(&given.at, format!("{} is out of range: must be a number from 0 to 100", given.value));
            return Percent::NONE;
        };
        if percent == Percent::NONE && given.value > 0.0 {
            self.report.warn(
                &given.at,
                format!("{} rounds to 0, so nothing is copied; the grain is 0.0001", given.value),
            );
        }
        percent
    }

    fn lane(&mut self, written: &file::Mirror, upstream: UpstreamId) -> Lane {
        let seconds = Duration::from_secs;
        Lane {
            name: self.upstreams.get(upstream).map(|upstream| upstream.name.clone()).unwrap_or_default(),
            upstream,
            ring_entries_max: in_memory(self.count(&written.ring_entries_max, 4096, 1..=1_048_576)),
            ring_bytes_max: in_memory(self.size(&written.ring_bytes_max, 32 * MIB, 1..=TIB)),
            drop: word(&written.drop, DropPolicy::Newest),
            connect_timeout: self.period(&written.connect_timeout, seconds(1)),
            timeout: self.period(&written.timeout, seconds(5)),
            connections_max: in_memory(self.count(&written.connections_max, 8, 1..=1024)),
            pipeline_max: in_memory(self.count(&written.pipeline_max, 128, 1..=1024)),
            response_bytes_max: self.size(&written.response_bytes_max, MIB, 1..=TIB),
        }
    }

    /// A body that may be copied but can never be pushed would make every such copy a surprise.
    fn copy_fits_on_ring(&mut self, written: &file::Mirror, body_bytes_max: u64, ring_bytes_max: u64) {
        if body_bytes_max <= ring_bytes_max {
            return;
        }
        let (ring, body) = (show_size(ring_bytes_max), show_size(body_bytes_max));
        // One of the two was given: the defaults fit.
        if let Some(given) = written.ring_bytes_max.given() {
            let message =
                format!("a ring of {ring} can never hold a body of {body}, which body_bytes_max allows");
            self.report.error(&given.at, format!("{message}; raise the one or lower the other"));
        } else if let Some(given) = written.body_bytes_max.given() {
            let message = format!("a body of {body} can never fit on the ring; ring_bytes_max is {ring}");
            self.report.error(&given.at, format!("{message}; raise the one or lower the other"));
        }
    }

    /// Mirrors that travel alike travel together.
    fn share(&mut self, lane: Lane) -> LaneId {
        if let Some(id) = self.lanes.iter().position(|other| *other == lane) {
            return id;
        }
        self.lanes.push(lane);
        self.lanes.len() - 1
    }

    /// The upstream of that name, now in use.
    fn upstream(&mut self, name: &At<String>) -> Option<UpstreamId> {
        if let Some(id) = self.upstreams.iter().position(|upstream| upstream.name == name.value) {
            if let Some(used) = self.used.get_mut(id) {
                *used = true;
            }
            return Some(id);
        }
        let known = || self.upstreams.iter().map(|upstream| upstream.name.as_str());
        let hint = match near_miss(&name.value, known()) {
            Some(near) => format!("; did you mean {near:?}?"),
            None => String::new(),
        };
        let names: Vec<&str> = known().collect();
        let message = if names.is_empty() {
            format!(
                "unknown upstream {0:?}: none is defined; write [upstream.{0}] with its endpoints",
                name.value
            )
        } else {
            format!("unknown upstream {:?}{hint} (known: {})", name.value, names.join(", "))
        };
        self.report.error(&name.at, message);
        None
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

    fn count(&mut self, key: &Key<u64>, default: u64, allowed: RangeInclusive<u64>) -> u64 {
        let given = key.given().map(|given| (given.value, &given.at));
        self.bounded(given, default, allowed, |number| number.to_string())
    }

    fn size(&mut self, key: &Key<Size>, default: u64, allowed: RangeInclusive<u64>) -> u64 {
        let given = key.given().map(|given| (given.value.0, &given.at));
        self.bounded(given, default, allowed, show_size)
    }

    fn period(&mut self, key: &Key<Duration>, default: Duration) -> Duration {
        let given = key.given().map(|given| (given.value, &given.at));
        self.bounded(given, default, Duration::from_millis(1)..=PERIOD_MAX, show_period)
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

/// Sizes are bounded far below what an address space holds; on a small one the bound is the space itself.
fn in_memory(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Where `name` was written in this table, or where it would have been.
fn own_place<T>(key: &Key<T>, table: &Place, name: &str) -> Place {
    key.given().map_or_else(|| table.child(name), |given| given.at.clone())
}

/// A connection to `address` may end at a listener on `bind`.
fn reaches(bind: SocketAddr, address: SocketAddr) -> bool {
    let any = bind.ip().is_unspecified() && (address.ip().is_loopback() || address.ip().is_unspecified());
    bind.port() != 0
        && bind.port() == address.port()
        && (bind.ip() == address.ip() || any && bind.is_ipv4() == address.is_ipv4())
}

/// Everything that `second` matches, `first` matches too.
fn covers(first: &Match, second: &Match) -> bool {
    let host = |a: &HostMatch, b: &HostMatch| match (a, b) {
        (HostMatch::Suffix(a), HostMatch::Exact(b) | HostMatch::Suffix(b)) => b.ends_with(a.as_str()),
        (HostMatch::Exact(_) | HostMatch::Address, _) | (HostMatch::Suffix(_), HostMatch::Address) => a == b,
    };
    let hosts = first.hosts.is_empty()
        || !second.hosts.is_empty() && second.hosts.iter().all(|b| first.hosts.iter().any(|a| host(a, b)));
    let path = match (&first.path, &second.path) {
        (PathMatch::Prefix(a), PathMatch::Exact(b) | PathMatch::Prefix(b)) => b.starts_with(a.as_str()),
        (a, b) => a == b,
    };
    let methods = first.methods.is_empty()
        || !second.methods.is_empty() && second.methods.iter().all(|method| first.methods.contains(method));
    let unconditional = first.when.is_empty() && first.port.is_none();
    hosts && path && methods && unconditional && first.ignore_case == second.ignore_case
}
