//! Whether the files of the configuration have changed: looked at once a second, which sees editors that replace files
//! and mounted volumes that swap links as well as those that write in place. It reads no file.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::Source;

/// What a file looks like from outside: device and inode, size, time of change.
type Look = Vec<(PathBuf, Option<(u64, u64, u64, i64, i64)>)>;

/// The files of a source, as they last looked.
#[derive(Debug)]
pub(super) struct Watch {
    source: Source,
    served: Look,
    last: Look,
}

impl Watch {
    pub(super) fn new(source: &Source) -> Self {
        let look = look(source);
        Self { source: source.clone(), served: look.clone(), last: look }
    }

    /// Says that the files differ from those served, once they look the same twice: nobody is writing any more.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = look(&self.source);
        let rests = now == self.last;
        self.last = now;
        if !rests || self.last == self.served {
            return false;
        }
        self.served.clone_from(&self.last);
        true
    }
}

fn look(source: &Source) -> Look {
    let mut files: Vec<PathBuf> = match source {
        Source::Embedded => Vec::new(),
        Source::File(path) => vec![path.clone()],
        Source::Manifests(manifests) => manifests.paths.iter().chain(&manifests.settings).cloned().collect(),
    };
    let inside = |folder: &PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
    };
    let more: Vec<PathBuf> = files.iter().filter(|path| path.is_dir()).flat_map(inside).collect();
    files.extend(more);
    files.sort();
    let one = |path: PathBuf| {
        // Followed to what it points at.
        let facts = std::fs::metadata(&path).ok();
        let look = facts.map(|f| (f.dev(), f.ino(), f.len(), f.mtime(), f.mtime_nsec()));
        (path, look)
    };
    files.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_when_it_is_over_whoever_made_it_how() {
        let directory = tempfile::tempdir().unwrap();
        let (file, beside) = (directory.path().join("a.toml"), directory.path().join("b.toml"));
        std::fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(&Source::File(file.clone()));
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
}
