//! Files that a run leaves behind: `bench/runs/<date>-<topic>/` with the table, every raw figure, a chart, and how it came
//! about. Knows no measurement.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::machine;

pub struct Run<'a> {
    pub topic: &'a str,
    /// A sentence per question.
    pub asked: Vec<String>,
    /// Remarks to read before comparing.
    pub remarks: Vec<String>,
    pub table: String,
    pub csv: String,
    pub svg: String,
    pub versions: Vec<(String, String)>,
}

/// Returns where it was kept, from the repository's root.
pub fn keep(run: &Run<'_>, root: &Path) -> Result<PathBuf> {
    let runs = Path::new("bench/runs");
    let name = format!("{}-{}", machine::today(), run.topic);
    let free = |n: u32| runs.join(if n == 1 { name.clone() } else { format!("{name}-{n}") });
    let dir =
        (1..1000).map(free).find(|dir| !root.join(dir).exists()).context("a thousand runs of one day")?;
    let full = root.join(&dir);
    fs::create_dir_all(&full).with_context(|| format!("cannot make {}", dir.display()))?;
    for (file, text) in [
        ("README.md", readme(run, root)),
        ("table.txt", run.table.clone()),
        ("raw.csv", run.csv.clone()),
        ("chart.svg", run.svg.clone()),
    ] {
        fs::write(full.join(file), text)
            .with_context(|| format!("cannot write {}", dir.join(file).display()))?;
    }
    Ok(dir)
}

fn readme(run: &Run<'_>, root: &Path) -> String {
    let list = |lines: &[String]| lines.iter().map(|line| format!("- {line}\n")).collect::<String>();
    let versions: String = run.versions.iter().map(|(who, what)| format!("| {who} | {what} |\n")).collect();
    format!(
        "# {topic}, {date}\n\n## Asked\n\n{asked}\n## How\n\n```\n{command}\n```\n\n{remarks}\n\
         | what | which |\n|---|---|\n| commit | {commit} |\n{versions}| kernel | {kernel} |\n\
         | CPU | {cpu}, {cores} cores |\n\n\
         `raw.csv` has every figure of every round, `chart.svg` the medians with their spread.\n\n\
         ## Came out\n\n```\n{table}```\n",
        topic = run.topic,
        date = machine::today(),
        asked = list(&run.asked),
        command = command_line(std::env::args()),
        remarks = list(&run.remarks),
        commit = machine::commit(root),
        kernel = machine::kernel(),
        cpu = machine::cpu_model(),
        cores = machine::cores(),
        table = run.table,
    )
}

/// As it can be typed again elsewhere: of paths, only the last part is anyone's business.
fn command_line(mut args: impl Iterator<Item = String>) -> String {
    let program = args.next().unwrap_or_default();
    let mut line = match program.rsplit('/').next().unwrap_or_default() {
        "bench" => "cargo run --release -p bench --".to_string(),
        example => format!("cargo run --release -p bench --example {example} --"),
    };
    for arg in args {
        let (flag, value) = match arg.split_once('=') {
            Some((flag, value)) => (format!("{flag}="), value.to_string()),
            None => (String::new(), arg),
        };
        let value = value.rsplit('/').next().unwrap_or_default().to_string();
        line.push_str(&format!(" {flag}{value}"));
    }
    line
}

/// A cell of a comma-separated file.
pub fn cell(text: &str) -> String {
    if text.contains([',', '"', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_no_place() {
        let args =
            ["/a/bench", "peers", "--gateway", "/a/b/gateway", "--loadgen=/c/loadgen", "--rounds", "3"];
        assert_eq!(
            command_line(args.into_iter().map(String::from)),
            "cargo run --release -p bench -- peers --gateway gateway --loadgen=loadgen --rounds 3"
        );
        assert_eq!(
            command_line(["/a/multishot", "--rounds", "3"].into_iter().map(String::from)),
            "cargo run --release -p bench --example multishot -- --rounds 3"
        );
        assert_eq!(cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
