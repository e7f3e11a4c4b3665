//! A gateway process: built once, started with a configuration, watched from outside.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use crate::{Client, Metrics, Origin, PATIENCE, Response};

/// The binary under test: `UMBRA_GATEWAY_BIN`, or built by cargo in the profile of this test.
pub fn binary() -> &'static PathBuf {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("UMBRA_GATEWAY_BIN") {
            return path.into();
        }
        built("gateway")
    })
}

/// The workspace's binary of this name, built by cargo in the profile of this test.
pub fn built(name: &str) -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    // A test among the targets makes the features those of `cargo test --workspace`: its build is fresh, and nothing is
    // compiled beside running tests.
    build.args(["build", "--workspace", "--bin", name, "--test", "it", "--message-format=json"]);
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    let output =
        build.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().expect("cargo");
    assert!(output.status.success(), "{name} does not build");
    let lines = String::from_utf8(output.stdout).expect("json is UTF-8");
    let executables = lines.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    executables
        .filter(|message| message["target"]["name"] == name)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .expect("cargo names the executable")
}

/// A running gateway; killed when dropped.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: SocketAddr,
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    /// Holds the file it was started with.
    directory: tempfile::TempDir,
}

/// A configuration in the making: one route from everything to one primary and its mirrors, unless said otherwise.
#[derive(Debug, Clone)]
pub struct Setup {
    primary: Vec<SocketAddr>,
    mirrors: Vec<(String, SocketAddr, String)>,
    sections: String,
    workers: usize,
    driver: String,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Everything goes to `primary`.
    pub fn new(primary: &Origin) -> Self {
        Self::to(&[primary.address])
    }

    pub fn to(primary: &[SocketAddr]) -> Self {
        Self {
            primary: primary.to_vec(),
            mirrors: Vec::new(),
            sections: String::new(),
            workers: 1,
            driver: std::env::var("UMBRA_TEST_DRIVER").unwrap_or_else(|_| "auto".into()),
            environment: Vec::new(),
        }
    }

    /// Adds a mirror called `name`; `keys` are further keys of its table, such as `percent = 50`.
    #[must_use]
    pub fn mirror(mut self, name: &str, address: SocketAddr, keys: &str) -> Self {
        self.mirrors.push((name.into(), address, keys.into()));
        self
    }

    /// Adds whole tables to the file.
    #[must_use]
    pub fn with(mut self, toml: &str) -> Self {
        let _ = writeln!(self.sections, "{toml}");
        self
    }

    #[must_use]
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    #[must_use]
    pub fn driver(mut self, driver: &str) -> Self {
        self.driver = driver.into();
        self
    }

    #[must_use]
    pub fn environment(mut self, key: &str, value: &str) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// The file's text.
    pub fn toml(&self) -> String {
        let addresses: Vec<String> = self.primary.iter().map(|a| format!("{:?}", a.to_string())).collect();
        let mut text = format!(
            "[[listener]]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [workers]\ncount = {}\npin = false\ndriver = \"{}\"\n[upstream.primary]\nendpoints = [{}]\n",
            self.workers,
            self.driver,
            addresses.join(", ")
        );
        for (name, address, _) in &self.mirrors {
            let _ = writeln!(text, "[upstream.{name}]\nendpoints = [\"{address}\"]");
        }
        text.push_str(&self.sections);
        let mirrors: Vec<String> = self
            .mirrors
            .iter()
            .map(|(name, _, keys)| {
                let comma = if keys.is_empty() { "" } else { ", " };
                format!("{{ upstream = \"{name}\"{comma}{keys} }}")
            })
            .collect();
        let _ = writeln!(
            text,
            "[[route]]\nname = \"all\"\npath_prefix = \"/\"\nprimary = \"primary\"\nmirrors = [{}]",
            mirrors.join(", ")
        );
        text
    }

    #[track_caller]
    pub fn start(&self) -> Gateway {
        Gateway::start(&self.toml(), &self.environment)
    }

    /// Runs it on a file that cannot be served; returns its output at its end.
    #[track_caller]
    pub fn refused(&self) -> Output {
        Gateway::refused(&self.toml())
    }
}

