//! The repository's tasks: `cargo xtask` lists them. Each is a command that could be typed; it knows no test and no figure.

mod mutants;
mod package;
mod rooms;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo xtask TASK

  test ROOM            tests of one room: a module of the gateway (mirror::ring), or a file of tests/it (limits)
  fuzz [CASE] [SECS]   the fuzz cases from a new seed; with a case of tests/guided, that one under libFuzzer
  bench COMMAND [...]  one comparison, quickly and without keeping it: peers get_small, growth routes, isolation, idle
  mutants [ROOM...]    mutation tests of the pure rooms, or of these (http1, mirror::ring): what no unit test notices;
                       further arguments of cargo-mutants behind --
  mutants --since REF  the same for what has changed since a commit
  simulate RUNS        so many services of each kind, judged every second: how often an equal one is rejected, and
                       after how many samples a worse one is
  book                 docs/ as HTML, below target/book
  reference            the book's pages of metrics, admin API and command line, written anew from the gateway
  package [...]        a Debian package and a tarball below target/package, of programs built for release, or of these:
                       --gateway FILE --loadgen FILE; --to DIRECTORY
  render               what the Helm chart renders, for kustomize, written anew
  ci                   everything that must hold before a change is taken (.ci/run)
";

/// The result of a task: the exit code of its program, or why none ran.
type Outcome = Result<ExitCode, String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match args.as_slice() {
        ["test", room] => test(room),
        ["fuzz"] => fuzz("2"),
        ["fuzz", seconds] if seconds.parse::<u32>().is_ok() => fuzz(seconds),
        ["fuzz", case] => guided(case, "60"),
        ["fuzz", case, seconds] => guided(case, seconds),
        ["bench", rest @ ..] if !rest.is_empty() => bench(rest),
        ["mutants", "--since", reference] => mutants::since(reference),
        ["mutants", words @ ..] => mutants::of(words),
        ["simulate", runs] if runs.parse::<u32>().is_ok() => mutants::simulate(runs),
        ["book"] => book(),
        ["reference"] => reference(),
        ["package", words @ ..] => package::package(words),
        ["render"] => render(),
        ["ci"] => run(Command::new("bash").arg(".ci/run")),
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    outcome.unwrap_or_else(|why| {
        eprintln!("xtask: {why}");
        ExitCode::FAILURE
    })
}

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new(".")).to_owned()
}

fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Says the command, runs it at the workspace's root, and passes its exit code on.
fn run(command: &mut Command) -> Outcome {
    eprintln!("+ {command:?}");
    let status = command.current_dir(root()).status().map_err(|error| format!("{command:?}: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}

fn test(room: &str) -> Outcome {
    let file = root().join(format!("tests/it/{room}.rs"));
    if file.is_file() {
        return run(cargo().args(["test", "--package", "tests", "--test", "it", "--", &format!("{room}::")]));
    }
    if rooms::Tree::read(&root())?.has(room) {
        return run(cargo().args(["test", "--package", "gateway", "--lib", "--", &format!("{room}::")]));
    }
    Err(format!("{room} is neither a module below gateway/src nor a file of tests/it"))
}

fn fuzz(seconds: &str) -> Outcome {
    run(cargo()
        .args(["test", "--package", "gateway", "--test", "fuzz", "--", "--nocapture"])
        .env("UMBRA_FUZZ_SECONDS", seconds))
}

fn guided(case: &str, seconds: &str) -> Outcome {
    run(Command::new("bash").args(["tests/guided/run", case, seconds]))
}

fn bench(args: &[&str]) -> Outcome {
    let short = ["--rounds", "1", "--seconds", "1", "--no-keep"];
    run(cargo().args(["run", "--release", "--package", "bench", "--"]).args(args).args(short))
}

fn book() -> Outcome {
    run(Command::new("bash").args([".ci/run", "book"]))
}

fn reference() -> Outcome {
    run(cargo()
        .args(["test", "--package", "tests", "--test", "it", "--", "book::"])
        .env("UMBRA_BOOK", "write"))
}

fn render() -> Outcome {
    run(cargo()
        .args(["test", "--package", "tests", "--test", "it", "--", "chart::the_kustomize_base"])
        .env("UMBRA_RENDER", "write"))
}
