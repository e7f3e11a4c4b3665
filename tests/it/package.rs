//! Installation: a package and a tarball of given programs, under one name in the unit, the logs' rotation, manuals and
//! completions; taken apart and run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::gateway::{binary, built};
use tests::load::get;
use tests::{Client, Origin, Process};

#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_err() {
        eprintln!("skipped: no {tool} here");
    }
    found.is_ok()
}

/// Every file below a folder, by its path from there.
fn files(below: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![below.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.insert(path.strip_prefix(below).expect("below").display().to_string());
            }
        }
    }
    found
}

/// A manual page of a tree.
fn page(tree: &Path, name: &str) -> String {
    run(Command::new("gzip").arg("-dc").arg(tree.join("share/man/man1").join(name)))
}

/// Checks a tree whose top is `usr`: its programs run, and the other files name them so.
#[track_caller]
fn serves_under_one_name(tree: &Path, etc: &Path, program: &str) {
    let umbra = tree.join("bin/umbra");
    assert!(run(Command::new(&umbra).arg("--version")).starts_with("umbra "));
    assert!(run(Command::new(&umbra).arg("--help")).contains("Usage: umbra "));
    assert!(
        run(Command::new(tree.join("bin/umbra-loadgen")).arg("--help")).contains("Usage: umbra-loadgen ")
    );
    for (name, said) in [
        ("umbra.1.gz", "umbra\\-status(1)"),
        ("umbra-status.1.gz", "\\fBumbra status\\fR"),
        ("umbra-loadgen.1.gz", "umbra\\-loadgen"),
    ] {
        assert!(page(tree, name).contains(said), "{name}: {}", page(tree, name));
    }
    let completions = tree.join("share/bash-completion/completions/umbra");
    run(Command::new("bash").arg("-n").arg(&completions));
    let completions = fs::read_to_string(completions).expect("the completions");
    assert!(
        completions.contains("default umbra\n") && completions.contains("umbra,health)"),
        "{completions}"
    );
    let zsh = fs::read_to_string(tree.join("share/zsh/vendor-completions/_umbra")).expect("the completions");
    assert!(zsh.starts_with("#compdef umbra"));
    let unit = fs::read_to_string(tree.join("lib/systemd/system/umbra.service")).expect("the unit");
    assert!(unit.contains(&format!("ExecStart={program} --config /etc/umbra/umbra.toml")), "{unit}");
    assert!(unit.contains("\nSupplementaryGroups=umbra-conf"));
    let rotation = fs::read_to_string(etc.join("logrotate.d/umbra")).expect("the rotation");
    assert!(rotation.contains("umbra.service") && rotation.contains("USR1"));
    // Its configuration is right as it is, and the program serves by it at ports of its own.
    run(Command::new(&umbra).arg("check").arg(etc.join("umbra/umbra.toml")));
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let text = fs::read_to_string(etc.join("umbra/umbra.toml")).expect("the configuration");
    let text = text.replace("127.0.0.1:8080", "127.0.0.1:0").replace("127.0.0.1:9901", "127.0.0.1:0");
    let text = text.replace("127.0.0.1:9001", &v1.address.to_string());
    let text = text.replace("127.0.0.1:9002", &v2.address.to_string());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("umbra.toml");
    fs::write(&file, text).expect("the configuration");
    let mut process = Process::spawn(Command::new(&umbra).arg("--config").arg(&file));
    let address = process.lines("listening on ", 1)[0].parse().expect("an address");
    let admin = process.lines("admin on ", 1)[0].clone();
    assert_eq!(Client::connect(address).ask(get(1)).text(), "v1");
    assert_eq!(v2.wait_for(1).len(), 1);
    assert_eq!(run(Command::new(&umbra).args(["health", "--admin", &admin])), "ready\n");
}

#[test]
fn a_package_and_a_tarball_are_made_of_given_programs_and_serve_under_one_name() {
    if !has("dpkg-deb") || !has("objdump") {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = directory.path();
    let loadgen = built("loadgen");
    let mut xtask = Command::new(built("xtask"));
    xtask.arg("package").arg("--gateway").arg(binary()).arg("--loadgen").arg(&loadgen).arg("--to").arg(place);
    let made = run(&mut xtask);
    let made: Vec<PathBuf> = made.lines().map(PathBuf::from).collect();
    let [package, tarball] = made.as_slice() else { panic!("{made:?}") };

    let tree = place.join("installed");
    run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree));
    serves_under_one_name(&tree.join("usr"), &tree.join("etc"), "/usr/bin/umbra");
    let field = |name: &str| run(Command::new("dpkg-deb").arg("-f").arg(package).arg(name)).trim().to_owned();
    assert_eq!((field("Package").as_str(), field("Section").as_str()), ("umbra", "net"));
    assert!(field("Depends").starts_with("libc6 (>= 2."), "{}", field("Depends"));
    let control = place.join("control");
    run(Command::new("dpkg-deb").arg("-e").arg(package).arg(&control));
    let conffiles = fs::read_to_string(control.join("conffiles")).expect("the list");
    let wanted: BTreeSet<String> =
        files(&tree.join("etc")).into_iter().map(|file| format!("/etc/{file}")).collect();
    assert_eq!(
        conffiles.lines().map(str::to_owned).collect::<BTreeSet<_>>(),
        wanted,
        "an upgrade asks about each"
    );
    for script in ["postinst", "prerm", "postrm"] {
        run(Command::new("sh").arg("-n").arg(control.join(script)));
    }
    run(Command::new("md5sum").args(["--quiet", "-c"]).arg(control.join("md5sums")).current_dir(&tree));
    let examples = files(&tree.join("usr/share/doc/umbra/examples"));
    assert!(examples.contains("minimal.toml") && examples.contains("istio/virtualservice.yaml"));

    run(Command::new("tar").arg("-C").arg(place).arg("-xzf").arg(tarball));
    let name = tarball.file_name().and_then(|name| name.to_str()).expect("a name").replace(".tar.gz", "");
    let folder = place.join(name);
    serves_under_one_name(&folder, &folder.join("etc"), "/usr/local/bin/umbra");

    if has("lintian") {
        // A first upload to Debian closes the wish for the package; this is none.
        let output = Command::new("lintian")
            .args(["--suppress-tags", "initial-upload-closes-no-bugs"])
            .arg(package)
            .output();
        let said = String::from_utf8_lossy(&output.expect("lintian runs").stdout).into_owned();
        let found: Vec<&str> =
            said.lines().filter(|line| line.starts_with("E:") || line.starts_with("W:")).collect();
        assert_eq!(found, Vec::<&str>::new());
    }
}
