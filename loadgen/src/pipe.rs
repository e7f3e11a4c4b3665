//! A connection of our runtime as the h2 crate wants one: tokio's two traits, and nothing else of tokio.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::io::Buffer;
use crate::link::{Duplex, Link};
use crate::os;

/// Content read at once.
const BUFFER_BYTES: usize = 32 * 1024;

/// The reading side while nothing is being read.
struct Reader {
    duplex: Duplex,
    buffer: Buffer,
}

type Reading = Pin<Box<dyn Future<Output = (io::Result<usize>, Reader)>>>;

enum State {
    Ready(Reader),
    Reading(Reading),
    Over,
}

pub struct Pipe {
    link: Rc<Link>,
    state: State,
}

impl Pipe {
    /// `buffer`: bytes that were read already.
    pub fn new(duplex: Duplex, mut buffer: Buffer) -> Self {
        buffer.resize(buffer.capacity().max(BUFFER_BYTES));
        Self { link: duplex.link.clone(), state: State::Ready(Reader { duplex, buffer }) }
    }

    pub fn fresh(duplex: Duplex) -> Self {
        Self::new(duplex, Buffer::new(BUFFER_BYTES))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Ready(mut reader) if !reader.buffer.is_empty() => {
                    let bytes = reader.buffer.bytes();
                    let count = bytes.len().min(into.remaining());
                    into.put_slice(&bytes[..count]);
                    reader.buffer.consume(count);
                    self.state = State::Ready(reader);
                    return Poll::Ready(Ok(()));
                }
                State::Ready(mut reader) => {
                    self.state = State::Reading(Box::pin(async move {
                        let result = reader.duplex.fill_at_most(&mut reader.buffer, usize::MAX).await;
                        (result, reader)
                    }));
                }
                State::Reading(mut reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready((Ok(0), _)) => return Poll::Ready(Ok(())),
                    Poll::Ready((Err(error), _)) => return Poll::Ready(Err(error)),
                    Poll::Ready((Ok(_), reader)) => self.state = State::Ready(reader),
                },
                State::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.link.is_full() {
            self.link.wake_when_written(context.waker());
            return Poll::Pending;
        }
        Poll::Ready(self.link.push(bytes).map(|()| bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.flush();
        if self.link.is_broken() {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        if self.link.is_writing() {
            self.link.wake_when_written(context.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.say_goodbye();
        if self.link.is_writing() && !self.link.is_broken() {
            self.link.wake_when_written(context.waker());
            return Poll::Pending;
        }
        os::shutdown_write(self.link.fd());
        Poll::Ready(Ok(()))
    }
}
