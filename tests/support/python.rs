//! Virtual environments for tools that only Python has, made once and kept below the target folder.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environment `name` with these packages in it, as pip takes them; shared by all test processes.
pub fn environment(name: &str, requirements: &[&str]) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").join("target");
    fs::create_dir_all(&target).expect("the target folder");
    let lock = File::create(target.join(format!("{name}-venv.lock"))).expect("a lock file");
    lock.lock().expect("the lock");
    let (venv, wanted) = (target.join(format!("{name}-venv")), requirements.join("\n"));
    let stamp = venv.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return venv;
    }
    let _ = fs::remove_dir_all(&venv);
    run(name, Command::new("python3").args(["-m", "venv"]).arg(&venv));
    run(name, Command::new(venv.join("bin/pip")).args(["install", "--quiet"]).args(requirements));
    fs::write(&stamp, wanted).expect("the stamp");
    venv
}

#[track_caller]
fn run(name: &str, command: &mut Command) {
    let help = format!(
        "{name} cannot be installed, and what needs it is not tested.\n\
         Needed: python3 (3.10 or later) with venv and pip (Debian: apt-get install python3-venv), and a package index \
         that pip reaches (PIP_INDEX_URL). Then run the test again; remove target/{name}-venv to start afresh."
    );
    match command.output() {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "{help}\n{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("{help}\n{command:?}: {error}"),
    }
}
