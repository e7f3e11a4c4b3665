//! gRPC's messages within a stream's content: five bytes before each. Pure.

use bytes::Bytes;

/// A message with its prefix, not compressed.
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(message.len() + 5);
    out.push(0);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out.into()
}

/// Counts messages, however the bytes are cut.
#[derive(Debug, Default)]
pub struct Messages {
    prefix: [u8; 5],
    prefix_bytes: usize,
    left: u64,
}

impl Messages {
    /// Messages that were completed by these bytes.
    pub fn feed(&mut self, mut data: &[u8]) -> u64 {
        let mut complete = 0;
        loop {
            if self.prefix_bytes < 5 {
                let take = data.len().min(5 - self.prefix_bytes);
                self.prefix[self.prefix_bytes..self.prefix_bytes + take].copy_from_slice(&data[..take]);
                self.prefix_bytes += take;
                data = &data[take..];
                if self.prefix_bytes < 5 {
                    return complete;
                }
                let [_, a, b, c, d] = self.prefix;
                self.left = u64::from(u32::from_be_bytes([a, b, c, d]));
            }
            let take = (data.len() as u64).min(self.left);
            self.left -= take;
            data = &data[take as usize..];
            if self.left > 0 {
                return complete;
            }
            self.prefix_bytes = 0;
            complete += 1;
        }
    }

    /// No message has begun that is not whole.
    pub fn is_between(&self) -> bool {
        self.prefix_bytes == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_however_the_bytes_are_cut() {
        let all = [frame(b"hello"), frame(b""), frame(&[7; 300])].concat();
        for step in 1..=all.len() {
            let mut messages = Messages::default();
            let count: u64 = all.chunks(step).map(|part| messages.feed(part)).sum();
            assert_eq!((count, messages.is_between()), (3, true), "step {step}");
        }
        let mut cut = Messages::default();
        assert_eq!(cut.feed(&all[..7]), 0);
        assert!(!cut.is_between());
    }
}
