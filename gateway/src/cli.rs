//! The command line: reads the arguments, runs the verb, and returns the exit code.
//!
//! The command line knows no socket and no thread, and it never ends the process itself.

mod told;
mod start;
mod status;
mod health;
mod changing;
mod lists;
mod logs;
mod diffs;
mod histogram;
mod cluster;
mod verdict;
mod generate;
mod demo;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use config::Config;
use config::check::Checked;
use config::manifest;
use tracing_subscriber::filter::LevelFilter;

use crate::explain;
use crate::logging::{self, complain};
use crate::server::certificates;
use crate::server::privileges::{self, Privileges};
use crate::server::{self, Ending, Source};
use crate::visible::visible_lines;
use start::{Input, Line};

/// Serve every request from the primary and send a copy to the mirrors.
///
/// By FILE, by --primary and --mirror, by --config and --manifest, or by --kubernetes. Without any it starts the embedded default: sample services
/// v1 and v2 in this process, the gateway on 127.0.0.1:8080 and the admin listener on 127.0.0.1:9901.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about, args_override_self = false)]
struct Args {
    /// Configuration to serve; a manifest where it is YAML, JSON or a directory
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    /// Serve by what the files say whenever they change, as after SIGHUP
    #[arg(long)]
    watch: bool,

    /// What is logged on standard error: off, error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", env = "UMBRA_LOG", default_value = "info")]
    log: LevelFilter,

    /// How each of its lines looks
    #[arg(long, value_name = "FORMAT", env = "UMBRA_LOG_FORMAT", value_enum, default_value_t)]
    log_format: logging::Format,

    #[command(flatten)]
    input: Input,

    #[command(flatten)]
    line: Line,

    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Clone, Subcommand)]
enum Verb {
    /// Show what this is for: a shop, its v2 that is a little wrong, customers, and the gateway between them, in this process
    Demo(demo::Demo),
    /// Check a configuration or manifests and print every problem with its line
    Check(Check),
    /// Print the TOML that says the same as the manifests
    Convert(Convert),
    /// Tell which route a request takes and why, and what each wire will carry
    Explain(Explain),
    /// Show a running gateway on one screen: what clients get, what becomes of copies, what is wrong now; exit code 1 where
    /// something is
    Status(status::Status),
    /// Tell whether a running gateway is ready; exit code 0 it is, 1 it is not
    Health(health::Health),
    /// Give a mirror of a running gateway another share of the requests
    Set(changing::Set),
    /// Send no copies any more, until they are resumed
    Pause(changing::Which),
    /// Send copies again, as many as before the pause
    Resume(changing::Which),
    /// Let a running gateway read its files again
    Reload(changing::Reload),
    /// List the routes of a running gateway
    Routes(lists::List),
    /// List the mirrors of a running gateway and their shares
    Mirrors(lists::List),
    /// List what was changed in a running gateway, from what, to what and by whom
    Changes(lists::List),
    /// Print the last lines of a running gateway's log, and of its access log
    Logs(logs::Logs),
    /// Print how long v1 and v2 took, side by side, as a running gateway counts it
    Histogram(histogram::Histogram),
    /// Print what v2 says otherwise than v1, as a running gateway has found it; exit code 1 where there is any
    Diffs(diffs::Diffs),
    /// Ask a running gateway whether v2 is ready; exit code 0 promote, 1 reject, 3 hold, 2 cannot be told
    Verdict(verdict::Verdict),
    /// Print what a shell needs to complete this command line
    Completions(generate::Completions),
    /// Print the manual page, or write all of them
    Man(generate::Man),
}

#[derive(Debug, Clone, clap::Args)]
struct Check {
    /// Configuration to check; a manifest where it is YAML, JSON or a directory
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    input: Input,
}

#[derive(Debug, Clone, clap::Args)]
struct Convert {
    #[command(flatten)]
    input: Input,
}

/// A request as curl would make it.
#[derive(Debug, Clone, clap::Args)]
struct Explain {
    /// Method, unless it is GET; then the URL
    #[arg(value_name = "[METHOD] URL", num_args = 1..=2, required = true)]
    request: Vec<String>,

    /// A field: 'name: value'; may be repeated
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    headers: Vec<String>,

    /// A name in the certificate that the client shows; may be repeated
    #[arg(long = "client-certificate", value_name = "NAME")]
    certificate: Vec<String>,