impl Gateway {
    /// Starts the gateway with this file and waits until it serves.
    #[track_caller]
    pub fn start(toml: &str, environment: &[(String, String)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, toml).expect("the configuration is written");
        let mut child = Command::new(binary())
            .arg("--config")
            .arg(&file)
            .envs(environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let (stdout, stderr) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<String>>::default());
        let (said, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let log = Arc::clone(&stdout);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                log.lock().expect("stdout").push_str(&(line.clone() + "\n"));
                let _ = said.send(line);
            }
        });
        let mut err = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let log = Arc::clone(&stderr);
        std::thread::spawn(move || {
            let mut block = [0; 4096];
            while let Ok(n @ 1..) = err.read(&mut block) {
                log.lock().expect("stderr").push_str(&String::from_utf8_lossy(&block[..n]));
            }
        });

        let (mut address, mut admin) = (None, None);
        let deadline = Instant::now() + PATIENCE;
        while address.is_none() || admin.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = lines.recv_timeout(left).unwrap_or_else(|_| {
                let _ = child.kill();
                panic!("the gateway does not serve:\n{toml}\n{}", stderr.lock().expect("stderr"))
            });
            if let Some(at) = line.strip_prefix("listening on ") {
                address = at.parse().ok();
            } else if let Some(at) = line.strip_prefix("admin on ") {
                admin = at.parse().ok();
            }
        }
        let (Some(address), Some(admin)) = (address, admin) else { unreachable!("the loop ends with both") };
        Self { address, admin, child, stdout, stderr, directory }
    }

    /// Runs `gateway check` on this text, written to a file called `gateway.toml`.
    pub fn check(toml: &str) -> Output {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, toml).expect("the configuration is written");
        Command::new(binary()).arg("check").arg("--config").arg(&file).output().expect("the gateway runs")
    }

    /// Runs the gateway on this text, written to a file called `gateway.toml`, and expects it to end by itself.
    #[track_caller]
    pub fn refused(toml: &str) -> Output {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, toml).expect("the configuration is written");
        Self::ends(Command::new(binary()).arg("--config").arg(&file))
    }

    /// Runs a command that must end in time.
    #[track_caller]
    pub fn ends(command: &mut Command) -> Output {
        let piped = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().expect("the command starts");
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().expect("wait").is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                panic!("it goes on running: {:?}", child.wait_with_output());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        child.wait_with_output().expect("output")
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address)
    }

    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::read(self.admin)
    }

    /// Waits until every copy for `mirror` is settled; its ledger must balance then.
    #[track_caller]
    pub fn settled(&self, mirror: &str) -> Metrics {
        Metrics::settled(self.admin, mirror)
    }

    /// The file it was started with.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("gateway.toml")
    }

    /// Writes its file anew, as editors do: a new file in the old one's place.
    pub fn write(&self, toml: &str) {
        let beside = self.directory.path().join("next.toml");
        std::fs::write(&beside, toml).expect("the configuration is written");
        std::fs::rename(beside, self.file()).expect("it takes the old one's place");
    }

    /// A request to the admin listener.
    pub fn admin(&self, method: &str, target: &str, body: &str) -> Response {
        self.admin_with(method, target, "", body)
    }

    /// As [`Gateway::admin`], with further header lines.
    pub fn admin_with(&self, method: &str, target: &str, lines: &str, body: &str) -> Response {
        let host = if lines.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.admin)
        };
        Client::connect(self.admin).ask(format!(
            "{method} {target} HTTP/1.1\r\n{host}Content-Type: application/json\r\n{lines}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().expect("stdout").clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().expect("stderr").clone()
    }

    /// Sends a signal by its name without SIG, as kill(1) takes it.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for the process to end.
    #[track_caller]
    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + 2 * PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                return status;
            }
            assert!(Instant::now() < deadline, "the gateway does not end:\n{}", self.stderr());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Resident memory in bytes.
    pub fn rss_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("status");
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }

    /// Open descriptors.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("fd").count()
    }

    /// How many it may have.
    pub fn descriptors_max(&self) -> usize {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.pid())).expect("limits");
        let line = limits.lines().find(|l| l.starts_with("Max open files")).expect("the limit");
        line.split_whitespace().nth(3).and_then(|n| n.parse().ok()).expect("a number")
    }

    /// From now on it gets no descriptor with this number or a higher one.
    pub fn allow_descriptors(&self, most: usize) {
        let arguments = [format!("--pid={}", self.pid()), format!("--nofile={most}:")];
        assert!(Command::new("prlimit").args(arguments).status().expect("prlimit").success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
