//! The files this crate ships, the form as first described, and the defaults.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::*;

pub(super) const GATEWAY: &str = include_str!("../../gateway.toml");
pub(super) const EXAMPLES: [(&str, &str); 8] = [
    ("minimal.toml", include_str!("../../examples/minimal.toml")),
    ("several-mirrors.toml", include_str!("../../examples/several-mirrors.toml")),
    ("sampled.toml", include_str!("../../examples/sampled.toml")),
    ("baseline.toml", include_str!("../../examples/baseline.toml")),
    ("hosts-and-routes.toml", include_str!("../../examples/hosts-and-routes.toml")),
    ("rollout.toml", include_str!("../../examples/rollout.toml")),
    ("policy.toml", include_str!("../../examples/policy.toml")),
    ("mirror-policy.toml", include_str!("../../examples/mirror-policy.toml")),
];

/// The written form as the project first described it.
pub(super) const AS_DESCRIBED: &str = r#"
[[listener]]
bind = "127.0.0.1:8080"
[admin]
bind = "127.0.0.1:9901"
[workers]
count = 2                      # default: the cores this process may use (affinity and cgroup quota)
[upstream.v1]
endpoints = ["127.0.0.1:9001", "127.0.0.1:9011"]
[upstream.v2]
endpoints = ["127.0.0.1:9002"]
[[route]]
path_prefix = "/"
primary = "v1"
mirrors = [{ upstream = "v2", percent = 100, ring_entries_max = 4096, ring_bytes_max = "32MiB", drop = "newest",
             body_bytes_max = "1MiB", connect_timeout = "1s", timeout = "5s", connections_max = 8, host = "keep" }]
"#;

