//! The article's experiment: the client is answered by v1, and v2 sees the same request.

use tests::{Origin, Setup};

#[test]
fn the_client_gets_v1s_answer_and_v2_sees_the_copy() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let gateway = Setup::new(&v1).mirror("v2", v2.address, "").start();
    let answer = gateway.client().ask("GET /status/200 HTTP/1.1\r\nHost: httpbin\r\n\r\n");
    assert_eq!((answer.status, answer.text().as_str()), (200, "v1"));
    let (sent, copied) = (&v1.wait_for(1)[0], &v2.wait_for(1)[0]);
    assert_eq!((&copied.method, &copied.target), (&sent.method, &sent.target));
    assert_eq!(copied.field("x-request-id"), sent.field("x-request-id"));
    assert_eq!(copied.field("host"), Some("httpbin"));
    assert_eq!((sent.field("x-umbra-mirror"), copied.field("x-umbra-mirror")), (None, Some("v2")));
    let metrics = gateway.settled("v2");
    assert_eq!(metrics.sum("umbra_mirror_completed_total", &["class=\"2xx\""]), 1);
    // The client may have its answer a moment before it is counted.
    let answered = || gateway.metrics().sum("umbra_requests_total", &["route=\"all\"", "code=\"200\""]);
    tests::eventually("its answer is counted", || answered() == 1);
}
