//! Clients of HTTP/2 that are not ours, beside curl: nghttp2's load generator and its client.

use std::process::Command;

use tests::certificates::Authority;
use tests::{Gateway, Origin, Setup};

use crate::http2::{PLAIN, echo, listening};

/// A tool's output; `None` where it is not installed.
fn says(tool: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(tool).args(arguments).output() else {
        eprintln!("skipped: no {tool} here");
        return None;
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    Some(text(&output.stdout))
}

#[test]
fn thousands_of_requests_by_nghttp2_are_each_answered_and_copied_once_in_the_clear_and_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::new(folder.path(), "ca");
    let shop = authority.issue("shop", &["shop.example"]);
    let content = folder.path().join("content");
    std::fs::write(&content, tests::pattern(20_000)).expect("it is written");
    let content = content.display().to_string();
    let tls = format!("tls = {{ certificates = [{}] }}", shop.toml());
    for (scheme, listener) in [("http", PLAIN), ("https", tls.as_str())] {
        let (v1, v2) = (echo(), Origin::named("v2"));
        let setup = Setup::new(&v1).mirror("v2", v2.address, "ring_entries_max = 4096");
        let gateway = Gateway::start(&listening(&setup, listener), &[]);
        let url = format!("{scheme}://shop.example:{}/load", gateway.address.port());
        let at = format!("--connect-to={}", gateway.address);
        let many = ["-n", "2000", "-c", "4", "-m", "20", &at];
        for more in [&[][..], &["-d", &content]] {
            // Content in the hundreds of kilobytes at once, and then none.
            let fewer = ["-n", "200", "-c", "2", "-m", "10", &at];
            let arguments = if more.is_empty() { &many[..] } else { &fewer[..] };
            let Some(told) = says("h2load", &[arguments, more, &[url.as_str()]].concat()) else { return };
            let whole = arguments[1];
            let line = format!(
                "{whole} total, {whole} started, {whole} done, {whole} succeeded, 0 failed, 0 errored"
            );
            assert!(told.contains(&line), "{scheme} {more:?}: {told}");
            assert!(told.contains(&format!("status codes: {whole} 2xx")), "{told}");
        }
        let metrics = gateway.settled("v2");
        assert_eq!(metrics.mirror("v2", "eligible_total"), 2200);
        let told = |name: &str| metrics.mirror("v2", name);
        assert_eq!(told("sent_total") + told("dropped_total"), 2200, "{}", metrics.text());
        assert_eq!(told("sent_total"), told("completed_total"));
        assert_eq!(metrics.sum("umbra_http2_goaways_total", &["reason=\"flood\""]), 0);
        if scheme == "http" {
            let url = format!("http://{}/one", gateway.address);
            let Some(told) = says("nghttp", &["-v", "-m", "5", &url]) else { return };
            assert_eq!(told.matches(":status: 200").count(), 5, "{told}");
        }
    }
}
