//! The command line: what was asked for, and the exit code that answers it.
//!
//! It knows no socket and no thread, and it never ends the process itself.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use config::Config;
use config::check::{self, Checked};
use tracing_subscriber::filter::LevelFilter;

use crate::logging;
use crate::server::{self, Ending, Source};

/// Serve every request from the primary and send a copy to the mirrors.
///
/// Without --config it starts the embedded default: sample services v1 and v2 in this process, the gateway on
/// 127.0.0.1:8080 and the admin listener on 127.0.0.1:9901.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about, disable_help_subcommand = true)]
struct Args {
    /// Configuration to serve
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// What is logged on standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "UMBRA_LOG", default_value = "info", global = true)]
    log: LevelFilter,

    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Verb {
    /// Check the file named by --config and print every problem with its line
    Check,
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
    match (args.verb, args.config) {
        (Some(Verb::Check), Some(file)) => check(&file),
        // `parse` refuses it; the arm keeps the match closed.
        (Some(Verb::Check), None) => 2,
        (None, file) => serve(&file.map_or(Source::Embedded, Source::File), args.log),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let args = Args::try_parse_from(args)?;
    match (&args.verb, &args.config) {
        (Some(Verb::Check), None) => {
            Err(Args::command().error(ErrorKind::MissingRequiredArgument, "check needs --config FILE"))
        }
        (Some(Verb::Check), Some(_)) | (None, _) => Ok(args),
    }
}

fn check(file: &Path) -> i32 {
    match check::load(file) {
        Ok(Checked { config, warnings }) => {
            complain(warnings.iter().map(|w| format!("warning: {w}")));
            let _ = writeln!(io::stdout(), "{}: ok: {}", file.display(), summary(&config));
            0
        }
        Err(problems) => {
            complain(&problems);
            1
        }
    }
}

fn serve(source: &Source, level: LevelFilter) -> i32 {
    // Dropped before `main` ends the process, which is when the last lines reach standard error.
    let _flush = logging::start(level);
    match server::serve(source) {
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

/// One line each on standard error. Where that is closed there is nobody to tell, so a failure to write is dropped.
pub(crate) fn complain<P: Display>(problems: impl IntoIterator<Item = P>) {
    let mut stderr = io::stderr().lock();
    for problem in problems {
        let _ = writeln!(stderr, "{problem}");
    }
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
        assert!(args.config.is_none() && args.verb.is_none());
    }

    #[test]
    fn check_takes_its_file_on_either_side_of_the_verb() {
        for line in ["gateway check --config a.toml", "gateway --config a.toml check"] {
            let args = parsed(line).unwrap();
            assert_eq!(args.config.as_deref(), Some(Path::new("a.toml")), "{line}");
            assert!(args.verb.is_some(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_2() {
        for line in ["gateway check", "gateway --confg a", "gateway --log loud", "gateway serve"] {
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
