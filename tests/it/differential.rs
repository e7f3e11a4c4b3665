//! The rows of the matrix once more, through others: nginx and HAProxy as proxies, h11 and llhttp as parsers. Ours must agree
//! with every row; the others' results are printed, for people to read (`bench/runs`, differential).

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tests::answer_rows::{self, Gets};
use tests::message::Read;
use tests::table::Row;
use tests::{After, Client, Origin, Process, Request, Response, Setup, eventually, python, request_rows};

/// A proxy that says nothing for this long waits for more.
const SILENCE: Duration = Duration::from_millis(400);

/// Rows with more than one right outcome: not counted against a peer that chose another than ours.
const CHOICES: &[(&str, &str)] = &[
    ("R2", "a recipient may take LF for a line end (RFC 9112 §2.2)"),
    ("R4", "a recipient may take any white space for the space (RFC 9112 §3)"),
    ("R8", "a limit, to be set"),
    ("R9", "a limit, to be set"),
    ("R12", "a proxy may forward CONNECT"),
    ("R13 empty lines", "at least one is passed over (RFC 9112 §2.2); how many is a limit"),
    ("H2", "a fold may be replaced by spaces (RFC 9112 §5.2)"),
    ("H5 0x01", "control characters may be kept (RFC 9110 §5.5)"),
    ("H5 0x08", "as above"),
    ("H5 0x0b", "as above"),
    ("H5 0x0c", "as above"),
    ("H5 0x1f", "as above"),
    ("H5 0x7f", "as above"),
    ("H8", "a limit, to be set"),
    ("H9", "names may change their case (RFC 9110 §5.1)"),
    ("H10", "which names a proxy drops is its configuration"),
    ("F1", "Transfer-Encoding may override Content-Length (RFC 9112 §6.1)"),
    ("F2 F3 \"Content-Length: 5\\r\\nContent-Length: 5\"", "equal lengths may be made one (RFC 9110 §8.6)"),
    ("F2 F3 \"Content-Length: 5\\r\\ncontent-length: 5\"", "as above"),
    ("F2 F3 \"Content-Length: 5, 5\"", "as above"),
    ("C6 trailers too many", "a limit, to be set"),
    ("C6 trailers that may not be", "trailers may be refused"),
    ("C7", "a limit, to be set"),
    ("P2", "which fields a proxy adds, and keeps from being nominated, is its configuration"),
    ("P3", "Proxy-Authorization may be passed on (RFC 9110 §11.7.2)"),
    ("P4", "which fields a proxy adds is its configuration"),
    ("P5", "a proxy may forward TRACE"),
    ("U2", "a proxy may forward an upgrade"),
    ("U3", "a proxy may forward an upgrade"),
    ("U7 another expectation", "417 is a MAY (RFC 9110 §10.1.1)"),
    ("S6 a head of 1 MiB", "a limit, to be set"),
    ("S6 1000 fields", "a limit, to be set"),
    ("S6 bare LF", "as R2"),
    ("S6 obs-fold", "as H2"),
    ("S1 a length twice", "as F3"),
];

fn is_choice(name: &str) -> bool {
    CHOICES
        .iter()
        .any(|(row, _)| name == *row || name.strip_prefix(row).is_some_and(|rest| rest.starts_with(' ')))
}

/// The first letter of a row's id; rows that every proxy should pass have none.
fn group(name: &str) -> String {
    let id = name.split(' ').next().unwrap_or_default();
    let is_id = id.len() <= 3 && id[1..].parse::<u8>().is_ok();
    if is_id { id[..1].to_owned() } else { "plain".to_owned() }
}

/// The score of a peer.
#[derive(Default)]
struct Score {
    /// Rows with one right outcome: held, and all.
    by_group: BTreeMap<String, (usize, usize)>,
    /// Rows with more than one: as ours, and all.
    choices: (usize, usize),
    disagreements: Vec<(String, String)>,
    chose: Vec<String>,
}

