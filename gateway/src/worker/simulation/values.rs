//! A message that is on no wire at all: `exchange` carries it as it carries every other, its copy included.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::{balances, context, worker_config};
use crate::asked::Scheme;
use crate::exchange::{self, Caller, Outcome};
use crate::io::simulated::{End, Task, World};
use crate::message::memory::{Answer, Content, Responder, Sent, Upstream};
use crate::message::server;
use crate::metrics::Shard;
use crate::worker::{Lanes, heartbeat};

const CONFIGURATION: &str = r#"
    [upstream.v1]
    endpoints = ["127.0.0.1:1"]
    [upstream.v2]
    endpoints = ["127.0.0.1:2"]
    [[route]]
    name = "all"
    path_prefix = "/"
    primary = "v1"
    [[route.mirrors]]
    upstream = "v2"
"#;

/// Takes one copy and answers it.
async fn mirror(end: End, copy: Rc<RefCell<Vec<u8>>>) {
    let mut taken = Vec::new();
    while !taken.ends_with(b"hello world") {
        if end.read(&mut taken, 1000).await.unwrap_or(0) == 0 {
            return;
        }
    }
    *copy.borrow_mut() = taken;
    let _ = end.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let _ = end.read(&mut Vec::new(), 1).await;
}

#[test]
fn a_message_made_of_values_runs_a_whole_exchange_and_is_copied() {
    World::run(7, |world| async move {
        let [v1, v2] = [1, 2].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let heads =
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n";
        let upstream = Upstream::at(v1, Answer { heads, pieces: vec!["one", "two"] });
        let copy = Rc::new(RefCell::new(Vec::new()));
        let taken = Rc::clone(&copy);
        world.listen(v2, Rc::new(move |end| -> Task { Box::pin(mirror(end, Rc::clone(&taken))) }));
        let first = worker_config(CONFIGURATION, None);
        let (cx, _spout) = context(&first, &Arc::<Shard>::default(), 7);
        let lanes = Rc::new(Lanes::default());
        lanes.follow(&cx, None).await;
        heartbeat::begin(&cx, &lanes, &Rc::default());

        let place = cx.places.take([192, 0, 2, 1].into(), usize::MAX).expect("there is no bound");
        let caller = Caller {
            address: b"192.0.2.1",
            address_port: 4321,
            port: 80,
            listener: 0,
            scheme: Scheme::Http,
            is_http2: false,
            place: &place,
            secured: None,
        };
        let mut head = b"POST /orders HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n".to_vec();
        let prepared = exchange::prepare(&cx, &caller, &mut head, 0);
        let mut request = prepared.unwrap_or_else(|(refusal, _)| panic!("refused: {refusal:?}"));
        let mut content =
            Content { pieces: [b"hello ".to_vec(), b"world".to_vec()].into(), ..Content::default() };
        let mut responder = Responder::default();
        let mut message = server::Message {
            content: server::Content::Memory(&mut content),
            responder: server::Responder::Memory(&mut responder),
        };
        assert!(exchange::take_arrived(&mut request, &mut message.content).is_ok());
        let outcome = exchange::run(&cx, &mut message, &mut request).await;
        assert!(matches!(outcome, Outcome::Answered { status: 201, is_forwarded: true }));
        drop(request);

        let content = |text: &str| Sent::Content(text.as_bytes().to_vec());
        let sent = [
            Sent::Interim(103),
            Sent::Head(201),
            content("one"),
            content("two"),
            Sent::End(Vec::new()),
            Sent::Complete,
        ];
        assert_eq!(responder.sent, sent);
        let requests = upstream.requests.take();
        assert_eq!(requests.len(), 1);
        let sent = String::from_utf8_lossy(&requests[0]).into_owned();
        assert!(sent.starts_with("POST /orders HTTP/1.1\r\nHost: a\r\n"), "{sent}");
        assert!(sent.ends_with("\r\n\r\nhello world"), "{sent}");

        let mirror = first.counters.mirrors[0].first().expect("the route's mirror");
        while mirror.completed.sum() == 0 {
            world.sleep_us(10_000).await;
        }
        balances(mirror);
        let copied = String::from_utf8_lossy(&copy.borrow()).into_owned();
        assert!(copied.starts_with("POST /orders HTTP/1.1\r\nHost: a"), "{copied}");
        assert!(copied.ends_with("\r\n\r\nhello world"), "{copied}");
    });
}
