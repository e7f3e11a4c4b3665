//! The article's own application: PyPI's httpbin under gunicorn as v1 and v2, curl as the client.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tests::httpbin::{Httpbin, THREADS};
use tests::{Gateway, Setup, eventually};

/// The response that curl received: of every response of a redirected request the status and fields, of the last one the
/// content.
#[derive(Debug, PartialEq)]
struct Answer {
    statuses: Vec<String>,
    fields: Vec<String>,
    body: Body,
}

#[derive(Debug, PartialEq)]
enum Body {
    /// An object or, as /stream sends them, several.
    Objects(Vec<Value>),
    Bytes(Vec<u8>),
}

/// Response fields that belong to a connection or a moment rather than to the answer.
const OF_THE_HOP: [&str; 4] = ["date", "connection", "keep-alive", "via"];

/// Calls `arguments`, whose first is the path, at `server`, under one host name wherever that is.
fn curl(server: SocketAddr, arguments: &[&str]) -> Result<Answer, String> {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (heads, body) = (folder.path().join("heads"), folder.path().join("body"));
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--http1.1", "--max-time", "20", "--noproxy", "*"])
        .arg("--connect-to")
        .arg(format!("httpbin.test:80:{server}"))
        .arg("--dump-header")
        .arg(&heads)
        .arg("--output")
        .arg(&body)
        .arg(format!("http://httpbin.test{}", arguments[0]))
        .args(&arguments[1..])
        .output()
        .map_err(|error| format!("curl does not run; install it: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let heads = fs::read_to_string(&heads).expect("curl wrote the heads");
    let (mut statuses, mut fields) = (Vec::new(), Vec::new());
    for line in heads.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix("HTTP/1.1 ") {
            Some(status) => statuses.push(status[..3].to_owned()),
            None => fields.push(line.to_ascii_lowercase()),
        }
    }
    fields.retain(|f| !OF_THE_HOP.iter().any(|name| f.split(':').next() == Some(name)));
    fields.sort();
    // Asked for the head alone, curl writes that as the content.
    let head_alone = arguments.contains(&"--head");
    let bytes = if head_alone { Vec::new() } else { fs::read(&body).unwrap_or_default() };
    let objects = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let body = match objects.collect::<Result<Vec<Value>, _>>() {
        Ok(mut objects) if !objects.is_empty() => {
            objects.iter_mut().for_each(without_the_forwarded);
            // Its length tells of the fields that were taken out.
            fields.retain(|f| !f.starts_with("content-length:"));
            Body::Objects(objects)
        }
        _ => Body::Bytes(bytes),
    };
    Ok(Answer { statuses, fields, body })
}

/// Takes the gateway's own fields and curl's random ones out of httpbin's echo of the request.
fn without_the_forwarded(echo: &mut Value) {
    if let Some(echo) = echo.as_object_mut() {
        echo.remove("origin");
    }
    let Some(fields) = echo.get_mut("headers").and_then(Value::as_object_mut) else { return };
    fields.retain(|name, value| {
        let name = name.to_ascii_lowercase();
        // A request without content may say so: RFC 9110, section 8.6.
        let says_empty = name == "content-length" && value == "0";
        !says_empty
            && !name.starts_with("x-forwarded-")
            && !["via", "x-request-id", "connection"].contains(&&*name)
    });
    if let Some(Value::String(kind)) = fields.get_mut("Content-Type")
        && kind.starts_with("multipart/form-data; boundary=")
    {
        *kind = "multipart/form-data".to_owned();
    }
}

fn behind_a_gateway(v1: &Httpbin, v2: &Httpbin) -> Gateway {
    Setup::to(&[v1.address]).mirror("v2", v2.address, "timeout = \"20s\"").start()
}

#[test]
fn the_articles_experiment_shows_in_both_logs() {
    // As the article starts them: gunicorn's default workers.
    let (v1, v2) = (Httpbin::start(&[]), Httpbin::start(&[]));
    let gateway = behind_a_gateway(&v1, &v2);
    let answer = curl(gateway.address, &["/status/200"]).expect("an answer");
    assert_eq!(answer.statuses, ["200"]);
    for (name, pod) in [("v1", &v1), ("v2", &v2)] {
        eventually(&format!("{name} logs the request"), || pod.logged("GET /status/200").len() == 1);
        println!("{name}: {}", pod.logged("GET /status/200")[0]);
    }
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.sum("umbra_mirror_completed_total", &["class=\"2xx\""]), 1, "{}", metrics.text());
}