impl Score {
    fn note(&mut self, name: &str, outcome: Result<(), String>) {
        let chooses = is_choice(name);
        let of = if chooses { &mut self.choices } else { self.by_group.entry(group(name)).or_default() };
        of.1 += 1;
        match outcome {
            Ok(()) => of.0 += 1,
            Err(_) if chooses => self.chose.push(name.to_owned()),
            Err(what) => self.disagreements.push((name.to_owned(), what)),
        }
    }
}

/// A proxy in front of an origin of its own.
struct Peer {
    name: &'static str,
    address: SocketAddr,
    origin: Arc<Origin>,
    /// Ends when dropped.
    _process: Box<dyn Any>,
}

const PEERS: [&str; 3] = ["Umbra", "nginx", "HAProxy"];

fn start(name: &'static str, origin: Origin) -> Peer {
    let origin = Arc::new(origin);
    let dir = std::env::temp_dir().join(format!("differential-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a folder");
    let (address, process): (_, Box<dyn Any>) = match name {
        "Umbra" => {
            let gateway = Setup::new(&origin).start();
            (gateway.address, Box::new(gateway))
        }
        "nginx" => {
            let address = free_port();
            let file = dir.join("nginx.conf");
            let text = format!(
                "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n\
                 events {{}}\n\
                 http {{ access_log off; client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; \
                 fastcgi_temp_path {0}/fastcgi; uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;\n\
                 upstream v1 {{ server {1}; keepalive 8; }}\n\
                 server {{ listen {2}; location / {{ proxy_pass http://v1; proxy_http_version 1.1; \
                 proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_next_upstream off; }} }} }}\n",
                dir.display(),
                origin.address,
                address
            );
            fs::write(&file, text).expect("nginx.conf");
            (address, Box::new(Process::spawn(Command::new("nginx").arg("-c").arg(&file))))
        }
        _ => {
            let address = free_port();
            let file = dir.join("haproxy.cfg");
            let text = format!(
                "defaults\n  mode http\n  timeout connect 2s\n  timeout client 10s\n  timeout server 10s\n  retries 0\n\
                 frontend in\n  bind {address}\n  default_backend v1\n\
                 backend v1\n  http-reuse always\n  server v1 {}\n",
                origin.address
            );
            fs::write(&file, text).expect("haproxy.cfg");
            (address, Box::new(Process::spawn(Command::new("haproxy").arg("-db").arg("-f").arg(&file))))
        }
    };
    eventually(name, || TcpStream::connect(address).is_ok());
    Peer { name, address, origin, _process: process }
}

/// A port that is free just now: these peers cannot be asked to choose one themselves.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("its address")
}

/// The peer's bytes: answers, and how the connection ended.
struct Heard {
    answers: Vec<Response>,
    closed: bool,
    /// Bytes that are no answer.
    rest: usize,
}

/// Reads answers until `n` came, the peer closes, or it has been silent.
fn hear(client: &mut Client, n: usize, to_head: bool) -> Heard {
    let mut answers = Vec::new();
    let mut since = Instant::now();
    while answers.len() < n {
        let before = client.inbox.len();
        let closed = client.has_ended();
        match Response::read(&client.inbox, to_head && answers.len() + 1 == n, closed) {
            Read::Complete(answer, used) => {
                client.inbox.drain(..used);
                answers.push(answer);
                since = Instant::now();
            }
            Read::Invalid(_) => break,
            Read::Partial if closed || since.elapsed() > SILENCE => break,
            Read::Partial => {
                client.receive();
                if client.inbox.len() > before {
                    since = Instant::now();
                }
            }
        }
    }
    Heard { answers, closed: client.has_ended(), rest: client.inbox.len() }
}

fn statuses(heard: &Heard) -> String {
    let mut said: Vec<String> = heard.answers.iter().map(|a| a.status.to_string()).collect();
    if heard.rest > 0 {
        said.push(format!("{} bytes that are no answer", heard.rest));
    }
    if said.is_empty() {
        said.push(if heard.closed { "closed" } else { "waits for more" }.to_owned());
    }
    said.join(", ")
}

