//! The installed form: a tree of files under the name `umbra`, as a Debian package and as a tarball.
//!
//! Debian's own tools make the package of the tree: nothing has to be built for that but the two programs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::{Outcome, cargo, root};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Files of the repository, where they are installed, and with which mode.
const FILES: &[(&str, &str)] = &[
    ("gateway/deploy/umbra.service", "usr/lib/systemd/system/umbra.service"),
    ("gateway/deploy/umbra.socket", "usr/lib/systemd/system/umbra.socket"),
    ("gateway/deploy/umbra.sysusers", "usr/lib/sysusers.d/umbra.conf"),
    ("gateway/deploy/umbra.logrotate", "etc/logrotate.d/umbra"),
    ("gateway/deploy/debian/umbra.toml", "etc/umbra/umbra.toml"),
    ("config/gateway.toml", "usr/share/doc/umbra/gateway.toml"),
    ("config/verdict.toml", "usr/share/doc/umbra/verdict.toml"),
    ("config/examples", "usr/share/doc/umbra/examples"),
    ("config/prometheus", "usr/share/doc/umbra/prometheus"),
    ("config/grafana", "usr/share/doc/umbra/grafana"),
    ("gateway/deploy/seccomp.json", "usr/share/doc/umbra/seccomp.json"),
    ("gateway/deploy/debian/copyright", "usr/share/doc/umbra/copyright"),
];

/// Files that an administrator may change, and an upgrade asks about.
const CONFFILES: &str = "/etc/logrotate.d/umbra\n/etc/umbra/umbra.toml\n";

/// The arguments.
struct Asked {
    gateway: PathBuf,
    loadgen: PathBuf,
    to: PathBuf,
}

/// `[--gateway FILE --loadgen FILE] [--to DIRECTORY]`; without programs they are built for release.
pub(crate) fn package(words: &[&str]) -> Outcome {
    let asked = Asked::of(words)?;
    fs::create_dir_all(&asked.to).map_err(|error| format!("{}: {error}", asked.to.display()))?;
    let tree = asked.to.join("tree");
    let _ = fs::remove_dir_all(&tree);
    stage(&asked, &tree)?;
    let machine = said(Command::new("uname").arg("-m"))?;
    let tarball = tarball(&tree, &asked.to, machine.trim())?;
    let package = debian(&tree, &asked.to)?;
    println!("{}\n{}", package.display(), tarball.display());
    Ok(ExitCode::SUCCESS)
}

impl Asked {
    fn of(words: &[&str]) -> Result<Self, String> {
        let (mut gateway, mut loadgen, mut to) = (None, None, root().join("target/package"));
        for pair in words.chunks(2) {
            match pair {
                ["--gateway", file] => gateway = Some(PathBuf::from(file)),
                ["--loadgen", file] => loadgen = Some(PathBuf::from(file)),
                ["--to", directory] => to = PathBuf::from(directory),
                _ => return Err(format!("{pair:?}: --gateway FILE, --loadgen FILE, --to DIRECTORY")),
            }
        }
        if let (Some(gateway), Some(loadgen)) = (gateway, loadgen) {
            return Ok(Self { gateway, loadgen, to });
        }
        let words = ["build", "--locked", "--release", "--package", "gateway", "--package", "loadgen"];
        done(cargo().args(words).current_dir(root()))?;
        let built = |name: &str| root().join("target/release").join(name);
        Ok(Self { gateway: built("gateway"), loadgen: built("loadgen"), to })
    }
}

/// Everything where it is installed.
fn stage(asked: &Asked, tree: &Path) -> Result<(), String> {
    for (built, name) in [(&asked.gateway, "umbra"), (&asked.loadgen, "umbra-loadgen")] {
        let program = tree.join("usr/bin").join(name);
        copy(built, &program)?;
        mode(&program, 0o755)?;
        done(Command::new("strip").args(["--strip-unneeded", "--remove-section=.comment"]).arg(&program))?;
    }
    for (from, to) in FILES {
        copy(&root().join(from), &tree.join(to))?;
    }
    unit(&tree.join("usr/lib/systemd/system/umbra.service"), "/usr/bin/umbra")?;
    let umbra = tree.join("usr/bin/umbra");
    for (shell, file) in [
        ("bash", "usr/share/bash-completion/completions/umbra"),
        ("zsh", "usr/share/zsh/vendor-completions/_umbra"),
        ("fish", "usr/share/fish/vendor_completions.d/umbra.fish"),
    ] {
        write(&tree.join(file), &said(Command::new(&umbra).args(["completions", shell]))?)?;
    }
    let manual = tree.join("usr/share/man/man1");
    fs::create_dir_all(&manual).map_err(|error| format!("{}: {error}", manual.display()))?;
    done(Command::new(&umbra).arg("man").arg(&manual))?;
    write(&manual.join("umbra-loadgen.1"), &manual_of_loadgen(&tree.join("usr/bin/umbra-loadgen"))?)?;
    for page in files(&manual)? {
        done(Command::new("gzip").args(["-9n"]).arg(&page))?;
    }
    let changes = tree.join("usr/share/doc/umbra/changelog");
    copy(&root().join("CHANGELOG.md"), &changes)?;
    done(Command::new("gzip").args(["-9n"]).arg(&changes))
}

/// The unit names the program at its place, and may read files of its group.
fn unit(file: &Path, program: &str) -> Result<(), String> {
    let text = read(file)?.replace("/usr/local/bin/umbra", program);
    write(file, &text.replace("#SupplementaryGroups=umbra-conf", "SupplementaryGroups=umbra-conf"))
}

