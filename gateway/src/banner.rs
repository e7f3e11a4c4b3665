//! The gateway's banner before it serves: plain aligned text.
//!
//! Pure: facts in, text out. It knows no file, no socket and no thread.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::time::Duration;

use config::manifest::Plaintext;
use config::{
    Action, Balance, Config, DropPolicy, Forward, Lane, MirrorHost, Percent, Primary, Route, Trust,
};
use core_affinity::CoreId;

use crate::address::Address;
use crate::control::budget::{Descriptors, Memory};
use crate::server::privileges::Privileges;

/// Everything the banner shows.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) version: &'a str,
    pub(crate) source: &'a str,
    /// The sample services run in this process, and the reader may never have seen the gateway before.
    pub(crate) embedded: bool,
    /// Where TLS is left to others.
    pub(crate) plaintext: Plaintext,
    pub(crate) config: &'a Config,
    pub(crate) addresses: &'a [Vec<Address>],
    pub(crate) listeners: &'a [SocketAddr],
    pub(crate) admin: Option<SocketAddr>,
    /// By worker: its driver.
    pub(crate) drivers: &'a [String],
    /// By worker.
    pub(crate) cores: &'a [Option<CoreId>],
    pub(crate) descriptors: Descriptors,
    pub(crate) descriptor_limit: u64,
    /// Client connections of one worker that there are descriptors for.
    pub(crate) clients_max: usize,
    pub(crate) memory: Memory,
    /// Bytes that this process may use.
    pub(crate) memory_limit: Option<u64>,
    /// `None`: they could not be given up.
    pub(crate) privileges: Option<Privileges>,
}

/// Ends with an empty line: the readiness lines stand by themselves.
pub(crate) fn render(facts: &Facts<'_>) -> String {
    let mut out = Rows { text: format!("umbra {}  {}\n", facts.version, facts.source), label: "" };
    workers(facts, &mut out);
    out.row("listeners", list(facts.listeners));
    out.row(
        "admin",
        facts.admin.map_or_else(|| "off".to_owned(), |a| format!("{a}  /healthz /readyz /metrics")),
    );
    upstreams(facts, &mut out);
    if facts.plaintext.listeners {
        out.row("PLAINTEXT", "TLS of Gateways ends before this process (--plaintext-listeners)");
    }
    if facts.plaintext.upstreams {
        out.row("PLAINTEXT", "TLS with destinations is left to a mesh around it (--plaintext-upstreams)");
    }
    for route in &facts.config.routes {
        out.row("routes", route_text(route, facts.config));
    }
    for lane in &facts.config.lanes {
        mirror(lane, &mut out);
    }
    for capture in &facts.config.captures {
        let (folder, all, file) =
            (capture.directory.display(), Bytes(capture.bytes_max), Bytes(capture.file_bytes_max));
        out.row("captures", format!("{} = {folder}: {all} in files of {file} at most", capture.name));
    }
    limits(facts.config, &mut out);
    budgets(facts, &mut out);
    let privileges =
        facts.privileges.map_or_else(|| "as the process was given them".to_owned(), |p| p.to_string());
    out.row("privileges", privileges);
    if facts.embedded {
        next(facts, &mut out);
    }
    out.text.push('\n');
    out.text
}

/// Lines with a label in a column of its own; a label is written once for the rows it heads.
struct Rows {
    text: String,
    label: &'static str,
}

impl Rows {
    fn row(&mut self, label: &'static str, text: impl Display) {
        let shown = if label == self.label { "" } else { label };
        self.label = label;
        self.text.push_str(&format!("  {shown:<12}{text}\n"));
    }
}

fn workers(facts: &Facts<'_>, out: &mut Rows) {
    let mut alike: Vec<(&str, Vec<usize>)> = Vec::new();
    for (id, driver) in facts.drivers.iter().enumerate() {
        match alike.iter_mut().find(|(known, _)| known == driver) {
            Some((_, ids)) => ids.push(id),
            None => alike.push((driver, vec![id])),
        }
    }
    let one_kind = alike.len() == 1;
    for (driver, ids) in alike {
        let cores: Vec<String> = ids
            .iter()
            .filter_map(|id| facts.cores.get(*id).copied().flatten())
            .map(|core| core.id.to_string())
            .collect();
        let loose = ids.len() - cores.len();
        let pinned = match (cores.len(), loose) {
            (0, _) => "on any core".to_owned(),
            (_, 0) => format!("on core {}", cores.join(",")),
            (_, loose) => format!("on core {}, {loose} on any", cores.join(",")),
        };
        let who = if one_kind { facts.drivers.len().to_string() } else { format!("#{}", list(&ids)) };
        out.row("workers", format!("{who} × {driver}; {pinned}"));
    }
}