    #[command(flatten)]
    input: Input,
}

/// The work that the arguments ask for, once they are known to make sense.
#[derive(Debug)]
enum Asked {
    Serve {
        source: Source,
        watch: bool,
        log: LevelFilter,
        log_format: logging::Format,
    },
    Check(Source),
    Convert(Source),
    Explain(Source, Explain),
    /// A question to a running gateway, or to the command line itself.
    Other(Verb),
}

/// Runs the verb that the arguments ask for and returns the exit code: 0 done, 1 refused to start (or told twice to stop), 2 the
/// arguments make no sense, 70 a part of the running gateway died. `verdict` returns 0 promote, 1 reject, 3 hold, 2 unknown.
pub fn run(args: impl IntoIterator<Item = OsString>) -> i32 {
    let args: Vec<OsString> = args.into_iter().collect();
    let command = command(&args);
    let asked = match parse(&command, args) {
        Ok(asked) => asked,
        Err(error) => {
            // `--help` and `--version` come as errors too; clap knows which stream and which code each deserves.
            let _ = error.print();
            return error.exit_code();
        }
    };
    match asked {
        Asked::Serve { source, watch, log, log_format } => {
            // Before there is a second thread, whose capabilities would be its own.
            let privileges = privileges::give_up();
            // Dropped before `main` ends the process, which is when the last lines reach standard error.
            let _flush = logging::start(log, log_format);
            let privileges = privileges
                .inspect_err(|error| tracing::warn!("privileges could not be given up: {error}"))
                .ok();
            serve(&source, watch, privileges)
        }
        Asked::Check(source) => check(&source),
        Asked::Convert(source) => convert(&source),
        Asked::Explain(source, request) => explain(&source, &request),
        Asked::Other(verb) => match verb {
            Verb::Status(status) => status.run(),
            Verb::Health(health) => health.run(),
            Verb::Set(set) => set.run(),
            Verb::Pause(which) => which.pause(),
            Verb::Resume(which) => which.resume(),
            Verb::Reload(reload) => reload.run(),
            Verb::Routes(list) => list.routes(),
            Verb::Mirrors(list) => list.mirrors(),
            Verb::Changes(list) => list.changes(),
            Verb::Logs(logs) => logs.run(),
            Verb::Histogram(histogram) => histogram.run(),
            Verb::Diffs(diffs) => diffs.run(),
            Verb::Verdict(verdict) => verdict.run(),
            Verb::Completions(completions) => completions.run(command),
            Verb::Man(man) => man.run(command),
            // They became something else in `parse`.
            Verb::Demo(_) | Verb::Check(_) | Verb::Convert(_) | Verb::Explain(_) => 2,
        },
    }
}

/// The command under the name that it was called by, so that an installed `umbra` calls itself `umbra`.
fn command(args: &[OsString]) -> clap::Command {
    let called = args.first().and_then(|path| Path::new(path).file_name());
    Args::command().name(if called.is_some_and(|name| name == "umbra") { "umbra" } else { "gateway" })
}