#[test]
fn defaults_are_those_promised() {
    let seconds = Duration::from_secs;
    let endpoint = |port| Endpoint { host: Host::Address(IpAddr::from([127, 0, 0, 1])), port };
    let upstream = |name: &str, port| Upstream {
        name: name.into(),
        endpoints: vec![endpoint(port)],
        destination: None,
        balance: Balance::RoundRobin,
        hash_by: None,
        connect_timeout: seconds(2),
        idle_timeout: seconds(60),
        requests_per_connection_max: u64::MAX,
        connections_max: usize::MAX,
        pending_max: usize::MAX,
        ejection: None,
        health: None,
        tls: None,
        protocol: UpstreamProtocol::Http1,
        version: None,
    };
    let none = HeaderEdits::default;
    let promised = Config {
        listeners: vec![Listener {
            bind: SocketAddr::from(([127, 0, 0, 1], 8080)),
            protocols: Protocols::HTTP1,
            tls: None,
        }],
        admin: Admin {
            bind: Some(SocketAddr::from(([127, 0, 0, 1], 9901))),
            token: None,
            tls: None,
            history: None,
        },
        workers: Workers { count: cores_available(), pin: true, driver: Driver::Auto, uring_entries: 1024 },
        limits: Limits {
            connections_max: 16_384,
            request_head_bytes_max: 16 * 1024,
            request_line_bytes_max: 8 * 1024,
            response_head_bytes_max: 64 * 1024,
            fields_max: 100,
            request_body_bytes_max: None,
            connections_per_address_max: usize::MAX,
            exchanges_max: 16_384,
            tunnels_max: 16_384,
            requests_per_second_max: None,
            requests_per_second_per_address_max: None,
            request_bytes_per_second_min: 240,
            response_bytes_per_second_min: 240,
            requests_per_connection_max: 1_000_000,
            connection_age_max: None,
            upstream_idle_max: 256,
            drain_bytes_max: 256 * 1024,
            tls_handshakes_pending_max: 256,
            tls_handshakes_per_second_per_address_max: None,
        },
        http2: Http2 {
            streams_max: 128,
            streams_per_address_max: usize::MAX,
            stream_window_bytes: 64 * 1024,
            stream_bytes_max: None,
            queued_bytes_max: 64 * 1024,
            block_frames_max: 8,
            resets_max: 100,
            requests_per_reset: 4,
            settings_max: 8,
            answers_unsent_max: 16,
            idle_bytes_max: 64 * 1024,
            idle_bytes_per_second: 4 * 1024,
            ping_after: seconds(15),
            ping_timeout: seconds(10),
        },
        timeouts: Timeouts {
            request: None,
            tls_handshake: seconds(10),
            request_head: seconds(10),
            client_idle: seconds(75),
            request_body: seconds(30),
            write: seconds(30),
            connect: seconds(2),
            response_head: seconds(60),
            response_body: seconds(60),
            upstream_idle: seconds(60),
            tunnel_idle: seconds(3600),
            drain: seconds(10),
        },
        forwarded: Forwarded::Append,
        via: Via::Append,
        request_id: Claim::Keep,
        access_log: None,
        tracing: None,
        judging: Judging::default(),
        upstreams: vec![upstream("v1", 9001), upstream("v2", 9002)],
        routes: vec![Route {
            name: "route-1".into(),
            matches: vec![Match {
                hosts: vec![],
                path: PathMatch::Prefix("/".into()),
                ignore_case: false,
                methods: vec![],
                port: None,
                when: vec![],
            }],
            fault: Fault { delay: None, abort: None },
            request_headers: none(),
            response_headers: none(),
            cors: None,
            action: Action::Forward(Forward {
                primaries: vec![Primary {
                    upstream: Some(0),
                    weight: 1,
                    request_headers: none(),
                    response_headers: none(),
                    rewrite: Rewrite { path: None, host: None },
                    redirect: None,
                }],
                rewrite: Rewrite { path: None, host: None },
                timeout: None,
                retries: Retries {
                    attempts: 0,
                    on: vec![],
                    statuses: vec![],
                    per_try_timeout: None,
                    backoff: Duration::from_millis(25),
                },
                upgrades: vec![],
            }),
            mirrors: vec![Mirror {
                name: "v2".into(),
                lane: 0,
                percent: Percent::ALL,
                only: None,
                only_primary: None,
                sample_by: None,
                sample: Sample::Even,
                rate_max: None,
                ttl: None,
                after: After::Request,
                response: None,
                idempotency_key: None,
                governor: None,
                body_bytes_max: 1024 * 1024,
                host: MirrorHost::Keep,
                path: None,
                headers: none(),
                redact: Redact::default(),
                role: Role::Candidate,
                baseline_for: Vec::new(),
                compare: None,
            }],
        }],
        lanes: vec![Lane {
            name: "v2".into(),
            upstream: 1,
            capture: None,
            ring_entries_max: 4096,
            ring_bytes_max: 32 * 1024 * 1024,
            drop: DropPolicy::Newest,
            connect_timeout: seconds(1),
            timeout: seconds(5),
            connections_max: 8,
            pipeline_max: 128,
            response_bytes_max: 1024 * 1024,
        }],
        captures: vec![],
    };
    assert_eq!(accepted(EXAMPLES[0].1).config, promised);
}

#[test]
fn the_reference_file_says_what_silence_means() {
    let reference = accepted(GATEWAY);
    assert_eq!(reference.warnings, []);
    assert_eq!(reference.config, accepted(EXAMPLES[0].1).config);
}

