//! A tunnel that an exchange has become: bytes pass both ways, unread, until both ends have said that no more come, one of them
//! breaks, nothing moves any more, or the gateway goes. None of them is copied.
//!
//! Each direction is a future of its own, so that neither waits for the other; a direction holds one block at most, and while
//! nothing comes, none.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::context::Context;
use crate::message::server::Message;
use crate::message::tunnel::{Sink, Source};
use crate::metrics::{TunnelEnd, TunnelWay};
use crate::time::Millis;
use crate::tunnels::{Open, Permit};
use crate::upstream::pool::Lease;

/// The facts of a request that asks for a tunnel, until there is one.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) offer: crate::http1::offer::Offer,
    pub(super) permit: Permit,
    /// Of connections that drain together.
    pub(super) group: u32,
    /// The client takes any success for a tunnel (RFC 9110 §9.3.6): it gets none where there is none.
    pub(super) is_connect: bool,
}

/// A tunnel that is open. It needs nothing of the exchange it began as, nor of the configuration.
#[derive(Debug)]
pub struct Tunnel {
    lease: Lease,
    open: Open,
    write_ms: Millis,
}

/// The bytes that passed through a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub up: u64,
    pub down: u64,
}

impl Tunnel {
    /// The client has the head that opens it, and `down` bytes behind it.
    pub(super) fn new(cx: &Context, asked: Asked, lease: Lease, config: &config::Config, down: u64) -> Self {
        let idle = config.timeouts.tunnel_idle.into();
        let open = asked.permit.open(asked.group, idle, down, cx.now_ms());
        Self { lease: lease.without_permit(), open, write_ms: config.timeouts.write.into() }
    }

    /// Passes bytes until it is over.
    pub async fn run(self, cx: &Rc<Context>, client: Message<'_>) -> Passed {
        let Self { mut lease, open, write_ms } = self;
        let ends = client.tunnel().zip(lease.line.tunnel(&cx.buffers));
        if let Some(((from_client, mut to_client), (from_primary, mut to_primary))) = ends {
            let how = {
                let up = Way { cx, open: &open, write_ms, way: TunnelWay::Up };
                let up = up.pass(from_client, &mut to_primary);
                let down = Way { cx, open: &open, write_ms, way: TunnelWay::Down };
                let down = down.pass(from_primary, &mut to_client);
                let (mut up, mut down) = (pin!(up), pin!(down));
                let (mut up_is_over, mut down_is_over) = (false, false);
                poll_fn(|task| {
                    if let Poll::Ready(why) = open.told(task) {
                        return Poll::Ready(why);
                    }
                    if !up_is_over && let Poll::Ready(passed) = up.as_mut().poll(task) {
                        up_is_over = true;
                        if let Err(whose) = passed {
                            return Poll::Ready(whose);
                        }
                    }
                    if !down_is_over && let Poll::Ready(passed) = down.as_mut().poll(task) {
                        down_is_over = true;
                        if let Err(whose) = passed {
                            return Poll::Ready(whose);
                        }
                    }
                    if up_is_over && down_is_over { Poll::Ready(TunnelEnd::Closed) } else { Poll::Pending }
                })
                .await
            };
            match how {
                TunnelEnd::Closed => {}
                TunnelEnd::Client | TunnelEnd::Primary => {
                    to_client.cut();
                    to_primary.cut();
                }
                TunnelEnd::Idle | TunnelEnd::Drain => {
                    to_client.leave();
                    to_primary.leave();
                }
            }
            open.ended(how);
        }
        Passed { up: open.up(), down: open.down() }
    }
}

/// A direction of a tunnel.
#[derive(Clone, Copy)]
struct Way<'a> {
    cx: &'a Context,
    open: &'a Open,
    write_ms: Millis,
    way: TunnelWay,
}

impl Way<'_> {
    /// Passes bytes on until no more come; the error tells whose end broke.
    async fn pass(self, mut from: Source<'_>, to: &mut Sink<'_>) -> Result<(), TunnelEnd> {
        let Self { cx, open, write_ms, way } = self;
        let (source, sink) = match way {
            TunnelWay::Up => (TunnelEnd::Client, TunnelEnd::Primary),
            TunnelWay::Down => (TunnelEnd::Primary, TunnelEnd::Client),
        };
        while let Some(chunk) = from.next().await.map_err(|_| source)? {
            let bytes = chunk.bytes();
            open.moved(way, 0, cx.now_ms());
            to.write(chunk).await.map_err(|_| sink)?;
            open.moved(way, bytes, cx.now_ms());
        }
        to.finish(write_ms).await.map_err(|_| sink)
    }
}