fn upstreams(facts: &Facts<'_>, out: &mut Rows) {
    for (upstream, addresses) in facts.config.upstreams.iter().zip(facts.addresses) {
        let balance = match (addresses.len(), upstream.balance) {
            (0 | 1, _) => "",
            (_, Balance::RoundRobin) => "  round robin",
            (_, Balance::LeastInFlight) => "  least in flight",
            (_, Balance::Random) => "  random",
            (_, Balance::Hash) => "  hash",
        };
        let places = if addresses.is_empty() { "no address yet".to_owned() } else { list(addresses) };
        let tls = match upstream.tls.as_ref().map(|tls| &tls.trust) {
            None => "",
            Some(Trust::System | Trust::Ca(_)) => "  TLS",
            Some(Trust::Anything) => "  TLS, ANY certificate",
        };
        out.row("upstreams", format!("{} = {places}{balance}{tls}", upstream.name));
    }
}

fn route_text(route: &Route, config: &Config) -> String {
    let conditions: Vec<String> = route.matches.iter().map(ToString::to_string).collect();
    let action = match &route.action {
        Action::Forward(forward) => forward_text(forward, config),
        Action::Redirect(redirect) => format!("redirect {}", redirect.status),
        Action::Reply(reply) => format!("reply {}", reply.status),
    };
    let mut text = format!("{}: {} → {action}", route.name, conditions.join(" or "));
    let mirrors: Vec<String> = route
        .mirrors
        .iter()
        .map(|mirror| {
            let host = match &mirror.host {
                MirrorHost::Keep => String::new(),
                MirrorHost::Shadow => " as host-shadow".to_owned(),
                MirrorHost::Literal(host) => format!(" as {host}"),
            };
            format!(
                "{} {} (≤ {}){host}",
                mirror.name,
                percent(mirror.percent),
                Bytes(wide(mirror.body_bytes_max))
            )
        })
        .collect();
    if !mirrors.is_empty() {
        text.push_str(&format!(" ⇒ {}", mirrors.join(", ")));
    }
    text
}

/// Each primary, with its share where there are several.
fn forward_text(forward: &Forward, config: &Config) -> String {
    let sum: u64 = forward.primaries.iter().map(|p| u64::from(p.weight)).sum();
    let name = |p: &Primary| match p.upstream {
        Some(id) => config.upstreams.get(id).map_or("?", |u| u.name.as_str()),
        None => "500",
    };
    let share = |p: &Primary| format!("{:.4}", f64::from(p.weight) * 100.0 / sum.max(1) as f64);
    let shown = forward.primaries.iter().map(|p| match forward.primaries.len() {
        1 => name(p).to_owned(),
        _ => format!("{} {} %", name(p), share(p).trim_end_matches('0').trim_end_matches('.')),
    });
    shown.collect::<Vec<_>>().join(", ")
}

fn mirror(lane: &Lane, out: &mut Rows) {
    let drop = match lane.drop {
        DropPolicy::Newest => "newest",
        DropPolicy::Oldest => "oldest",
    };
    let (entries, ring) = (lane.ring_entries_max, Bytes(wide(lane.ring_bytes_max)));
    out.row("mirrors", format!("{}: ring of {entries} copies and {ring} per worker, drop {drop}", lane.name));
    if lane.capture.is_some() {
        return;
    }
    out.row(
        "mirrors",
        format!(
            "    {} connections per worker, {} copies in a batch; connect {}, answer {} and {}",
            lane.connections_max,
            lane.pipeline_max,
            Span(lane.connect_timeout),
            Span(lane.timeout),
            Bytes(lane.response_bytes_max)
        ),
    );
}

fn limits(config: &Config, out: &mut Rows) {
    let limits = &config.limits;
    out.row(
        "limits",
        format!(
            "{} connections per worker{}, {} requests on each{}; {} idle per endpoint",
            limits.connections_max,
            match limits.connections_per_address_max {
                usize::MAX => String::new(),
                max => format!(" ({max} per address)"),
            },
            limits.requests_per_connection_max,
            limits.connection_age_max.map_or_else(String::new, |max| format!(" within {max:?}")),
            limits.upstream_idle_max
        ),
    );
    let mut asked = vec![format!("{} at once per worker", limits.exchanges_max)];
    asked.extend(config.has_tunnels().then(|| format!("{} tunnels beside them", limits.tunnels_max)));
    asked.extend(limits.requests_per_second_max.map(|max| format!("{max} a second")));
    let of_one = limits.requests_per_second_per_address_max;
    asked.extend(of_one.map(|max| format!("{max} a second and worker of one address")));
    out.row("limits", format!("requests: {}", asked.join(", ")));
    let content =
        limits.request_body_bytes_max.map_or_else(|| "unlimited".to_owned(), |n| Bytes(n).to_string());
    out.row(
        "limits",
        format!(
            "head {} (line {}, {} fields), answer's head {}, content {content}",
            Bytes(wide(limits.request_head_bytes_max)),
            Bytes(wide(limits.request_line_bytes_max)),
            limits.fields_max,
            Bytes(wide(limits.response_head_bytes_max))
        ),
    );
    let t = &config.timeouts;
    let client = [
        ("client idle", t.client_idle),
        ("head", t.request_head),
        ("content", t.request_body),
        ("write", t.write),
        ("drain", t.drain),
    ];
    let upstream = [
        ("connect", t.connect),
        ("answer's head", t.response_head),
        ("its content", t.response_body),
        ("upstream idle", t.upstream_idle),
        ("tunnel idle", t.tunnel_idle),
    ];
    out.row("timeouts", spans(&client));
    out.row("timeouts", spans(&upstream));
}

