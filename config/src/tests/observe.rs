//! Keys of the access log and of tracing, and the problems of those that make no sense.

use std::path::PathBuf;

use super::*;

#[test]
fn a_log_says_where_it_goes_and_the_rest_has_defaults() {
    let log = |keys: &str| accepted(&starting(&format!("[access_log]\n{keys}"))).config.access_log;
    assert_eq!(log("to = \"off\""), None);
    let plain = AccessLog {
        to: LogTarget::Stdout,
        format: LogFormat::Json,
        percent: Percent::ALL,
        only: None,
        redact: vec![],
    };
    assert_eq!(log("to = \"stdout\""), Some(plain));
    let all = "to = \"/var/log/umbra.log\"\nformat = \"combined\"\npercent = 0.5\nredact = [\"token\"]\n\
               only = { statuses = [\"5xx\"], slower_than = \"1s\", mismatched = true }";
    let full = AccessLog {
        to: LogTarget::File(PathBuf::from("/var/log/umbra.log")),
        format: LogFormat::Combined,
        percent: Percent { per_million: 5000 },
        only: Some(Notable {
            statuses: vec![500..=599],
            slower_than: Some(Duration::from_secs(1)),
            mismatched: true,
        }),
        redact: vec!["token".into()],
    };
    assert_eq!(log(all), Some(full));
}

#[test]
fn a_collector_is_a_url_whose_port_and_path_may_be_left_out() {
    let tracing = |to: &str| accepted(&starting(&format!("[tracing]\nto = \"{to}\""))).config.tracing;
    assert_eq!(tracing("off"), None);
    let passing = Tracing {
        percent: Percent { per_million: 10_000 },
        parent: Claim::Keep,
        collector: None,
        service_name: "umbra".into(),
        spans_max: 8192,
        spans_bytes_max: 16 << 20,
        timeout: Duration::from_secs(5),
    };
    assert_eq!(tracing("nowhere"), Some(passing));
    for (to, url) in [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http://collector/", "http://collector:4318/v1/traces"),
        ("http://[::1]", "http://[::1]:4318/v1/traces"),
        ("http://[::1]:80/otlp", "http://[::1]:80/otlp"),
    ] {
        let collector = tracing(to).unwrap().collector.unwrap();
        assert_eq!(collector.url(), url);
    }
}

#[test]
fn what_makes_no_sense_of_them_is_told_with_its_key() {
    let rows: &[(&str, Said<'_>)] = &[
        ("[access_log]", (1, "access_log.to", "is missing")),
        ("[access_log]\nto = \"stdot\"", (2, "access_log.to", "no place for a log")),
        ("[access_log]\nto = \"/var/log/\"", (2, "access_log.to", "no place for a log")),
        ("[access_log]\nto = \"off\"\nformat = \"xml\"", (3, "access_log.format", "must be \"json\"")),
        ("[access_log]\nto = \"off\"\npercent = 101", (3, "access_log.percent", "from 0 to 100")),
        ("[access_log]\nto = \"off\"\nonly = { }", (3, "access_log.only", "no exchange is like this")),
        (
            "[access_log]\nto = \"off\"\nonly = { statuses = [\"9xx\"] }",
            (3, "access_log.only.statuses[0]", "is no status"),
        ),
        ("[access_log]\nto = \"off\"\nredact = [\"\"]", (3, "access_log.redact[0]", "a name is missing")),
        ("[access_log]\nto = \"off\"\nfile = \"a\"", (3, "access_log.file", "unknown key")),
        ("[tracing]", (1, "tracing.to", "is missing")),
        ("[tracing]\nto = \"ftp://a:4318\"", (2, "tracing.to", "is not a URL of http or https")),
        (
            "[tracing]\nto = \"http://a:4318\"\nca = \"a.pem\"",
            (3, "tracing.ca", "is only used with to = \"https://…\""),
        ),
        ("[tracing]\nto = \"a:4318\"", (2, "tracing.to", "not a URL of http")),
        ("[tracing]\nto = \"http://a:0\"", (2, "tracing.to", "port 0")),
        ("[tracing]\nto = \"http://u@a\"", (2, "tracing.to", "a user name")),
        ("[tracing]\nto = \"http://a/b?c\"", (2, "tracing.to", "which ends a path")),
        ("[tracing]\nto = \"off\"\nparent = \"drop\"", (3, "tracing.parent", "must be \"keep\"")),
        ("[tracing]\nto = \"off\"\nspans_max = 0", (3, "tracing.spans_max", "from 1 to")),
        ("[tracing]\nto = \"off\"\ntimeout = \"2m\"", (3, "tracing.timeout", "out of range")),
        ("[tracing]\nto = \"off\"\nservice_name = \"\"", (3, "tracing.service_name", "a name is missing")),
        ("[headers]\nrequest_id = \"drop\"", (2, "headers.request_id", "must be \"keep\"")),
    ];
    for (head, said) in rows {
        check(&starting(head), std::slice::from_ref(said));
    }
}