fn parse(command: &clap::Command, args: Vec<OsString>) -> Result<Asked, clap::Error> {
    let matches = command.clone().try_get_matches_from(args)?;
    let mut args = Args::from_arg_matches(&matches)?;
    let wrong = |why: String| command.clone().error(ErrorKind::MissingRequiredArgument, why);
    if args.file.is_some() || args.input.is_given() || args.verb.is_some() {
        // The environment counts only where the command line does not say what to serve.
        args.line = args.line.spoken(&matches);
    }
    let is_said = args.file.is_some() || args.input.is_given() || args.line.is_given() || args.watch;
    let is_said = is_said || args.input.cluster.first().is_some();
    let sound = |input: Input, file: Option<PathBuf>, wants: Option<&str>| {
        let input = input.with_file(file).map_err(wrong)?;
        if let (Some(what), false) = (wants, input.is_given()) {
            return Err(wrong(format!("{what}, --manifest PATH or --kubernetes")));
        }
        input.wrong().map_or(Ok(input), |why| Err(wrong(why)))
    };
    match args.verb.take() {
        Some(Verb::Check(Check { file, input })) if !args.line.is_given() => {
            let file = file.or(args.file);
            Ok(Asked::Check(sound(args.input.and(input), file, Some("check needs FILE"))?.source()))
        }
        Some(Verb::Convert(Convert { input })) if !args.line.is_given() => {
            let input = sound(args.input.and(input), args.file, None)?;
            if !input.has_routes() {
                return Err(wrong("convert needs --manifest PATH or --kubernetes".to_owned()));
            }
            Ok(Asked::Convert(input.source()))
        }
        Some(Verb::Explain(mut explain)) if !args.line.is_given() => {
            let input = args.input.and(std::mem::take(&mut explain.input));
            let source = sound(input, args.file, Some("explain needs --config FILE"))?.source();
            Ok(Asked::Explain(source, explain))
        }
        Some(Verb::Demo(demo)) if !is_said => {
            let Args { log, log_format, .. } = args;
            Ok(Asked::Serve { source: demo.source(), watch: false, log, log_format })
        }
        Some(_) if is_said => {
            Err(wrong("this verb takes none of the options of a gateway that serves before it".to_owned()))
        }
        Some(verb) => Ok(Asked::Other(verb)),
        None => {
            let Args { file, watch, log, log_format, input, line, verb: _ } = args;
            if let Some(name) = file.as_ref().and_then(|file| file.to_str()).filter(|name| is_no_file(name)) {
                return Err(wrong(format!(
                    "{name:?} is neither a file nor a verb; gateway help lists the verbs"
                )));
            }
            let source = if line.is_given() {
                if file.is_some() || input.is_given() || input.cluster.first().is_some() {
                    return Err(wrong("--primary and what goes with it are instead of a file".to_owned()));
                }
                Source::Line(line.as_file(&input.listen).map_err(wrong)?)
            } else {
                let input = sound(input, file, None)?;
                // An address from the environment does not concern a gateway with a configuration.
                let is_meant = is_spoken(&matches, "listen") || input.config.is_none();
                if !input.has_routes() && !input.listen.is_empty() && is_meant {
                    let why = "--listen needs --manifest PATH, --kubernetes or --primary ADDRESS";
                    return Err(wrong(why.to_owned()));
                }
                input.source()
            };
            Ok(Asked::Serve { source, watch, log, log_format })
        }
    }
}

/// A word that was meant as a verb.
fn is_no_file(name: &str) -> bool {
    !name.contains(['.', '/']) && name != "-" && !PathBuf::from(name).exists()
}