fn spans(of: &[(&str, Duration)]) -> String {
    of.iter().map(|(name, d)| format!("{name} {}", Span(*d))).collect::<Vec<_>>().join(", ")
}

fn budgets(facts: &Facts<'_>, out: &mut Rows) {
    let m = &facts.memory;
    let sessions = if m.sessions == 0 { String::new() } else { format!(", HTTP/2 {}", Bytes(m.sessions)) };
    let tunnels = if m.tunnels == 0 { String::new() } else { format!(", tunnels {}", Bytes(m.tunnels)) };
    let cluster =
        if m.cluster == 0 { String::new() } else { format!(", objects of the cluster {}", Bytes(m.cluster)) };
    let covers = if m.covers == 0 { String::new() } else { format!(", TLS {}", Bytes(m.covers)) };
    out.row(
        "memory",
        format!(
            "{} at worst: rings {}, exchanges {}{tunnels}{sessions}{covers}, batches under way {}, spare buffers {}, told of exchanges {}, admin answers {}, history {}{cluster}",
            Bytes(m.total()),
            Bytes(m.rings),
            Bytes(m.exchanges),
            Bytes(m.batches),
            Bytes(m.spare),
            Bytes(m.told),
            Bytes(m.admin),
            Bytes(m.history)
        ) + &facts.memory_limit.map_or_else(String::new, |limit| format!("; limit {}", Bytes(limit))),
    );
    if facts.memory_limit.is_some_and(|limit| m.total() > limit) {
        out.row("", "WARNING: clients could ask for more than there is: lower limits.exchanges_max, or ring_bytes_max");
    }
    let d = &facts.descriptors;
    let samples = if d.samples == 0 { String::new() } else { format!(", samples {}", d.samples) };
    out.row(
        "descriptors",
        format!(
            "{} at worst: clients {}, primaries {}, idle {}, mirrors {}{samples}, own {}; limit {}",
            d.total(),
            d.clients,
            d.primaries,
            d.idle,
            d.mirrors,
            d.fixed,
            facts.descriptor_limit
        ),
    );
    if facts.clients_max < facts.config.limits.connections_max {
        out.row(
            "",
            format!(
                "WARNING: enough for {} clients per worker: raise it (LimitNOFILE=) or lower limits.connections_max",
                facts.clients_max
            ),
        );
    }
}

fn next(facts: &Facts<'_>, out: &mut Rows) {
    let Some(gateway) = facts.listeners.first() else { return };
    out.row("try", format!("curl -i http://{gateway}/status/200"));
    out.row("try", format!("curl http://{gateway}/anything -d hello"));
    if let Some(admin) = facts.admin {
        out.row("try", format!("curl http://{admin}/metrics"));
    }
    out.row("", "every request that v1 and v2 see is a line below; Ctrl-C drains and ends");
    out.row("", "with a file: gateway --config FILE; config/gateway.toml shows every key and its default");
}

fn percent(percent: Percent) -> String {
    // Six digits after the point of a whole are four of a percentage; trailing zeros say nothing.
    let (whole, rest) = (percent.per_million / 10_000, percent.per_million % 10_000);
    if rest == 0 {
        return format!("{whole} %");
    }
    format!("{whole}.{} %", format!("{rest:04}").trim_end_matches('0'))
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// In the largest unit that shows it exactly, or with one digit after the point.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] =
            [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match UNITS.iter().find(|(_, size)| self.0 >= *size) {
            None => write!(f, "{} B", self.0),
            Some((unit, size)) if self.0.is_multiple_of(*size) => write!(f, "{} {unit}", self.0 / size),
            Some((unit, size)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*size);
                write!(f, "{}.{} {unit}", tenths / 10, tenths % 10)
            }
        }
    }
}

