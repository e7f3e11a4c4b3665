//! Mutation tests of the pure rooms, and simulations of the verdict. They are compiled as a crate of their own, which takes seconds
//! where the whole gateway takes a minute; their unit tests are the same files.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode};

use crate::rooms::{Part, Tree};
use crate::{Outcome, cargo, root, run};

/// The version that is installed below `target/tools`.
const VERSION: &str = "27.1.0";

/// Rooms that decide without I/O, so that their own crate can test them alone.
const ROOMS: &[&str] = &[
    "http1",
    "matcher",
    "mirror::governor",
    "mirror::ledger",
    "mirror::ring",
    "mirror::sample",
    "mirror::spread",
    "route",
    "strata",
    "upstream::balance",
    "upstream::eject",
    "verdict",
];

/// Below `target`.
const FOLDER: &str = "target/mutants/rooms";
const SIMULATION: &str = "target/simulation/rooms";

/// `words`: rooms, and behind `--` arguments of cargo-mutants itself.
pub(crate) fn of(words: &[&str]) -> Outcome {
    let end = words.iter().position(|word| *word == "--").unwrap_or(words.len());
    let (rooms, further) = words.split_at(end);
    let rooms = if rooms.is_empty() { ROOMS } else { rooms };
    prepare(rooms, FOLDER)?;
    let mut command = mutants()?;
    command.args(further.iter().skip(1));
    for room in rooms {
        let path = room.replace("::", "/");
        command.args(["--file", &format!("src/{path}.rs"), "--file", &format!("src/{path}/**")]);
    }
    run(&mut command)
}

pub(crate) fn since(reference: &str) -> Outcome {
    let diff = Command::new("git")
        .args(["diff", "--relative=gateway", reference, "--", "gateway/src"])
        .current_dir(root())
        .output()
        .map_err(|error| format!("git: {error}"))?;
    if !diff.status.success() {
        return Err(String::from_utf8_lossy(&diff.stderr).into_owned());
    }
    let diff = String::from_utf8_lossy(&diff.stdout).into_owned();
    let is_changed = |room: &&str| {
        let path = room.replace("::", "/");
        diff.contains(&format!("+++ b/src/{path}.rs")) || diff.contains(&format!("+++ b/src/{path}/"))
    };
    let rooms: Vec<&str> = ROOMS.iter().copied().filter(is_changed).collect();
    if rooms.is_empty() {
        eprintln!("no pure room has changed since {reference}");
        return Ok(ExitCode::SUCCESS);
    }
    prepare(&rooms, FOLDER)?;
    let file = root().join("target/mutants/since.diff");
    fs::write(&file, diff).map_err(|error| format!("{}: {error}", file.display()))?;
    run(mutants()?.arg("--in-diff").arg(file))
}

/// The bench of the verdict, compiled to be fast.
pub(crate) fn simulate(runs: &str) -> Outcome {
    prepare(&["verdict"], SIMULATION)?;
    let mut command = cargo();
    // Code of other crates is inlined here: they need not be fast.
    command.args(["test", "--release", "--config", "profile.release.package.\"*\".opt-level=0"]);
    command.arg("--manifest-path").arg(root().join(SIMULATION).join("Cargo.toml"));
    command.args(["--", "--ignored", "--nocapture", "the_figures_of_many_runs"]);
    run(command
        .env("UMBRA_SIMULATED_RUNS", runs)
        .env("CARGO_TARGET_DIR", root().join("target/simulation/build")))
}

fn mutants() -> Result<Command, String> {
    let tools = root().join("target/tools");
    let program = tools.join("bin/cargo-mutants");
    if !program.is_file() {
        run(cargo()
            .args(["install", "cargo-mutants", "--version", VERSION, "--locked", "--debug", "--root"])
            .arg(&tools)
            .arg("--target-dir")
            .arg(tools.join("build")))?;
    }
    let mut command = Command::new(program);
    // The folder is a copy already; compiled dependencies serve the next room too.
    command.env("CARGO_TARGET_DIR", root().join("target/mutants/build"));
    command.args([
        "mutants",
        "--in-place",
        "--dir",
        FOLDER,
        "--output",
        "target/mutants",
        "--colors",
        "never",
    ]);
    Ok(command)
}

/// Writes the crate of `rooms` into this folder.
fn prepare(rooms: &[&str], folder: &str) -> Result<(), String> {
    let part = Tree::read(&root())?.part(rooms)?;
    let folder = root().join(folder);
    // Files that a room no longer needs must not stay.
    let _ = fs::remove_dir_all(folder.join("src"));
    write(&folder.join("Cargo.toml"), &manifest(&part)?)?;
    write(&folder.join("Cargo.lock"), &read("Cargo.lock")?)?;
    part.iter().try_for_each(|(file, text)| write(&folder.join("src").join(file), text))
}

/// The gateway's dependencies that these files name, as the workspace has them.
fn manifest(part: &Part) -> Result<String, String> {
    let (workspace, gateway) = (read("Cargo.toml")?, read("gateway/Cargo.toml")?);
    let written = |manifest: &str, table: &str| -> Vec<String> {
        let lines = manifest.lines().skip_while(|line| *line != table).skip(1);
        lines.take_while(|line| !line.starts_with('[')).map(str::to_owned).collect()
    };
    let known = written(&workspace, "[workspace.dependencies]");
    let asked = [written(&gateway, "[dependencies]"), written(&gateway, "[dev-dependencies]")].concat();
    let names = asked.iter().filter_map(|line| line.strip_suffix(".workspace = true"));
    let is_named = |name: &str| {
        let name = format!("{}::", name.replace('-', "_"));
        part.values().any(|text| text.contains(&name))
    };
    let here = root();
    let mut dependencies = String::new();
    for name in names.filter(|name| is_named(name)) {
        let start = format!("{name} = ");
        let line = known.iter().find(|line| line.starts_with(&start)).map_or("", String::as_str);
        let line = line.replace("path = \"", &format!("path = \"{}/", here.display()));
        dependencies += &format!("{line}\n");
    }
    Ok(format!(
        "[package]\nname = \"rooms\"\nversion = \"0.0.0\"\nedition = \"2024\"\npublish = false\n\n[workspace]\n\n\
         [profile.dev]\nopt-level = 1\ndebug = false\n\n[dependencies]\n{dependencies}"
    ))
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(root().join(file)).map_err(|error| format!("{file}: {error}"))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}
