//! Whether the files of the configuration have changed: looked at once a second, which sees editors that replace files
//! and mounted volumes that swap links as well as those that write in place. It reads no file.
//!
//! A thread of its own looks, because a file system may not answer.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::mpsc;

use super::Source;
use crate::os;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file from outside: device and inode, size, time of change.
type Facts = (u64, u64, u64, i64, i64);

type Look = Vec<(PathBuf, Option<Facts>)>;

/// The looks of the files just before they were read the last time, whatever the result.
#[derive(Debug, Clone, Default)]
pub(super) struct Served(Arc<Mutex<Looks>>);

/// Of the source, and of the files that it names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Looks {
    source: Look,
    named: Look,
}

impl Served {
    pub(super) fn set(&self, look: Look) {
        self.lock().source = look;
    }

    /// Adds files that a configuration names, before they are read: these are watched beside the source from now on, unless the
    /// returned value is dropped before it is kept. Then the earlier ones are watched again.
    pub(super) fn also(&self, files: &[PathBuf]) -> Also {
        let named = files.iter().cloned().map(one).collect();
        let before = std::mem::replace(&mut self.lock().named, named);
        Also { served: self.clone(), before: Some(before) }
    }

    fn get(&self) -> Looks {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Files that are watched for a configuration which is not in force yet.
#[derive(Debug)]
#[must_use = "dropped, it takes the watch back"]
pub(super) struct Also {
    served: Served,
    before: Option<Look>,
}

impl Also {
    /// Keeps the watch: the configuration is in force, or its source names files that may be mended next.
    pub(super) fn keep(mut self) {
        self.before = None;
    }
}

impl Drop for Also {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            // As they looked when they were read: a change meanwhile is seen.
            self.served.lock().named = before;
        }
    }
}

/// The files of a source, as they last looked.
#[derive(Debug)]
pub(super) struct Watch {
    source: Source,
    served: Served,
    last: Looks,
}

impl Watch {
    pub(super) fn new(source: &Source, served: &Served) -> Self {
        let last = Looks { source: look(source), named: served.get().named };
        Self { source: source.clone(), served: served.clone(), last }
    }

    /// Whether the files differ from those served, once they look the same twice: then no writer is at work.
    pub(super) fn has_changed(&mut self) -> bool {
        let named = self.served.get().named.into_iter().map(|(path, _)| one(path)).collect();
        let now = Looks { source: look(&self.source), named };
        let rests = now == self.last;
        self.last = now;
        if !rests || self.last == self.served.get() {
            return false;
        }
        // Told once: a reload notes anew how they looked.
        *self.served.lock() = self.last.clone();
        true
    }

    /// Looks for the rest of the process's life, and tells there.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(mut self) -> io::Result<mpsc::Receiver<()>> {
        let (told, heard) = mpsc::channel(1);
        let body = move || {
            while !told.is_closed() {
                thread::sleep(LOOK_EVERY);
                if self.has_changed() {
                    // A message that waits to be received says as much as two.
                    let _ = told.try_send(());
                }
            }
        };
        os::without_signals(|| thread::Builder::new().name("umbra-watch".into()).spawn(body))?;
        Ok(heard)
    }
}

pub(super) fn look(source: &Source) -> Look {
    let mut files: Vec<PathBuf> = match source {
        Source::Embedded | Source::Demo { .. } | Source::Line(_) => Vec::new(),
        Source::File(path) => vec![path.clone()],
        Source::Cluster(cluster) => cluster.settings().cloned().into_iter().collect(),
        Source::Manifests(manifests) => manifests.paths.iter().chain(&manifests.settings).cloned().collect(),
    };
    let inside = |folder: &PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let more: Vec<PathBuf> = files.iter().filter(|path| path.is_dir()).flat_map(inside).collect();
    files.extend(more);
    files.sort();
    files.into_iter().map(one).collect()
}

