//! Finding a request's route among 1, 100 and 10,000, where the last one matches, and where none does.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use gateway::asked::{RequestView, Scheme, Version};
use gateway::route::Router;

/// Routes by path and by host in equal parts, as configurations have them.
fn router(routes: usize) -> Router {
    let mut text =
        String::from("[[listener]]\nbind = \"127.0.0.1:0\"\n[upstream.v1]\nendpoints = [\"127.0.0.1:9\"]\n");
    for index in 0..routes {
        let host = if index % 2 == 1 { format!("host = \"h{index}.example.com\"\n") } else { String::new() };
        text.push_str(&format!("[[route]]\n{host}path_prefix = \"/service-{index}/\"\nprimary = \"v1\"\n"));
    }
    let checked =
        config::parse("routes", &text).unwrap_or_else(|problems| panic!("{} problems", problems.len()));
    Router::new(&checked.config.routes)
}

fn find(criterion: &mut Criterion) {
    for routes in [1, 100, 10_000] {
        let router = router(routes);
        let last = routes - 1;
        let (host, path) = (format!("h{last}.example.com"), format!("/service-{last}/items/42"));
        let fields: [(String, String); 0] = [];
        let asked = |host, path| RequestView {
            method: b"GET",
            scheme: Scheme::Http,
            authority: host,
            path,
            query: None,
            port: 80,
            address: b"192.0.2.1",
            address_port: 49_152,
            version: Version::Http11,
            certificate: &[],
            fields: &fields,
        };
        let found = router.find(&asked(host.as_bytes(), path.as_bytes())).map(|found| found.route);
        assert_eq!(found, Some(last));
        let mut group = criterion.benchmark_group(format!("route/{routes}"));
        group.bench_function("last", |b| {
            b.iter(|| router.find(&asked(black_box(host.as_bytes()), black_box(path.as_bytes()))));
        });
        group.bench_function("none", |b| {
            b.iter(|| router.find(&asked(black_box(b"h.example.com"), black_box(b"/elsewhere/items/42"))));
        });
        group.finish();
    }
}

criterion_group!(benches, find);
criterion_main!(benches);
