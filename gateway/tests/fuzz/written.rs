//! Configurations and manifests: any text is read, or refused with words and a line, and a configuration that was read is
//! written so that it reads the same.

use std::cell::OnceCell;
use std::fs;

use config::manifest::{self, Manifests};
use config::{Action, Config, Problem};
use tempfile::TempDir;

use crate::dice::{Dice, run};

pub(crate) const TOML: [&[u8]; 5] = [
    include_bytes!("../../../config/gateway.toml"),
    include_bytes!("../../../config/examples/mirror-policy.toml"),
    b"[[listener]]\nbind = \"127.0.0.1:0\"\n[upstream.v1]\nendpoints = [\"127.0.0.1:1\"]\n[[route]]\nprimary = \"v1\"\n",
    b"listener = [{ bind = '[::1]:80' }]\nupstream = { \"a b\" = { endpoints = ['x.example:1'], balance = \"hash\", hash_by = 'cookie:c' } }\nroute = []\n",
    b"[limits]\nrequest_body_bytes_max = \"1GiB\"\n[timeouts]\nrequest = \"1h\"\n[[route]]\nwhen = [{ header = \"x\", regex = \"a+\" }]\nredirect = { status = 308, path = \"/\" }\n",
];

pub(crate) const YAML: [&[u8]; 4] = [
    include_bytes!("../../../config/examples/istio/virtualservice.yaml"),
    include_bytes!("../../../config/examples/istio/destinationrule.yaml"),
    include_bytes!("../../../config/examples/gateway-api/httproute.yaml"),
    b"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.example], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: 127.0.0.1, labels: {version: v1}}]}\n",
];

const SCRAPS: [&[u8]; 40] = [
    b"\"",
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"=",
    b".",
    b",",
    b"#",
    b"\n",
    b"\r\n",
    b"\0",
    b"\xff",
    b": ",
    b"- ",
    b"  ",
    b"-1",
    b"0",
    b"1e400",
    b"99999999999999999999",
    b"nan",
    b"true",
    b"null",
    b"~",
    b"&a",
    b"*a",
    b"!!binary",
    b"---\n",
    b"|\n",
    b"<<: ",
    b"? ",
    b"\"v1\"",
    b"percent = 250\n",
    b"[[route.mirrors]]\n",
    b"\"1KiB\"",
    b"\"0s\"",
    b"regex: \"(\"",
    b"weight: 4294967296",
    b"name: \"\\u0000\"",
];

#[test]
fn a_configuration_that_is_read_is_written_so_that_it_reads_the_same_and_any_other_is_refused_with_its_line()
{
    run(toml);
}

pub(crate) fn toml(dice: &mut Dice) {
    let text = dice.text(&TOML, &SCRAPS);
    let Ok(text) = std::str::from_utf8(&text) else { return };
    match config::parse("t.toml", text) {
        Ok(read) => reads_the_same(&read.config, &read.written.whole, text),
        Err(problems) => are_told(&problems, text),
    }
}

#[test]
fn a_manifest_that_is_read_says_the_same_as_toml_and_any_other_is_refused_with_its_line() {
    run(yaml);
}

thread_local! {
    /// Where a manifest is left to be read.
    static DIRECTORY: OnceCell<TempDir> = const { OnceCell::new() };
}

pub(crate) fn yaml(dice: &mut Dice) {
    let text = dice.text(&YAML, &SCRAPS);
    let new = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
    let path = DIRECTORY.with(|directory| directory.get_or_init(new).path().join("m.yaml"));
    fs::write(&path, &text).expect("a file");
    let endpoints = ["httpbin/v1", "httpbin/v2", "httpbin", "v1", "v2"].map(|of| format!("{of}=127.0.0.1:1"));
    let manifests = Manifests { paths: vec![path], endpoints: endpoints.into(), ..Manifests::default() };
    let shown = String::from_utf8_lossy(&text);
    match (manifest::load(&manifests), manifest::convert(&manifests)) {
        (Ok(read), Ok((toml, _))) => {
            reads_the_same(&read.config, &read.written.whole, &shown);
            reads_the_same(&read.config, &toml, &shown);
        }
        (Err(problems), Err(_)) => are_told(&problems, &shown),
        (read, converted) => panic!("{read:?} beside {converted:?}: {shown}"),
    }
}

fn reads_the_same(config: &Config, written: &str, text: &str) {
    let again = config::parse("written", written);
    let mut again = again.unwrap_or_else(|why| panic!("{why:?}\n of\n{written}\n from\n{text}")).config;
    // The admin token is never written down.
    again.admin.token.clone_from(&config.admin.token);
    assert_eq!(in_order(again), in_order(config.clone()), "\n{written}\n from\n{text}");
}

/// With its upstreams by name: which of them is written first says nothing.
fn in_order(mut config: Config) -> Config {
    let mut order: Vec<usize> = (0..config.upstreams.len()).collect();
    order.sort_by(|a, b| config.upstreams[*a].name.cmp(&config.upstreams[*b].name));
    let place = |id: usize| order.iter().position(|old| *old == id).expect("an upstream there is");
    for route in &mut config.routes {
        if let Action::Forward(forward) = &mut route.action {
            forward.primaries.iter_mut().for_each(|primary| primary.upstream = primary.upstream.map(place));
        }
    }
    config.lanes.iter_mut().for_each(|lane| lane.upstream = place(lane.upstream));
    config.upstreams = order.iter().map(|old| config.upstreams[*old].clone()).collect();
    config
}

fn are_told(problems: &[Problem], text: &str) {
    assert!(!problems.is_empty(), "refused without a word:\n{text}");
    // YAML ends lines with a bare CR too.
    let lines = text.bytes().filter(|b| matches!(b, b'\n' | b'\r')).count() + 1;
    for problem in problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}:\n{text}");
        assert!(!problem.message.contains('\n'), "{problem}:\n{text}");
    }
}
