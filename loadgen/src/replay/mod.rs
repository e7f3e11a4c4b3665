//! Recorded requests, to be sent again: captures of the gateway, access logs, and HAR. Reads files; sends nothing.

mod capture;
mod har;
mod log;
mod pace;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use flate2::read::MultiGzDecoder;

use crate::file;

pub use pace::Pace;

/// A request as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Since the Unix epoch.
    pub at_ns: i128,
    pub method: String,
    pub target: String,
    /// In their order; without those that are a connection's own or follow from the body.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// All requests of some files, ordered by time.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recording {
    pub requests: Vec<Recorded>,
    /// Lines that are no requests.
    pub skipped: usize,
    pub files: usize,
}

impl Recorded {
    fn is_request(&self) -> bool {
        !self.method.is_empty()
            && self.method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-')
            && self.target.starts_with('/')
            && self.target.bytes().all(|b| b.is_ascii_graphic())
            && self.headers.iter().all(|(name, value)| is_field(name, value))
    }
}

fn is_field(name: &str, value: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let is_value = |b: u8| b == b'\t' || (b' '..=b'~').contains(&b) || b >= 0x80;
    !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_value)
}

/// Fields that are not sent again as they were: a connection's own, and those that follow from the body.
const OWN: [&str; 9] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn is_own(name: &str) -> bool {
    OWN.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Reads files, and all files in folders.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<Recording> {
    let mut recording = Recording::default();
    for path in paths {
        let file = || path.display().to_string();
        if !path.is_dir() {
            recording.read(path).with_context(file)?;
            continue;
        }
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).with_context(file)? {
            let entry = entry.with_context(file)?;
            if entry.file_type().with_context(file)?.is_file() {
                inside.push(entry.path());
            }
        }
        inside.sort();
        ensure!(!inside.is_empty(), "{} holds no file", path.display());
        for path in inside {
            recording.read(&path).with_context(|| path.display().to_string())?;
        }
    }
    ensure!(
        !recording.requests.is_empty(),
        "no request in {}: {} lines are none",
        paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
        recording.skipped
    );
    // Stable: requests of the same instant keep their order.
    recording.requests.sort_by_key(|recorded| recorded.at_ns);
    Ok(recording)
}

impl Recording {
    fn read(&mut self, path: &Path) -> anyhow::Result<()> {
        let bytes = uncompressed(path)?;
        self.files += 1;
        let text = String::from_utf8_lossy(&bytes);
        if har::is_one(&text) {
            let (requests, skipped) = har::parse(&text)?;
            self.requests.extend(requests);
            self.skipped += skipped;
            return Ok(());
        }
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match capture::parse(line).or_else(|| log::parse(line)) {
                Some(recorded) => self.requests.push(recorded),
                None => self.skipped += 1,
            }
        }
        Ok(())
    }
}

/// A file's bytes; of a compressed one that breaks off, as one does that is still being written, those before.
fn uncompressed(path: &Path) -> anyhow::Result<Vec<u8>> {
    let bytes = file::read(path)?;
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    match file::append(MultiGzDecoder::new(&bytes[..]), file::BYTES_MAX, &mut plain) {
        Ok(()) => Ok(plain),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(plain),
        Err(error) => Err(error).context("cannot be decompressed"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn folders_compressed_files_and_torn_ends_are_read_in_the_order_of_their_times() {
        let folder = tempfile::tempdir().expect("a folder");
        let line = |ts: u32, target: &str| format!(r#"{{"ts":{ts},"method":"GET","target":"{target}"}}"#);
        let plain = format!("{}\n{}\n{{\"ts\":9,\"met", line(3, "/c"), line(1, "/a"));
        std::fs::write(folder.path().join("a.jsonl"), plain).expect("written");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(format!("{}\n", line(2, "/b")).as_bytes()).expect("compressed");
        gzip.flush().expect("compressed");
        // Without its end.
        std::fs::write(folder.path().join("b.jsonl.gz"), gzip.get_ref()).expect("written");
        let got = read(&[folder.path().to_path_buf()]).expect("it is read");
        let targets: Vec<&str> = got.requests.iter().map(|r| r.target.as_str()).collect();
        assert_eq!((targets, got.skipped, got.files), (vec!["/a", "/b", "/c"], 1, 2));
    }

    #[test]
    fn what_holds_no_request_is_told_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.log");
        std::fs::write(&path, "nothing\nhere\n").expect("written");
        let why = format!("{:#}", read(&[path]).expect_err("nothing is there"));
        assert!(why.contains("x.log: 2 lines are none"), "{why}");
        let why = format!("{:#}", read(&[folder.path().join("away")]).expect_err("it is away"));
        assert!(why.contains("away"), "{why}");
    }
}
