//! The command line: what was asked for, and the exit code that answers it.
//!
//! It knows no socket and no thread, and it never ends the process itself.

mod diffs;
mod histogram;
mod cluster;
mod verdict;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use config::Config;
use config::check::Checked;
use config::manifest::{self, Manifests};
use tracing_subscriber::filter::LevelFilter;

use crate::explain;
use crate::logging::{self, complain};
use crate::server::certificates;
use crate::server::privileges::{self, Privileges};
use crate::server::{self, Ending, Source};
use crate::visible::visible_lines;

/// Serve every request from the primary and send a copy to the mirrors.
///
/// Without --config and --manifest it starts the embedded default: sample services v1 and v2 in this process, the
/// gateway on 127.0.0.1:8080 and the admin listener on 127.0.0.1:9901.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about, disable_help_subcommand = true)]
struct Args {
    #[command(flatten)]
    input: Input,

    /// Serve by what the files say whenever they change, as after SIGHUP
    #[arg(long)]
    watch: bool,

    /// What is logged on standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "UMBRA_LOG", default_value = "info", global = true)]
    log: LevelFilter,

    /// How each of its lines looks
    #[arg(long, value_name = "FORMAT", env = "UMBRA_LOG_FORMAT", value_enum, default_value_t, global = true)]
    log_format: logging::Format,

    #[command(subcommand)]
    verb: Option<Verb>,
}

/// Where the configuration comes from.
#[derive(Debug, Clone, clap::Args)]
struct Input {
    /// Configuration to serve; beside --manifest, everything in it that is no route and no upstream
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// Istio or Gateway API manifest to serve: a file, a directory, or - for standard input; may be repeated
    #[arg(long, value_name = "PATH", global = true)]
    manifest: Vec<PathBuf>,

    /// Addresses of a manifest's service: the word before `=` may go on with /SUBSET and :PORT, several addresses are
    /// divided by commas; may be repeated
    #[arg(long, value_name = "SERVICE=ADDRESS", global = true)]
    endpoint: Vec<String>,

    /// Address to listen on with --manifest or --kubernetes; may be repeated
    #[arg(long, value_name = "ADDRESS", global = true)]
    listen: Vec<String>,

    #[command(flatten)]
    cluster: cluster::Arguments,
}

impl Input {
    fn source(self) -> Source {
        let Self { config, manifest, endpoint, listen, cluster } = self;
        if cluster.kubernetes {
            return Source::Cluster(cluster.cluster(listen, config));
        }
        if !manifest.is_empty() {
            return Source::Manifests(Manifests {
                paths: manifest,
                endpoints: endpoint,
                listen,
                settings: config,
            });
        }
        config.map_or(Source::Embedded, Source::File)
    }
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Check what --config or --manifest name and print every problem with its line
    Check,
    /// Print the TOML that says the same as the manifests
    Convert,
    /// Tell which route a request takes and why, and what each wire will carry
    Explain(Request),
    /// Print how long v1 and v2 took, side by side, as a running gateway counts it
    Histogram(histogram::Histogram),
    /// Print what v2 says otherwise than v1, as a running gateway has found it; exit code 1 where there is any
    Diffs(diffs::Diffs),
    /// Ask a running gateway whether v2 is ready; exit code 0 promote, 1 reject, 3 hold, 2 cannot be told
    Verdict(verdict::Verdict),
}

/// A request as curl would make it.
#[derive(Debug, Clone, clap::Args)]
struct Request {
    /// Method, unless it is GET; then the URL
    #[arg(value_name = "[METHOD] URL", num_args = 1..=2, required = true)]
    request: Vec<String>,

    /// A field: 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,
}

