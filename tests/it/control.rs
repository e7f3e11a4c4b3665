//! The control loop answers signals and probes at all times: with configurations that take long, and files that never end.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use tests::load::get;
use tests::{Client, Gateway, Origin, Process, Setup, eventually};

fn fifo(at: &Path) {
    assert!(Command::new("mkfifo").arg(at).status().expect("mkfifo").success());
}

/// A route for each of so many patterns, the dearest that are allowed: each takes about a millisecond to compile, and all that
/// are allowed together, some two thousand, take seconds.
fn dear_patterns(routes: usize) -> String {
    let route = |n: usize| {
        format!("[[route]]\npath_regex = '/u{n}/([\\w.-]{{80}}[a-f/]|x){{8}}'\nprimary = \"primary\"\n")
    };
    (0..routes).map(route).collect()
}

#[test]
fn probes_are_answered_while_a_configuration_is_checked_and_changes_take_turns() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let gateway = setup.start();
    let probe = || assert_eq!(gateway.admin("GET", "/healthz", "").status, 200);
    // How long a check takes is the machine's business: it grows until three probes fit in.
    let heard = [32, 64, 128, 256, 512, 1024, 1600].into_iter().any(|routes| {
        let long = setup.clone().with(&dear_patterns(routes)).toml();
        let (done, probes) = (AtomicBool::new(false), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            let put = || {
                let answer = gateway.admin("PUT", "/config", &long);
                done.store(true, SeqCst);
                assert_eq!(answer.status, 200, "{}", answer.text());
            };
            scope.spawn(put);
            while !done.load(SeqCst) && probes.load(SeqCst) < 3 {
                probe();
                probes.fetch_add(1, SeqCst);
            }
            let heard = !done.load(SeqCst);
            // The next change waits its turn, and is made.
            assert_eq!(gateway.admin("PUT", "/config", &setup.toml()).status, 200);
            heard
        })
    });
    assert!(heard, "no three probes were answered during any check");
    assert_eq!(gateway.client().ask(get(0)).text(), "v1");
}

#[test]
fn sigterm_is_heard_while_a_configuration_is_checked() {
    let v1 = Origin::named("v1");
    let setup = Setup::new(&v1);
    let dear = setup.clone().with(&dear_patterns(1600)).toml();
    // Seconds of a core. Where this process is held up for longer than that, the signal comes too late to say anything.
    let heard = (0..3).any(|_| {
        let mut gateway = setup.start();
        gateway.write(&dear);
        gateway.signal("HUP");
        eventually("it is checked", || is_checking(&gateway) || has_checked(&gateway));
        gateway.signal("TERM");
        assert_eq!(gateway.wait_exit().code(), Some(0), "{}", gateway.stderr());
        eventually("its last word is read", || gateway.stderr().contains("drained"));
        !has_checked(&gateway)
    });
    assert!(heard, "each time the check ended first");
}

/// A thread of its own checks.
fn is_checking(gateway: &Gateway) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", gateway.pid())).expect("threads");
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    names.into_iter().any(|name| name.trim_end() == "umbra-config")
}

fn has_checked(gateway: &Gateway) -> bool {
    ["configuration applied", "configuration unchanged"].iter().any(|told| gateway.stderr().contains(told))
}

#[test]
fn a_pipe_in_the_files_place_is_refused_and_everything_goes_on() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let mut gateway = Setup::new(&v1).start();
    std::fs::remove_file(gateway.file()).expect("the file goes");
    fifo(&gateway.file());
    gateway.signal("HUP");
    eventually("it is refused", || gateway.stderr().contains("not a regular file"));
    assert_eq!(gateway.admin("GET", "/healthz", "").status, 200);
    gateway.write(&Setup::new(&v2).toml());
    gateway.signal("HUP");
    eventually("a file is read again", || gateway.client().ask(get(0)).text() == "v2");
    gateway.signal("TERM");
    assert_eq!(gateway.wait_exit().code(), Some(0));
}

#[test]
fn files_that_never_end_are_refused_by_every_command_before_they_are_read() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (pipe, sparse) = (folder.path().join("pipe"), folder.path().join("sparse"));
    fifo(&pipe);
    std::fs::File::create(&sparse).and_then(|file| file.set_len(600 << 20)).expect("a sparse file");
    let rows = [
        (Path::new("/dev/zero"), "not a regular file"),
        (&pipe, "not a regular file"),
        (&sparse, "it has more than 8 MiB"),
    ];
    for (path, why) in rows {
        for option in ["--config", "--manifest"] {
            for verb in [Some("check"), None] {
                let mut command = Command::new(tests::gateway::binary());
                let ended = Gateway::ends(command.args(verb).arg(option).arg(path));
                let said = String::from_utf8_lossy(&ended.stderr).into_owned();
                assert_eq!(ended.status.code(), Some(1), "{verb:?} {option} {}: {said}", path.display());
                assert!(said.contains(why), "{verb:?} {option} {}: {said}", path.display());
            }
        }
    }
}

#[test]
fn standard_input_is_read_to_a_bound() {
    let mut command = Command::new(tests::gateway::binary());
    let zeros = std::fs::File::open("/dev/zero").expect("/dev/zero");
    let command = command.args(["check", "--manifest", "-"]).stdin(zeros).stderr(Stdio::piped());
    let ended = command.spawn().expect("it starts").wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.code() == Some(1) && said.contains("it has more than 8 MiB"), "{said}");
}

#[test]
fn what_was_read_at_the_start_is_what_the_watch_compares_with() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("gateway.toml");
    // A name that takes its time to be looked up holds the start between the reading and the serving.
    let slow = "[upstream.slow]\nendpoints = [\"nobody.invalid:1\"]\n[[route]]\npath = \"/x\"\nprimary = \"primary\"\n\
                mirrors = [{ upstream = \"slow\" }]";
    std::fs::write(&file, Setup::new(&old).with(slow).toml()).expect("the configuration is written");
    let mut command = Command::new(tests::gateway::binary());
    let mut gateway = Process::spawn(command.args(["--watch", "--config"]).arg(&file));
    // Said when it was read and looked up, before any worker serves.
    eventually("it was read", || gateway.stderr().contains("nobody.invalid"));
    std::fs::write(&file, Setup::new(&new).toml()).expect("another is written");
    let address = gateway.lines("listening on ", 1).remove(0).parse().expect("an address");
    eventually("the new file is served", || Client::connect(address).ask(get(0)).text() == "new");
}
