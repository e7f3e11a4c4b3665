//! Answers kept to be compared: a bounded part of each, within a budget of all. Pure.
//!
//! A kept response counts from the first byte read to the end of the comparison, wherever it is then. Nothing kept is a
//! reason to wait: an answer that finds no room is not kept, and the exchange goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::record::{Answer, Request};

/// Bytes kept of a request's content.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Bytes of answers that one worker's exchanges may keep, and how many they do; on lines of their own, for those of all workers
/// are made together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Budget {
    used: AtomicUsize,
    bytes_max: AtomicUsize,
    refused: AtomicUsize,
}

impl Budget {
    pub fn set_max(&self, bytes: usize) {
        self.bytes_max.store(bytes, Relaxed);
    }

    /// Bytes kept now.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed)
    }

    /// Answers that found no room.
    pub fn refused(&self) -> usize {
        self.refused.load(Relaxed)
    }

    /// Takes room for parts that are not necessary: answers have the other half.
    fn take_spare(&self, bytes: usize) -> bool {
        let fits = self.used().saturating_add(bytes) <= self.bytes_max.load(Relaxed) / 2;
        if fits {
            self.used.fetch_add(bytes, Relaxed);
        }
        fits
    }

    /// Only the worker takes, so that the value it reads can only have become less.
    fn take(&self, bytes: usize) -> bool {
        let fits = self.used().saturating_add(bytes) <= self.bytes_max.load(Relaxed);
        if fits {
            self.used.fetch_add(bytes, Relaxed);
        } else {
            self.refused.fetch_add(1, Relaxed);
        }
        fits
    }
}

/// A part of a budget; dropping it gives it back.
#[derive(Debug)]
pub struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Held {
    fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Relaxed);
    }
}

/// An answer and the room it takes.
pub type Kept = (Answer, Held);

/// A request as it is sent, in `parts`, and the room it takes; `None` where there is none, which no comparison misses.
pub fn request<'a>(
    budget: &Arc<Budget>,
    parts: impl Iterator<Item = &'a [u8]> + Clone,
) -> Option<(Request, Held)> {
    const END: &[u8] = b"\r\n\r\n";
    let first = parts.clone().next()?;
    let head_bytes = memchr::memmem::find(first, END)? + 2;
    let all: usize = parts.clone().map(<[u8]>::len).sum();
    let behind = all.checked_sub(head_bytes + 2)?;
    let kept = behind.min(REQUEST_BYTES_MAX);
    if !budget.take_spare(head_bytes + kept) {
        return None;
    }
    let held = Held { budget: Arc::clone(budget), bytes: head_bytes + kept };
    let mut content = Vec::with_capacity(kept);
    let mut skip = head_bytes + 2;
    for part in parts {
        let part = part.get(skip..).unwrap_or_default();
        skip = 0;
        content.extend_from_slice(part.get(..kept - content.len()).unwrap_or(part));
    }
    let head = first.get(..head_bytes)?.into();
    Some((Request { head, content: content.into(), is_cut: kept < behind }, held))
}

/// An answer while it is read.
#[derive(Debug)]
pub struct Keeping {
    status: u16,
    fields: Vec<u8>,
    content: Vec<u8>,
    trailers: Vec<u8>,
    is_cut: bool,
    bytes_max: usize,
    held: Held,
}

impl Keeping {
    /// `head`: the whole of it, from the status line to the empty line. At most `bytes_max` of its content are kept.
    /// `None` where there is no room.
    pub fn begin(budget: &Arc<Budget>, status: u16, head: &[u8], bytes_max: usize) -> Option<Box<Self>> {
        let start = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        let lines = head.get(start..).unwrap_or_default();
        let fields = lines.strip_suffix(b"\r\n").unwrap_or(lines);
        let mut held = Held { budget: Arc::clone(budget), bytes: 0 };
        held.grow(fields.len()).then(|| {
            let fields = fields.to_vec();
            let (content, trailers) = (Vec::new(), Vec::new());
            Box::new(Self { status, fields, content, trailers, is_cut: false, bytes_max, held })
        })
    }

    /// A further piece of its content; `false` where there was no room for it and nothing can be kept.
    #[must_use]
    pub fn content(&mut self, piece: &[u8]) -> bool {
        let room = self.bytes_max - self.content.len();
        let part = piece.get(..room).unwrap_or(piece);
        self.is_cut |= part.len() < piece.len();
        if !self.held.grow(part.len()) {
            return false;
        }
        self.content.extend_from_slice(part);
        true
    }