/// Does what the arguments ask and returns the exit code: 0 done, 1 refused to start (or told twice to stop),
/// 2 the arguments make no sense, 70 a part of the running gateway died.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args = match parse(args) {
        Ok(args) => args,
        Err(error) => {
            // `--help` and `--version` come as errors too; clap knows which stream and which code each deserves.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let source = args.input.source();
    match args.verb {
        None => {
            // Before there is a second thread, whose capabilities would be its own.
            let privileges = privileges::give_up();
            // Dropped before `main` ends the process, which is when the last lines reach standard error.
            let _flush = logging::start(args.log, args.log_format);
            let privileges = privileges
                .inspect_err(|error| tracing::warn!("privileges could not be given up: {error}"))
                .ok();
            serve(&source, args.watch, privileges)
        }
        Some(Verb::Check) => check(&source),
        Some(Verb::Convert) => convert(&source),
        Some(Verb::Explain(request)) => explain(&source, &request),
        Some(Verb::Histogram(histogram)) => histogram.run(),
        Some(Verb::Diffs(diffs)) => diffs.run(),
        Some(Verb::Verdict(verdict)) => verdict.run(),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let args = Args::try_parse_from(args)?;
    let missing = |what: &str| Err(Args::command().error(ErrorKind::MissingRequiredArgument, what));
    let Input { config, manifest, endpoint, listen, cluster } = &args.input;
    let is_told = !manifest.is_empty() || cluster.kubernetes;
    match &args.verb {
        _ if cluster.kubernetes && !(manifest.is_empty() && endpoint.is_empty()) => {
            let message = "--manifest and --endpoint have no part in --kubernetes";
            Err(Args::command().error(ErrorKind::ArgumentConflict, message))
        }
        Some(Verb::Check | Verb::Explain(_)) if config.is_none() && !is_told => {
            missing("this needs --config FILE, --manifest PATH or --kubernetes")
        }
        Some(Verb::Convert) if manifest.is_empty() => missing("convert needs --manifest PATH"),
        _ if manifest.is_empty() && !endpoint.is_empty() => missing("--endpoint needs --manifest PATH"),
        _ if !is_told && !listen.is_empty() => missing("--listen needs --manifest PATH or --kubernetes"),
        Some(
            Verb::Check
            | Verb::Convert
            | Verb::Explain(_)
            | Verb::Histogram(_)
            | Verb::Diffs(_)
            | Verb::Verdict(_),
        )
        | None => Ok(args),
    }
}

fn check(source: &Source) -> i32 {
    if let Source::Cluster(cluster) = source {
        return cluster::check(cluster);
    }
    match certificates::read(source) {
        Ok(Checked { config, warnings, .. }) => {
            complain(warnings.iter().map(|w| format!("warning: {w}")));
            let _ = writeln!(io::stdout(), "{}: ok: {}", source.name(), summary(&config));
            0
        }
        Err(problems) => {
            complain(&problems);
            1
        }
    }
}

fn convert(source: &Source) -> i32 {
    let Source::Manifests(manifests) = source else { return 2 };
    match manifest::convert(manifests) {
        Ok((text, warnings)) => {
            complain(warnings.iter().map(|w| format!("warning: {w}")));
            let _ = write!(io::stdout(), "{text}");
            0
        }
        Err(problems) => {
            complain(&problems);
            1
        }
    }
}

fn explain(source: &Source, request: &Request) -> i32 {
    let (method, url) = match request.request.as_slice() {
        [url] => ("GET", url.as_str()),
        [method, url] => (method.as_str(), url.as_str()),
        _ => return 2,
    };
    let asked = match explain::Question::new(method, url, &request.headers) {
        Ok(asked) => asked,
        Err(why) => {
            complain([why]);
            return 2;
        }
    };
    if let Source::Cluster(cluster) = source
        && let Err(why) = cluster::read(cluster)
    {
        complain([why]);
        return 1;
    }
    match source.read() {
        Ok(Checked { config, .. }) => {
            let told = explain::explain(&config, &asked);
            let _ = write!(io::stdout(), "{}", told.text);
            i32::from(!told.served)
        }
        Err(problems) => {
            complain(&problems);
            1
        }
    }
}

fn serve(source: &Source, watched: bool, privileges: Option<Privileges>) -> i32 {
    match server::serve(source, watched, privileges) {
        Ok(ending) => match ending {
            Ending::Drained => 0,
            Ending::Hurried => 1,
            Ending::Broken => 70,
        },
        Err(problems) => {
            complain(&problems);
            1
        }
    }
}

/// What was asked for, as lines. Much of it was said by v1, v2 and clients: nothing of theirs acts on a terminal. A closed
/// standard output is no failure.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(visible_lines(text).as_bytes());
}

fn summary(config: &Config) -> String {
    let mirrors: usize = config.routes.iter().map(|r| r.mirrors.len()).sum();
    let parts = [
        (config.listeners.len(), "listener"),
        (config.workers.count, "worker"),
        (config.upstreams.len(), "upstream"),
        (config.routes.len(), "route"),
        (mirrors, "mirror"),
    ];
    parts.map(|(n, what)| format!("{n} {what}{}", if n == 1 { "" } else { "s" })).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Args, clap::Error> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn no_argument_means_the_embedded_default() {
        let args = parsed("gateway").unwrap();
        assert!(args.input.config.is_none() && args.verb.is_none());
    }

    #[test]
    fn check_takes_its_file_on_either_side_of_the_verb() {
        for line in ["gateway check --config a.toml", "gateway --config a.toml check"] {
            let args = parsed(line).unwrap();
            assert_eq!(args.input.config, Some(PathBuf::from("a.toml")), "{line}");
            assert!(args.verb.is_some(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_2() {
        for line in [
            "gateway check",
            "gateway convert",
            "gateway explain --config a",
            "gateway --listen 127.0.0.1:1",
            "gateway --mesh",
            "gateway --kubernetes --manifest a.yaml",
            "gateway --kubernetes --endpoint a=127.0.0.1:1",
            "gateway --kubernetes --istio-selector nonsense",
            "gateway --kubernetes --publish-service nonsense",
            "gateway convert --kubernetes",
            "gateway --confg a",
            "gateway --log loud",
            "gateway --log-format xml",
            "gateway serve",
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
        }
    }

    #[test]
    fn version_is_the_packages_own() {
        let error = parsed("gateway --version").unwrap_err();
        assert_eq!(error.exit_code(), 0);
        assert!(error.to_string().contains(env!("CARGO_PKG_VERSION")), "{error}");
    }
}