/// The load generator's help as a manual page, without further text.
fn manual_of_loadgen(program: &Path) -> Result<String, String> {
    let help = said(Command::new(program).arg("--help"))?;
    let literal = help.replace('\\', "\\\\").lines().map(|line| format!("\\&{line}\n")).collect::<String>();
    let name = "umbra\\-loadgen \\- open\\-loop HTTP load, and an origin with faults";
    Ok(format!(
        ".TH umbra\\-loadgen 1 \"\" \"umbra {VERSION}\"\n.SH NAME\n{name}\n.SH DESCRIPTION\n.nf\n{literal}.fi\n"
    ))
}

/// The tree below one folder, for a machine without dpkg: `usr` is its top, and the unit names `/usr/local`.
fn tarball(tree: &Path, to: &Path, machine: &str) -> Result<PathBuf, String> {
    let name = format!("umbra-{VERSION}-{machine}-linux");
    let folder = to.join(&name);
    let _ = fs::remove_dir_all(&folder);
    done(Command::new("cp").arg("-a").arg(tree.join("usr")).arg(&folder))?;
    done(Command::new("cp").arg("-a").arg(tree.join("etc")).arg(folder.join("etc")))?;
    let path = folder.join("lib/systemd/system/umbra.service");
    write(&path, &read(&path)?.replace("/usr/bin/umbra", "/usr/local/bin/umbra"))?;
    let file = to.join(format!("{name}.tar.gz"));
    let owner = ["--owner=0", "--group=0", "--numeric-owner", "--sort=name"];
    done(Command::new("tar").args(owner).arg("-C").arg(to).arg("-czf").arg(&file).arg(&name))?;
    let _ = fs::remove_dir_all(&folder);
    Ok(file)
}

fn debian(tree: &Path, to: &Path) -> Result<PathBuf, String> {
    let control = tree.join("DEBIAN");
    for script in ["postinst", "prerm", "postrm"] {
        copy(&root().join("gateway/deploy/debian").join(script), &control.join(script))?;
        mode(&control.join(script), 0o755)?;
    }
    write(&control.join("conffiles"), CONFFILES)?;
    let machine = said(Command::new("dpkg").arg("--print-architecture"))?;
    let machine = machine.trim();
    let size = said(Command::new("du").args(["-sk", "--exclude=DEBIAN"]).arg(tree))?;
    let size = size.split_whitespace().next().unwrap_or("0").to_owned();
    let needs = needs(&[tree.join("usr/bin/umbra"), tree.join("usr/bin/umbra-loadgen")])?;
    let text = format!(
        "Package: umbra\nVersion: {VERSION}-1\nArchitecture: {machine}\nMaintainer: The Umbra authors <umbra@umbra.dev>\n\
         Installed-Size: {size}\nDepends: {needs}\nSuggests: logrotate, prometheus\nSection: net\nPriority: optional\n\
         Description: traffic-mirroring HTTP gateway\n Umbra answers every client from the primary and sends a copy of the request\n \
         to the mirrors, whose answers no client sees. What a mirror does costs no\n client anything.\n"
    );
    write(&control.join("control"), &text)?;
    // The Debian way of a changelog says which package this is of.
    let log = tree.join("usr/share/doc/umbra/changelog.Debian");
    let date = said(Command::new("date").args(["-R", "-u", "-r"]).arg(root().join("CHANGELOG.md")))?;
    let of = format!(
        "umbra ({VERSION}-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- The Umbra authors <umbra@umbra.dev>  {date}"
    );
    write(&log, &of)?;
    done(Command::new("gzip").args(["-9nf"]).arg(&log))?;
    let sums =
        said(Command::new("sh").current_dir(tree).args(["-c", "find usr -type f | sort | xargs md5sum"]))?;
    write(&control.join("md5sums"), &sums)?;
    let file = to.join(format!("umbra_{VERSION}-1_{machine}.deb"));
    let words = ["--root-owner-group", "-Zgzip", "--build"];
    done(Command::new("dpkg-deb").args(words).arg(tree).arg(&file).stdout(Stdio::null()))?;
    Ok(file)
}

/// The oldest glibc that has every symbol the programs ask for, and the unwinder.
fn needs(programs: &[PathBuf]) -> Result<String, String> {
    let mut newest = (2, 0);
    for program in programs {
        let symbols = said(Command::new("objdump").arg("-T").arg(program))?;
        let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
            let number: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
            Some((parts.next()?, parts.next()?))
        });
        newest = versions.fold(newest, Ord::max);
    }
    Ok(format!(
        "libc6 (>= {}.{}), libgcc-s1 (>= 4.2), init-system-helpers (>= 1.51), passwd | systemd",
        newest.0, newest.1
    ))
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
}

/// Copies a file, or a folder with all that is below it; readable by all users.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{} to {}: {error}", from.display(), to.display());
    if from.is_dir() {
        for one in files(from)? {
            copy(&one, &to.join(one.file_name().unwrap_or_default()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().unwrap_or(to)).map_err(told)?;
    fs::copy(from, to).map_err(told)?;
    mode(to, 0o644)
}

fn mode(file: &Path, mode: u32) -> Result<(), String> {
    fs::set_permissions(file, fs::Permissions::from_mode(mode))
        .map_err(|error| format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))
}

fn write(file: &Path, text: &str) -> Result<(), String> {
    let told = |error: std::io::Error| format!("{}: {error}", file.display());
    fs::create_dir_all(file.parent().unwrap_or(file)).map_err(told)?;
    fs::write(file, text).map_err(told)?;
    mode(file, 0o644)
}

/// Runs a command that has to succeed.
fn done(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// The output of a command that has to succeed.
fn said(command: &mut Command) -> Result<String, String> {
    let output =
        command.stderr(Stdio::inherit()).output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("{command:?}: prints what is no text"))
}
