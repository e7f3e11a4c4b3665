//! Letting others go first, in a runtime that does not do so by itself.

use std::cell::OnceCell;
use std::io::Write as _;
use std::os::unix::net::UnixStream as StdStream;
use std::rc::Rc;

use monoio::net::UnixStream;

use super::sleep_ms;

thread_local! {
    static ALWAYS_READY: OnceCell<Option<AlwaysReady>> = const { OnceCell::new() };
}

/// Two ends of which one can always be read.
struct AlwaysReady {
    reader: Rc<UnixStream>,
    _writer: StdStream,
}

fn always_ready() -> Option<AlwaysReady> {
    let (reader, mut writer) = StdStream::pair().ok()?;
    writer.write_all(b"x").ok()?;
    Some(AlwaysReady { reader: Rc::new(UnixStream::from_std(reader).ok()?), _writer: writer })
}

/// Lets every other task on the worker have a turn, and the kernel's completions come in, before it goes on.
///
/// A task that wakes itself does neither: monoio 0.2.4 runs it next, before all others, and as long as one is ready it
/// does not ask io_uring for completions. Only an operation that the kernel completes comes back behind the others.
pub async fn turn() {
    super::in_world!(world => world.sleep_us(1).await);
    if monoio::utils::is_legacy() {
        // Here the queue's end is enough: epoll is asked between rounds, and a socket that is ready would not wait.
        return monoio::spawn(async {}).await;
    }
    let reader = ALWAYS_READY
        .with(|cell| cell.get_or_init(always_ready).as_ref().map(|ready| Rc::clone(&ready.reader)));
    match reader {
        // Whatever its result, the read came back from the kernel.
        Some(reader) => drop(reader.readable(false).await),
        None => sleep_ms(1).await,
    }
}