/// A duration as one would write it in the configuration.
struct Span(Duration);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_millis() == 0 {
            write!(f, "{} s", self.0.as_secs())
        } else {
            write!(f, "{} ms", self.0.as_millis())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::budget::tests::config;

    fn with<R>(change: impl FnOnce(&mut Facts<'_>), then: impl FnOnce(&str) -> R) -> R {
        let config = config();
        let at = |port| Address::from(([127, 0, 0, 1], port));
        let addresses = vec![vec![at(9001), at(9011)], vec![at(9002)]];
        let drivers = vec!["io_uring, 1024 entries".to_owned(); 2];
        let mut facts = Facts {
            version: "0.1.0",
            source: "embedded default",
            embedded: true,
            plaintext: Plaintext::default(),
            config: &config,
            addresses: &addresses,
            listeners: &[SocketAddr::from(([127, 0, 0, 1], 8080))],
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 9901))),
            drivers: &drivers,
            cores: &[Some(CoreId { id: 0 }), Some(CoreId { id: 1 })],
            descriptors: Descriptors::of(&config, &addresses, true),
            descriptor_limit: 1_048_576,
            clients_max: usize::MAX,
            memory: Memory::of(&config),
            memory_limit: None,
            privileges: None,
        };
        change(&mut facts);
        then(&render(&facts))
    }

    #[test]
    fn it_says_what_runs_and_what_to_type_next() {
        with(
            |_| {},
            |text| {
                for part in [
                    "umbra 0.1.0  embedded default\n",
                    "  workers     2 × io_uring, 1024 entries; on core 0,1\n",
                    "  listeners   127.0.0.1:8080\n",
                    "  upstreams   v1 = 127.0.0.1:9001, 127.0.0.1:9011  round robin\n",
                    "              v2 = 127.0.0.1:9002\n",
                    "  routes      default: /* → v1 ⇒ v2 100 % (≤ 1 MiB)\n",
                    "  mirrors     v2: ring of 4096 copies and 32 MiB per worker, drop newest\n",
                    "                  8 connections per worker, 16 copies in a batch; connect 1 s, answer 5 s and 1 MiB\n",
                    "  timeouts    client idle 60 s, head 10 s, content 30 s, write 30 s, drain 10 s\n",
                    " at worst: rings 64 MiB, exchanges ",
                    "curl -i http://127.0.0.1:8080/status/200\n",
                    "curl http://127.0.0.1:8080/anything -d hello\n",
                    "curl http://127.0.0.1:9901/metrics\n",
                    "config/gateway.toml",
                ] {
                    assert!(text.contains(part), "no {part:?} in\n{text}");
                }
                assert!(!text.contains("WARNING"), "{text}");
                assert!(text.ends_with("\n\n"));
            },
        );
    }

    #[test]
    fn a_descriptor_limit_below_the_budget_is_a_warning() {
        with(
            |facts| facts.clients_max = 7,
            |text| assert!(text.contains("WARNING: enough for 7 clients"), "{text}"),
        );
    }

    #[test]
    fn a_memory_limit_below_the_budget_is_a_warning() {
        with(
            |facts| facts.memory_limit = Some(1 << 20),
            |text| assert!(text.contains("; limit 1 MiB\n") && text.contains("WARNING: clients"), "{text}"),
        );
    }

    #[test]
    fn workers_that_differ_are_told_apart() {
        let drivers = ["epoll".to_owned(), "io_uring".to_owned(), "epoll".to_owned()];
        let cores = [Some(CoreId { id: 3 }), Some(CoreId { id: 5 }), None];
        // The borrow must outlive the facts, so they are rendered here.
        let config = config();
        let text = render(&Facts {
            version: "0",
            source: "a.toml",
            embedded: false,
            plaintext: Plaintext::default(),
            config: &config,
            addresses: &[],
            listeners: &[],
            admin: None,
            drivers: &drivers,
            cores: &cores,
            descriptors: Descriptors::of(&config, &[], false),
            descriptor_limit: 0,
            clients_max: usize::MAX,
            memory: Memory::of(&config),
            memory_limit: None,
            privileges: None,
        });
        assert!(text.contains("  workers     #0, 2 × epoll; on core 3, 1 on any\n"), "{text}");
        assert!(text.contains("              #1 × io_uring; on core 5\n"), "{text}");
        assert!(!text.contains("curl"), "{text}");
        assert!(text.contains("  admin       off\n"), "{text}");
    }

    #[test]
    fn percentages_keep_their_grain() {
        for (per_million, text) in
            [(0, "0 %"), (1, "0.0001 %"), (5_000, "0.5 %"), (123_400, "12.34 %"), (1_000_000, "100 %")]
        {
            assert_eq!(percent(Percent { per_million }), text);
        }
    }

    #[test]
    fn sizes_and_spans_are_short() {
        for (n, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (32 << 20, "32 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(Bytes(n).to_string(), text);
        }
        assert_eq!(Span(Duration::from_secs(90)).to_string(), "90 s");
        assert_eq!(Span(Duration::from_millis(1_500)).to_string(), "1500 ms");
    }
}