    /// The lines behind its content; `false` as with that.
    #[must_use]
    fn trailers(&mut self, lines: &[u8]) -> bool {
        let fits = self.held.grow(lines.len());
        if fits {
            self.trailers = lines.to_vec();
        }
        fits
    }

    /// As much is kept as may be.
    pub fn is_full(&self) -> bool {
        self.content.len() >= self.bytes_max
    }

    /// Ends the content here, although more was to come.
    pub fn cut(&mut self) {
        self.is_cut = true;
    }

    pub fn end(self) -> Kept {
        let Self { status, fields, content, trailers, is_cut, bytes_max: _, held } = self;
        let (fields, content, trailers) = (fields.into(), content.into(), trailers.into());
        (Answer { status, fields, content, is_cut, trailers }, held)
    }
}

/// Tells `keeping` a piece of content, and lets go of it where there is no room.
pub fn keep(keeping: &mut Option<Box<Keeping>>, piece: &[u8]) {
    if let Some(kept) = keeping
        && !kept.content(piece)
    {
        *keeping = None;
    }
}

/// The same of its trailers.
pub fn keep_trailers(keeping: &mut Option<Box<Keeping>>, lines: &[u8]) {
    if let Some(kept) = keeping
        && !kept.trailers(lines)
    {
        *keeping = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\n\r\n";

    fn budget(bytes: usize) -> Arc<Budget> {
        let budget = Arc::new(Budget::default());
        budget.set_max(bytes);
        budget
    }

    #[test]
    fn an_answer_is_kept_to_its_bound_and_its_room_given_back_at_the_end() {
        let budget = budget(100);
        let mut keeping = Keeping::begin(&budget, 200, HEAD, 5);
        for piece in ["ab", "cd", "ef", "gh"] {
            keep(&mut keeping, piece.as_bytes());
        }
        keep_trailers(&mut keeping, b"t: 1\r\n");
        let (answer, held) = keeping.unwrap().end();
        let fields = b"A: 1\r\nB: 2\r\n".as_slice();
        assert_eq!(
            answer,
            Answer {
                status: 200,
                fields: fields.into(),
                content: b"abcde".as_slice().into(),
                is_cut: true,
                trailers: b"t: 1\r\n".as_slice().into(),
            }
        );
        assert_eq!(budget.used(), 23);
        drop(held);
        assert_eq!((budget.used(), budget.refused()), (0, 0));
    }

    #[test]
    fn a_request_is_kept_in_the_half_of_the_room_that_answers_leave() {
        let whole = b"GET / HTTP/1.1\r\nA: 1\r\n\r\nab".as_slice();
        let budget = budget(100);
        let (kept, held) = request(&budget, [whole, b"cd"].into_iter()).unwrap();
        assert_eq!((&*kept.head, &*kept.content), (&whole[..22], b"abcd".as_slice()));
        assert_eq!((budget.used(), kept.is_cut), (26, false));
        assert_eq!(request(&budget, [whole].into_iter()).map(|(of, _)| of.content.len()), Some(2));
        let other = request(&budget, [whole].into_iter()).unwrap();
        assert!(request(&budget, [whole].into_iter()).is_none());
        drop((held, other));
        assert_eq!((budget.used(), budget.refused()), (0, 0), "no comparison misses it");
        let long = [whole, &[b'x'; 2 * REQUEST_BYTES_MAX]].concat();
        let budget = self::budget(1 << 20);
        let (kept, _held) = request(&budget, [long.as_slice()].into_iter()).unwrap();
        assert_eq!((kept.content.len(), kept.is_cut), (REQUEST_BYTES_MAX, true));
    }

    #[test]
    fn what_finds_no_room_is_not_kept_and_holds_nothing() {
        let budget = budget(14);
        assert!(Keeping::begin(&budget, 200, &[HEAD, HEAD].concat(), 5).is_none());
        let mut keeping = Keeping::begin(&budget, 200, HEAD, 5);
        keep(&mut keeping, b"ab");
        assert!(keeping.is_some());
        keep(&mut keeping, b"c");
        assert!(keeping.is_none());
        assert_eq!((budget.used(), budget.refused()), (0, 2));
        let mut keeping = Keeping::begin(&budget, 200, HEAD, 5);
        keep_trailers(&mut keeping, b"long: 1\r\n");
        assert!(keeping.is_none());
    }
}