#[test]
fn the_reference_file_shows_every_key_and_no_other() {
    let tables: [(&str, &[&str]); 15] = [
        ("[[listener]]", file::Listener::KEYS),
        ("[admin]", file::Admin::KEYS),
        ("[verdict]", file::Judging::KEYS),
        ("[workers]", file::Workers::KEYS),
        ("[limits]", file::Limits::KEYS),
        ("[http2]", file::Http2::KEYS),
        ("[timeouts]", file::Timeouts::KEYS),
        ("[headers]", file::Headers::KEYS),
        ("[access_log]", file::AccessLog::KEYS),
        ("[tracing]", file::Tracing::KEYS),
        ("[upstream.v1]", file::Upstream::KEYS),
        // The second upstream shows the keys of a mirror's.
        ("[upstream.v2]", &["endpoints", "balance"]),
        ("[capture.traffic]", file::Capture::KEYS),
        ("[[route]]", file::Route::KEYS),
        ("[[route.mirrors]]", file::Mirror::KEYS),
    ];
    let mut table = "";
    let mut shown: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for line in GATEWAY.lines() {
        if line.starts_with('[') {
            table = line;
            shown.push((table, BTreeSet::new()));
            continue;
        }
        let key = line.strip_prefix("# ").unwrap_or(line).split_once(" = ").map_or("", |(key, _)| key);
        if !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            let (_, keys) = shown.last_mut().unwrap_or_else(|| panic!("{key} stands in no table"));
            assert!(keys.insert(key), "{table} has {key} twice");
            // The table of mirrors is this key, shown the long way.
            if table == "[[route]]" {
                keys.insert("mirrors");
            }
            let reason = line.split_once('#').map_or("", |(_, rest)| rest);
            assert!(reason.trim().len() > 10, "{table} {key} has no reason beside it");
        }
    }
    let known: Vec<(&str, BTreeSet<&str>)> =
        tables.iter().map(|(table, keys)| (*table, keys.iter().copied().collect())).collect();
    assert_eq!(shown, known);
    let roots: BTreeSet<&str> =
        tables.iter().filter_map(|(table, _)| table.trim_matches(['[', ']']).split('.').next()).collect();
    assert_eq!(roots, file::File::KEYS.iter().copied().collect());
}

#[test]
fn what_the_reference_file_comments_out_is_sound_too() {
    let without_prefix = GATEWAY.replace("\npath_prefix = ", "\n# path_prefix = ");
    for key in ["count", "host", "path", "methods"] {
        assert!(without_prefix.contains(&format!("\n# {key} = ")));
    }
    let shown: String = without_prefix
        .split_inclusive('\n')
        .map(|line| match line.strip_prefix("# ") {
            Some(rest)
                if ["count =", "host =", "path =", "methods ="].iter().any(|key| rest.starts_with(key)) =>
            {
                rest
            }
            Some(_) | None => line,
        })
        .collect();
    let Checked { config, warnings, .. } = accepted(&shown);
    assert_eq!(warnings, []);
    assert_eq!(config.workers.count, 2);
    assert_eq!(
        config.routes[0].matches[0],
        Match {
            hosts: vec![HostMatch::Suffix(".example.com".into())],
            path: PathMatch::Exact("/exactly/this".into()),
            methods: vec!["GET".into(), "HEAD".into()],
            ..Match::default()
        }
    );
}

#[test]
fn every_example_is_sound_and_listed() {
    for (name, text) in EXAMPLES {
        match parse(name, text) {
            Ok(checked) => assert_eq!(checked.warnings, [], "{name}"),
            Err(problems) => panic!("{problems:?}"),
        }
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert_eq!(files, EXAMPLES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn the_form_as_first_described_is_sound() {
    let Checked { config, warnings, .. } = accepted(AS_DESCRIBED);
    assert_eq!(warnings, []);
    assert_eq!(config.workers.count, 2);
    assert_eq!(config.lanes, accepted(EXAMPLES[0].1).config.lanes);
    assert_eq!(config.upstreams[0].endpoints.len(), 2);
}

#[test]
fn the_embedded_text_is_sound_and_names_both_services() {
    for (v1, v2) in [("127.0.0.1:9001", "127.0.0.1:9002"), ("[::1]:1", "[fe80::1%3]:65535")] {
        let (v1, v2) = (v1.parse::<SocketAddr>().unwrap(), v2.parse::<SocketAddr>().unwrap());
        let Checked { config, warnings, .. } = accepted(&embedded_text(v1, v2));
        assert_eq!(warnings, []);
        assert_eq!(config.routes[0].name, "default");
        assert_eq!(
            config.upstreams[0].endpoints,
            [Endpoint { host: Host::Address(v1.ip()), port: v1.port() }]
        );
        assert_eq!(
            config.upstreams[1].endpoints,
            [Endpoint { host: Host::Address(v2.ip()), port: v2.port() }]
        );
        assert_eq!(config.routes[0].mirrors[0].percent, Percent::ALL);
    }
}