/// Whether an option stands on the command line.
fn is_spoken(matches: &ArgMatches, id: &str) -> bool {
    matches.value_source(id) == Some(ValueSource::CommandLine)
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
    let converted = match source {
        Source::Manifests(manifests) => manifest::convert(manifests),
        Source::Cluster(cluster) => cluster::convert(cluster),
        Source::Embedded | Source::Demo { .. } | Source::File(_) | Source::Line(_) => return 2,
    };
    match converted {
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

fn explain(source: &Source, request: &Explain) -> i32 {
    let (method, url) = match request.request.as_slice() {
        [url] => ("GET", url.as_str()),
        [method, url] => (method.as_str(), url.as_str()),
        _ => return 2,
    };
    let asked = match explain::Question::new(method, url, &request.headers)
        .map(|question| question.shown(&request.certificate))
    {
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

/// Prints an answer. Much of it may come from v1, v2 and clients: control characters are made visible, so that they do not act
/// on a terminal. A closed standard output is no failure.
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

    fn parsed(line: &str) -> Result<Asked, clap::Error> {
        let args: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&command(&args), args)
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn whatever_says_what_to_serve_is_understood() {
        let file = |name: &str| Source::File(PathBuf::from(name));
        let manifests = |paths: &[&str], settings: Option<&str>| {
            Source::Manifests(manifest::Manifests {
                paths: paths.iter().map(PathBuf::from).collect(),
                endpoints: Vec::new(),
                listen: Vec::new(),
                secrets: Vec::new(),
                plaintext: manifest::Plaintext::default(),
                settings: settings.map(PathBuf::from),
            })
        };
        let rows = [
            ("gateway", Source::Embedded),
            ("gateway a.toml", file("a.toml")),
            ("gateway --config a.toml", file("a.toml")),
            ("gateway a.yaml", manifests(&["a.yaml"], None)),
            ("gateway a.yaml --config b.toml", manifests(&["a.yaml"], Some("b.toml"))),
            ("gateway --manifest -", manifests(&["-"], None)),
        ];
        for (line, expect) in rows {
            let Ok(Asked::Serve { source, .. }) = parsed(line) else { panic!("{line} serves") };
            assert_eq!(source, expect, "{line}");
        }
        for line in ["gateway --primary :1 --mirror :2", "gateway --primary :1 --listen :8080 --admin off"] {
            let Ok(Asked::Serve { source: Source::Line(text), .. }) = parsed(line) else { panic!("{line}") };
            assert!(config::parse("test", &text).is_ok(), "{text}");
        }
    }

    #[test]
    fn check_takes_its_file_on_either_side_of_the_verb_with_an_option_and_without() {
        for line in [
            "gateway check --config a.toml",
            "gateway --config a.toml check",
            "gateway check a.toml",
            "gateway a.toml check",
        ] {
            let Ok(Asked::Check(source)) = parsed(line) else { panic!("{line} checks") };
            assert_eq!(source, Source::File(PathBuf::from("a.toml")), "{line}");
        }
    }

    #[test]
    fn a_cluster_is_named_on_either_side_of_a_verb() {
        let parts = |source: Source| match source {
            Source::Cluster(cluster) => cluster,
            other => panic!("{other:?} is no cluster"),
        };
        let Ok(Asked::Serve { source, .. }) = parsed("gateway --kubernetes --mesh s.toml --listen :80")
        else {
            panic!("it serves")
        };
        assert_eq!(parts(source).settings(), Some(&PathBuf::from("s.toml")));
        let asked = ["check --kubernetes --mesh", "--mesh check --kubernetes", "--kubernetes check --mesh"];
        let checked = asked.map(|line| match parsed(&format!("gateway {line}")) {
            Ok(Asked::Check(source)) => parts(source),
            other => panic!("{line} checks, and not {other:?}"),
        });
        assert!(checked.iter().all(|cluster| *cluster == checked[0]));
        assert!(matches!(
            parsed("gateway explain --kubernetes /"),
            Ok(Asked::Explain(Source::Cluster(_), _))
        ));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_2_and_the_next_step() {
        for (line, step) in [
            ("gateway check", "check needs FILE"),
            ("gateway convert", "convert needs --manifest"),
            ("gateway explain /", "explain needs --config FILE"),
            ("gateway --listen 127.0.0.1:1", "--manifest PATH, --kubernetes or --primary ADDRESS"),
            ("gateway --mesh", "--mesh needs --kubernetes"),
            ("gateway check a.toml --class umbra", "--class needs --kubernetes"),
            ("gateway --kubernetes --manifest a.yaml", "no part in --kubernetes"),
            ("gateway --kubernetes a.yaml", "no part in --kubernetes"),
            ("gateway --kubernetes --endpoint a=127.0.0.1:1", "no part in --kubernetes"),
            ("gateway --kubernetes --istio-selector nonsense", "LABEL=VALUE"),
            ("gateway --kubernetes --publish-service nonsense", "NAMESPACE/NAME"),
            ("gateway --kubernetes --primary :1", "instead of a file"),
            ("gateway --mesh --primary :1", "instead of a file"),
            ("gateway --kubernetes status", "none of the options of a gateway that serves"),
            ("gateway --mesh demo", "none of the options of a gateway that serves"),
            ("gateway --endpoint a=b:1", "--endpoint needs --manifest"),
            ("gateway --mirror :1", "--primary ADDRESS says who answers"),
            ("gateway a.toml --primary :1", "instead of a file"),
            ("gateway --config a.yaml", "this is YAML: --manifest a.yaml"),
            ("gateway check --config a.yml", "this is YAML: --manifest a.yml"),
            ("gateway --config a.toml status", "none of the options of a gateway that serves"),
            ("gateway --primary :1 check a.toml", "none of the options of a gateway that serves"),
            ("gateway status --config a.toml", "--config"),
            ("gateway statsu", "neither a file nor a verb"),
            ("gateway serve", "gateway help lists the verbs"),
            ("gateway set v2", "--percent"),
            ("gateway --confg a", "--config"),
            ("gateway --log loud", "loud"),
            ("gateway --log-format xml", "xml"),
        ] {
            let error = parsed(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}: {error}");
            assert!(error.to_string().contains(step), "{line}: {error}");
        }
    }

    #[test]
    fn version_is_the_packages_own() {
        let error = parsed("gateway --version").unwrap_err();
        assert_eq!(error.exit_code(), 0);
        assert!(error.to_string().contains(env!("CARGO_PKG_VERSION")), "{error}");
    }
}