fn one(path: PathBuf) -> (PathBuf, Option<Facts>) {
    // Symbolic links are followed.
    let facts = std::fs::metadata(&path).ok();
    let look = facts.map(|f| (f.dev(), f.ino(), f.len(), f.mtime(), f.mtime_nsec()));
    (path, look)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_is_over_whoever_made_it_how() {
        let directory = tempfile::tempdir().unwrap();
        let (file, beside) = (directory.path().join("a.toml"), directory.path().join("b.toml"));
        std::fs::write(&file, "one").unwrap();
        let (source, served) = (Source::File(file.clone()), Served::default());
        served.set(look(&source));
        let mut watch = Watch::new(&source, &served);
        let told = |watch: &mut Watch| [watch.has_changed(), watch.has_changed(), watch.has_changed()];
        assert_eq!(told(&mut watch), [false; 3]);
        std::fs::write(&file, "three").unwrap();
        assert_eq!(told(&mut watch), [false, true, false]);
        std::fs::write(&beside, "other").unwrap();
        std::fs::rename(&beside, &file).unwrap();
        assert_eq!(told(&mut watch), [false, true, false]);
        std::fs::write(&beside, "linked").unwrap();
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink(&beside, &file).unwrap();
        assert_eq!(told(&mut watch), [false, true, false]);
    }

    #[test]
    fn files_of_a_configuration_that_is_refused_are_forgotten_and_those_in_force_are_watched_again() {
        let directory = tempfile::tempdir().unwrap();
        let [source, ours, theirs] =
            ["a.toml", "ours.pem", "theirs.pem"].map(|name| directory.path().join(name));
        let write = |file: &PathBuf, text: &str| std::fs::write(file, text).unwrap();
        for file in [&source, &ours, &theirs] {
            write(file, "one");
        }
        let (source, served) = (Source::File(source), Served::default());
        served.set(look(&source));
        served.also(std::slice::from_ref(&ours)).keep();
        let mut watch = Watch::new(&source, &served);
        let also = served.also(std::slice::from_ref(&theirs));
        assert!(!watch.has_changed());
        write(&ours, "three");
        drop(also);
        write(&theirs, "three");
        let told: Vec<bool> = (0..4).map(|_| watch.has_changed()).collect();
        assert_eq!(told, [false, true, false, false], "it changed while the other was looked at");
    }

    #[test]
    fn what_changes_after_it_was_read_and_before_the_first_look_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.toml");
        std::fs::write(&file, "one").unwrap();
        let (source, served) = (Source::File(file.clone()), Served::default());
        // Refused or not, it was read.
        let _ = source.read_served(&served);
        std::fs::write(&file, "three").unwrap();
        let mut watch = Watch::new(&source, &served);
        assert!(watch.has_changed());
        assert!(!watch.has_changed());
    }

    #[test]
    fn whatever_belongs_to_a_source_is_compared_with_how_it_was_when_it_was_read() {
        use std::os::unix::fs::symlink;
        use std::path::Path;

        type Change = fn(&Path, &Path);
        let write = |file: PathBuf, text: &str| std::fs::write(file, text).unwrap();
        let changes: [(&str, Change); 7] = [
            ("a file comes", |folder, _| std::fs::write(folder.join("b.yaml"), "one").unwrap()),
            ("a file goes", |folder, _| std::fs::remove_file(folder.join("a.yaml")).unwrap()),
            ("another of its length stands in its place", |folder, _| {
                std::fs::write(folder.join(".new"), "eno").unwrap();
                std::fs::rename(folder.join(".new"), folder.join("a.yaml")).unwrap();
            }),
            ("the link of a ConfigMap is turned", |folder, _| {
                symlink("..2", folder.join("..new")).unwrap();
                std::fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
            }),
            ("the folder is another", |folder, _| {
                std::fs::rename(folder, folder.with_extension("old")).unwrap();
                std::fs::create_dir(folder).unwrap();
            }),
            ("the settings beside it are others", |_, beside| {
                std::fs::write(beside.join("settings.toml"), "three").unwrap();
            }),
            ("a certificate that it names is renewed", |_, beside| {
                std::fs::write(beside.join("tls.pem"), "three").unwrap();
            }),
        ];
        for (name, change) in changes {
            let directory = tempfile::tempdir().unwrap();
            let (folder, beside) = (directory.path().join("manifests"), directory.path());
            for version in ["..1", "..2"] {
                std::fs::create_dir_all(folder.join(version)).unwrap();
                write(folder.join(version).join("c.yaml"), "one");
            }
            symlink("..1", folder.join("..data")).unwrap();
            symlink("..data/c.yaml", folder.join("c.yaml")).unwrap();
            for file in [folder.join("a.yaml"), beside.join("settings.toml"), beside.join("tls.pem")] {
                write(file, "one");
            }
            let source = Source::Manifests(config::manifest::Manifests {
                paths: vec![folder.clone()],
                settings: Some(beside.join("settings.toml")),
                ..Default::default()
            });
            let served = Served::default();
            let _refused = source.read_served(&served);
            served.also(&[beside.join("tls.pem")]).keep();
            change(&folder, beside);
            let mut watch = Watch::new(&source, &served);
            let told = [watch.has_changed(), watch.has_changed(), watch.has_changed()];
            assert_eq!(told.iter().filter(|told| **told).count(), 1, "{name}: {told:?}");
        }
    }

    #[test]
    fn a_file_that_is_being_written_is_told_when_it_rests() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.toml");
        std::fs::write(&file, "one").unwrap();
        let (source, served) = (Source::File(file.clone()), Served::default());
        served.set(look(&source));
        let mut watch = Watch::new(&source, &served);
        for length in 4..8 {
            std::fs::write(&file, "x".repeat(length)).unwrap();
            assert!(!watch.has_changed(), "{length}");
        }
        assert!(watch.has_changed());
        // One that rested and is written on is told again.
        std::fs::write(&file, "x".repeat(9)).unwrap();
        assert_eq!([watch.has_changed(), watch.has_changed(), watch.has_changed()], [false, true, false]);
    }
}
