//! The writer against real folders: bounds, losses and their account.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::channel;

use super::*;

const HEAD: &str = "GET / HTTP/1.1\r\nX-Umbra-Mirror: m\r\nX-Umbra-Route: r\r\n\r\n";

fn settings(directory: &Path) -> Capture {
    Capture {
        name: "t".into(),
        directory: directory.into(),
        file_bytes_max: 2_000,
        bytes_max: 10_000,
        drop: DropPolicy::Newest,
        compression: Compression::None,
    }
}

fn writer(settings: Capture) -> Writer {
    // Its other end is not needed: nothing is heard.
    Writer::new(settings, Arc::default(), channel().1)
}

fn take(writer: &mut Writer, count: u64) {
    for at_us in 0..count {
        let captured = Captured { at_us, head: HEAD.into(), pieces: Vec::new(), bytes: 0 };
        writer.take(&captured);
    }
    writer.flush();
}

fn balances(writer: &Writer) -> [u64; 4] {
    let of = &writer.counters;
    let ended = [&of.written, &of.too_large, &of.full, &of.unwritable, &of.failed].map(Counter::get);
    assert_eq!(of.taken.get(), ended.iter().sum::<u64>() + of.waiting.get() as u64, "{ended:?}");
    [of.written.get(), of.full.get(), of.unwritable.get(), of.failed.get()]
}

fn held(directory: &Path) -> Vec<(String, u64)> {
    folder::files(directory, "t").unwrap()
}

#[test]
fn files_are_bounded_one_by_one_and_together_and_what_comes_is_dropped() {
    for compression in Compression::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = writer(Capture { compression, ..settings(folder.path()) });
        for _ in 0..100 {
            take(&mut writer, 50);
        }
        let [written, full, unwritable, failed] = balances(&writer);
        assert!(written > 50 && full > 50, "{compression:?}: {written} {full}");
        assert_eq!((unwritable, failed), (0, 0));
        writer.close();
        let files = held(folder.path());
        assert!(files.len() >= 5 && files.iter().all(|(_, bytes)| *bytes <= 2_000), "{files:?}");
        assert!(files.iter().map(|(_, bytes)| bytes).sum::<u64>() <= 10_000, "{files:?}");
        let mut lines = 0;
        for (name, _) in files {
            let bytes = fs::read(folder.path().join(name)).unwrap();
            let mut text = String::new();
            match compression {
                Compression::None => text = String::from_utf8(bytes).unwrap(),
                Compression::Gzip => {
                    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
                }
            }
            lines += text.lines().filter(|line| line.ends_with("\"}")).count() as u64;
        }
        assert_eq!(lines, written, "each line that was counted is there");
    }
}

#[test]
fn the_oldest_files_give_way_where_it_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("t-notes.jsonl");
    fs::write(&foreign, b"mine").unwrap();
    let mut writer = writer(Capture { drop: DropPolicy::Oldest, ..settings(folder.path()) });
    take(&mut writer, 1_000);
    assert_eq!(balances(&writer), [1_000, 0, 0, 0]);
    let files = held(folder.path());
    assert!(files.iter().map(|(_, bytes)| bytes).sum::<u64>() <= 10_000, "{files:?}");
    assert_eq!(writer.counters.files.get() - writer.counters.files_removed.get(), files.len() as u64);
    assert!(writer.counters.files_removed.get() > 10 && foreign.exists());
    let (last, _) = files.last().unwrap();
    let text = fs::read_to_string(folder.path().join(last)).unwrap();
    assert!(text.contains("{\"at_us\":999,"), "the newest is there");
}

#[test]
fn a_folder_that_is_away_costs_copies_until_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("later");
    let mut writer = writer(settings(&directory));
    take(&mut writer, 3);
    assert_eq!(balances(&writer), [0, 0, 3, 0]);
    assert!(writer.trouble.is_some());
    fs::create_dir(&directory).unwrap();
    take(&mut writer, 1);
    assert_eq!(balances(&writer), [0, 0, 4, 0], "it is not tried for each copy");
    writer.retry_at = None;
    take(&mut writer, 2);
    assert_eq!(balances(&writer), [2, 0, 4, 0]);
    assert!(writer.trouble.is_none());
}

#[test]
fn a_full_disk_fails_what_was_being_written_and_drops_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(settings(folder.path()));
    take(&mut writer, 1);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    writer.file.as_mut().unwrap().file = full;
    take(&mut writer, 2);
    assert_eq!(balances(&writer), [1, 0, 0, 2]);
    take(&mut writer, 5);
    assert_eq!(balances(&writer), [1, 0, 5, 2]);
}

#[test]
fn a_copy_larger_than_a_file_is_dropped_and_is_no_trouble() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = writer(settings(folder.path()));
    let pieces = vec![bytes::Bytes::from(vec![b'x'; 2_000])];
    writer.take(&Captured { at_us: 1, head: HEAD.into(), pieces, bytes: 0 });
    take(&mut writer, 1);
    assert_eq!((writer.counters.too_large.get(), balances(&writer)), (1, [1, 0, 0, 0]));
    assert!(writer.trouble.is_none());
}

#[test]
fn it_ends_when_nobody_can_hand_it_anything() {
    let folder = tempfile::tempdir().unwrap();
    let (commands, heard) = channel();
    let counters = Arc::<CaptureCounters>::default();
    let writer = Writer::new(settings(folder.path()), Arc::clone(&counters), heard);
    let thread = thread::spawn(move || writer.run());
    let (mut feed, fed) = crate::mirror::feed::feed();
    commands.send(Command::Feed(fed)).unwrap();
    drop(commands);
    for at_us in 0..10 {
        let captured = Captured { at_us, head: HEAD.into(), pieces: Vec::new(), bytes: 100 };
        feed.push(captured).unwrap();
    }
    drop(feed);
    thread.join().unwrap();
    assert_eq!((counters.taken.get(), counters.written.get()), (10, 10));
}