fn request_row(peer: &Peer, row: &Row, each: fn(&Request) -> bool) -> Result<(), String> {
    let (seen, invalid) = (peer.origin.count(), peer.origin.invalid().len());
    let mut client = Client::connect(peer.address);
    client.send(&row.bytes);
    let heard = hear(&mut client, row.answers.len(), row.to_head);
    drop(client);
    let invalid = peer.origin.invalid().split_off(invalid);
    if let Some(what) = invalid.first() {
        return Err(format!(
            "the origin got what is no HTTP/1.1 request: {what}; answered {}",
            statuses(&heard)
        ));
    }
    let requests = peer.origin.requests().split_off(seen);
    let served = heard.answers.iter().take_while(|answer| answer.status == 200).count();
    if served != row.served || requests.len() != row.served {
        return Err(format!(
            "{} of {} served; the origin got {}; answered {}",
            served,
            row.served,
            requests.len(),
            statuses(&heard)
        ));
    }
    // A refusal is in words, by closing, or by waiting for the rest of the request: the origin did not get it.
    if let Some(refusal) = heard.answers.get(served)
        && refusal.status < 400
    {
        return Err(format!("answered {}", statuses(&heard)));
    }
    let checked = (row.check)(&requests, &requests) && requests.iter().all(each);
    if checked { Ok(()) } else { Err(format!("served, but the origin got {}", told(&requests))) }
}

fn told(requests: &[Request]) -> String {
    let one = |r: &Request| {
        let fields: Vec<String> = r.fields.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        format!("{} {} [{}] {} bytes", r.method, r.target, fields.join(" | "), r.body.len())
    };
    requests.iter().map(one).collect::<Vec<_>>().join(" and ")
}

fn answer_row(peer: &Peer, n: usize, row: &answer_rows::Row) -> Result<(), String> {
    let mut client = Client::connect(peer.address);
    client.send(format!("{} /row/{n} HTTP/1.1\r\nHost: a\r\n\r\n", row.method));
    let heard = hear(&mut client, 1, row.method == "HEAD");
    let refused = heard.answers.first().is_some_and(|answer| answer.status >= 500);
    let cut = heard.answers.is_empty() && heard.closed;
    let fits = match &row.gets {
        Gets::Answer(status, content, check) => heard
            .answers
            .first()
            .is_some_and(|answer| answer.status == *status && answer.body == *content && check(answer)),
        Gets::BadGateway | Gets::Broken => refused || cut,
        Gets::Cut => cut,
    };
    if !fits {
        let body = heard.answers.first().map(|a| a.text().chars().take(60).collect::<String>());
        return Err(format!(
            "{} {:?}{}",
            statuses(&heard),
            body.unwrap_or_default(),
            if cut { ", cut" } else { "" }
        ));
    }
    drop(client);
    let mut client = Client::connect(peer.address);
    client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let heard = hear(&mut client, 1, false);
    match heard.answers.first() {
        Some(answer) if answer.status == 200 && answer.text() == "/next" => Ok(()),
        other => {
            let got =
                other.map(|a| format!("{} {:?}", a.status, a.text().chars().take(40).collect::<String>()));
            Err(format!("the next client got {}", got.unwrap_or_else(|| statuses(&heard))))
        }
    }
}

/// Answers `/row/N` as row N says, and everything else with its own target.
fn origin_of(rows: &Arc<Vec<answer_rows::Row>>) -> Origin {
    let rows = Arc::clone(rows);
    Origin::new(move |request, stream| {
        let own = &request.target;
        let row = own.strip_prefix("/row/").and_then(|n| n.parse::<usize>().ok()).and_then(|n| rows.get(n));
        match row {
            Some(row) => match tests::origin::write(stream, &row.answer) {
                After::Keep => row.after,
                other => other,
            },
            None => tests::origin::write(
                stream,
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{own}", own.len()),
            ),
        }
    })
}