/// Every method and body kind of the article's application: curl's arguments, the path first.
fn round(file: &str) -> Vec<Vec<String>> {
    let upload = format!("@{file}");
    let part = format!("part=@{file};type=application/octet-stream");
    let chunked = ["-H", "Transfer-Encoding: chunked"];
    let rows: Vec<Vec<&str>> = vec![
        vec!["/get?a=1&b=%20c"],
        vec!["/encoding/utf8", "--head"],
        vec!["/anything/deep/path?x=y", "-X", "OPTIONS"],
        vec!["/anything", "-X", "DELETE"],
        vec!["/delete", "-X", "DELETE", "-d", "gone=1"],
        vec!["/post", "-X", "POST"],
        vec!["/post", "-d", "a=1", "-d", "b=two words"],
        vec!["/post", "-H", "Content-Type: application/json", "-d", r#"{"k": ["v", 1, null]}"#],
        vec!["/post", "-F", "field=value", "-F", &part],
        vec!["/post", "-H", "Content-Type: application/octet-stream", "--data-binary", &upload],
        vec!["/put", "-X", "PUT", "--data-binary", &upload, chunked[0], chunked[1]],
        vec!["/patch", "-X", "PATCH", "-d", "p=1", chunked[0], chunked[1]],
        vec!["/post", "-H", "Expect: 100-continue", "--data-binary", &upload],
        vec!["/gzip", "--compressed"],
        vec!["/deflate", "--compressed"],
        vec!["/stream/20"],
        vec!["/bytes/65536?seed=1"],
        vec!["/stream-bytes/65536?seed=1&chunk_size=999"],
        vec!["/range/10000", "-H", "Range: bytes=100-199"],
        vec!["/drip?duration=1&numbytes=10&code=200&delay=0"],
        vec!["/redirect/3", "-L"],
        vec!["/redirect-to?url=/get", "-X", "POST"],
        vec!["/cookies/set?flavour=oat", "-L", "-c", "/dev/null"],
        vec!["/cookies", "-b", "flavour=oat; size=big"],
        vec!["/basic-auth/user/secret", "-u", "user:secret"],
        vec!["/basic-auth/user/secret", "-u", "user:wrong"],
        vec!["/etag/abc", "-H", "If-None-Match: abc"],
        vec!["/response-headers?X-Twice=1&X-Twice=2"],
        vec!["/encoding/utf8"],
        vec!["/image/png"],
        vec!["/status/204"],
        vec!["/status/304"],
        vec!["/status/404"],
        vec!["/status/418"],
        vec!["/status/503"],
        vec!["/no/such/page"],
    ];
    rows.into_iter().map(|row| row.into_iter().map(str::to_owned).collect()).collect()
}

#[test]
fn every_method_and_body_kind_is_answered_as_without_the_gateway_and_copied() {
    let (v1, v2) = (Httpbin::start(THREADS), Httpbin::start(THREADS));
    let gateway = behind_a_gateway(&v1, &v2);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("upload");
    let content: Vec<u8> = (0..300 * 1024_u32).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(&file, content).expect("the upload is written");

    let (mut different, mut expected) = (Vec::new(), 0);
    for row in round(file.to_str().expect("a path of ours")) {
        let arguments: Vec<&str> = row.iter().map(String::as_str).collect();
        let direct = curl(v1.address, &arguments).expect("httpbin answers");
        expected += direct.statuses.iter().filter(|status| *status != "100").count();
        match curl(gateway.address, &arguments) {
            Ok(through) if through == direct => {}
            other => {
                let brief = |answer: String| answer.chars().take(1000).collect::<String>();
                let (direct, other) = (brief(format!("{direct:?}")), brief(format!("{other:?}")));
                different.push(format!("{row:?}\n  direct  {direct}\n  gateway {other}"));
            }
        }
        // One copy at a time here; other tests are about copies that share a connection.
        gateway.settled("v2");
    }
    assert!(different.is_empty(), "{}", different.join("\n"));

    let metrics = gateway.settled("v2");
    let sum = |name: &str| metrics.sum(name, &["mirror=\"v2\""]);
    assert_eq!(sum("umbra_mirror_eligible_total"), expected as i64, "{}", metrics.text());
    assert_eq!(sum("umbra_mirror_completed_total"), expected as i64, "{}", metrics.text());
    // The first call of each log asked whether it is up.
    eventually("v2 logs every copy", || v2.logged("HTTP/1.1").len() > expected);
    assert_eq!(v2.logged("\" 5").len(), v2.logged("/status/503").len(), "{:?}", v2.logged("\" 5"));
}

#[test]
fn many_clients_at_once_are_served_beside_a_mirror_that_closes_after_each_answer() {
    const CLIENTS: usize = 4;
    const EACH: usize = 10;
    let (v1, v2) = (Httpbin::start(THREADS), Httpbin::start(&[]));
    let gateway = behind_a_gateway(&v1, &v2);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let gateway = &gateway;
            scope.spawn(move || {
                let mut connection = gateway.client();
                for n in 0..EACH {
                    let path = format!("/anything/{client}/{n}");
                    let answer = connection.ask(format!("GET {path} HTTP/1.1\r\nHost: httpbin.test\r\n\r\n"));
                    assert_eq!(answer.status, 200);
                    assert!(
                        answer.text().contains(&format!("http://httpbin.test{path}")),
                        "{}",
                        answer.text()
                    );
                }
            });
        }
    });
    let metrics = gateway.settled("v2");
    let sum = |name: &str| metrics.sum(name, &["mirror=\"v2\""]);
    let all = (CLIENTS * EACH) as i64;
    assert_eq!(sum("umbra_mirror_eligible_total"), all);
    assert_eq!(
        sum("umbra_mirror_sent_total"),
        all,
        "nothing is dropped below the ring's size\n{}",
        metrics.text()
    );
    // A copy written behind another on a connection that then closes is lost and counted; a completed one was logged.
    let completed = sum("umbra_mirror_completed_total");
    assert!(completed > 0, "{}", metrics.text());
    eventually("v2 logs every completed copy", || v2.logged("/anything/").len() as i64 >= completed);
    println!("completed {completed} of {all}");
}
