//! A body as it arrives, whatever its framing. Does not keep the content.

use super::chunked::Decoder;
use super::{Bad, Framing};

#[derive(Debug)]
pub enum Body {
    Done,
    Length(u64),
    Chunked(Decoder),
    UntilClose,
}

impl Body {
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::None | Framing::Length(0) => Self::Done,
            Framing::Length(left) => Self::Length(left),
            Framing::Chunked => Self::Chunked(Decoder::default()),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Takes bytes, shows content to `on_data`, and returns how many bytes belonged to this body.
    pub fn feed(&mut self, input: &[u8], mut on_data: impl FnMut(&[u8])) -> Result<usize, Bad> {
        match self {
            Self::Done => Ok(0),
            Self::Length(left) => {
                let take = (*left).min(input.len() as u64) as usize;
                on_data(&input[..take]);
                *left -= take as u64;
                if *left == 0 {
                    *self = Self::Done;
                }
                Ok(take)
            }
            Self::Chunked(decoder) => {
                let used = decoder.feed(input, on_data)?;
                if decoder.is_done() {
                    *self = Self::Done;
                }
                Ok(used)
            }
            Self::UntilClose => {
                on_data(input);
                Ok(input.len())
            }
        }
    }

    /// The peer closed: was that the end of the body, or its loss?
    pub fn ends_at_close(&self) -> bool {
        matches!(self, Self::Done | Self::UntilClose)
    }
}