/// How many complete requests each parser finds in each row, and its complaint.
fn parsed(rows: &[Vec<u8>]) -> Vec<BTreeMap<String, (usize, Option<String>)>> {
    let venv = python::environment("parsers", &["h11==0.16.0", "llhttp==9.3.0.0"]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/support/parsers.py");
    let file = std::env::temp_dir().join(format!("differential-rows-{}", std::process::id()));
    let hex = |row: &Vec<u8>| row.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    fs::write(&file, rows.iter().map(hex).collect::<Vec<_>>().join("\n")).expect("the rows");
    let output = Command::new(venv.join("bin/python"))
        .arg(script)
        .stdin(Stdio::from(File::open(&file).expect("the rows")))
        .output()
        .expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let _ = fs::remove_file(&file);
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn by_parser(row: &Row, found: &(usize, Option<String>)) -> Result<(), String> {
    let (complete, error) = found;
    if *complete == row.served {
        return Ok(());
    }
    let error = error.as_ref().map_or_else(String::new, |e| format!(", then: {e}"));
    Err(format!("{complete} complete requests instead of {}{error}", row.served))
}

#[test]
#[ignore = "compares others; needs nginx and haproxy, and takes minutes"]
fn every_row_holds_here_whatever_others_make_of_it() {
    let answers = Arc::new(answer_rows::all());
    let peers = PEERS.map(|name| start(name, origin_of(&answers)));
    let mut scores: BTreeMap<&str, Score> = BTreeMap::new();
    let rows: Vec<_> = request_rows::all().into_iter().map(|case| case.parts()).collect();
    let parsers = parsed(&rows.iter().map(|(row, _)| row.bytes.clone()).collect::<Vec<_>>());
    assert_eq!(parsers.len(), rows.len());
    for ((row, each), parsed) in rows.iter().zip(&parsers) {
        for peer in &peers {
            scores.entry(peer.name).or_default().note(&row.name, request_row(peer, row, *each));
        }
        for (name, found) in parsed {
            let name = if name == "h11" { "h11" } else { "llhttp" };
            scores.entry(name).or_default().note(&row.name, by_parser(row, found));
        }
    }
    for (n, row) in answers.iter().enumerate() {
        for peer in &peers {
            scores.entry(peer.name).or_default().note(row.name, answer_row(peer, n, row));
        }
    }
    println!("{}", report(&scores));
    let ours = &scores["Umbra"];
    assert!(
        ours.disagreements.is_empty() && ours.chose.is_empty(),
        "{:#?} {:?}",
        ours.disagreements,
        ours.chose
    );
}

fn report(scores: &BTreeMap<&str, Score>) -> String {
    let names = ["Umbra", "nginx", "HAProxy", "h11", "llhttp"];
    let mut out = format!("\n| rows | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    let groups: Vec<&String> = scores["Umbra"].by_group.keys().collect();
    for group in &groups {
        let cell = |name: &&str| {
            let of = scores[name].by_group.get(*group);
            of.map_or_else(|| "–".to_owned(), |(held, all)| format!("{held}/{all}"))
        };
        let _ = writeln!(out, "| {group} | {} |", names.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    let total = |name: &&str| {
        let all = scores[name].by_group.values().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        format!("{}/{}", all.0, all.1)
    };
    let _ = writeln!(out, "| all | {} |", names.iter().map(total).collect::<Vec<_>>().join(" | "));
    let chosen = |name: &&str| format!("{}/{}", scores[name].choices.0, scores[name].choices.1);
    let _ = writeln!(
        out,
        "| as ours, where RFCs leave a choice | {} |",
        names.iter().map(chosen).collect::<Vec<_>>().join(" | ")
    );
    out.push_str("\n## Rows with a choice\n\n");
    for (row, why) in CHOICES {
        let _ = writeln!(out, "- `{row}`: {why}");
    }
    for name in names {
        let _ = writeln!(out, "\n## {name}\n\nChose otherwise: {}\n", scores[name].chose.join("; "));
        for (row, what) in &scores[name].disagreements {
            let _ = writeln!(out, "- `{}`: {}", row.replace('`', "'"), what.replace(['\r', '\n'], " "));
        }
    }
    out
}
