//! Accepts connections and gives each a task. Knows the worker's limit on connections; knows nothing of HTTP.

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use super::{Client, Entrance, connection, handshake};
use crate::context::Context;
use crate::io::{self, Listener, Stream};
use crate::limits::ACCEPT_BACKOFF_MS;
use crate::metrics::Shed;
use crate::task;
use crate::time::Age;
use crate::tls::Listening;

/// Accepts until the listener is shut down, because the worker drains or because the configuration has it no more.
pub async fn accept(cx: Rc<Context>, listener: Rc<Listener>, entrance: Rc<Entrance>) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                serve(&cx, Stream::new(stream, &cx.sweeper), peer, listener.port, &entrance);
            }
            Err(_) if cx.draining.get() || entrance.is_draining.get() => return,
            Err(error) => {
                cx.shard.accept_errors.inc();
                // A client that was gone before we looked costs nothing; running out of descriptors or memory would
                // spin, so wait for some to come back.
                if error.kind() != std::io::ErrorKind::ConnectionAborted {
                    io::sleep_ms(ACCEPT_BACKOFF_MS).await;
                }
            }
        }
    }
}

/// Starts the task of one accepted connection, or turns it away.
pub fn serve(cx: &Rc<Context>, stream: Stream, peer: SocketAddr, port: u16, entrance: &Rc<Entrance>) {
    cx.shard.connections_accepted.inc();
    let place = {
        let generation = cx.generation.borrow();
        let limits = &generation.config.limits;
        if cx.shard.connections_active.get() >= generation.clients_max as i64 {
            Err(Shed::All)
        } else {
            cx.places.take(peer.ip(), limits.connections_per_address_max).ok_or(Shed::Address)
        }
    };
    let place = match place {
        Ok(place) => place,
        Err(why) => {
            cx.shard.connections_shed.inc(why);
            stream.reset_on_close();
            return;
        }
    };
    let tls = entrance.tls.borrow().clone();
    if tls.is_some()
        && let Err(fault) = handshake::may_begin(cx, &cx.generation().config.limits, &place)
    {
        cx.shard.tls.failures.inc(fault);
        stream.reset_on_close();
        return;
    }
    let age = Age::begin(cx.now_ms(), cx.random.next());
    let mut client = Client::new(stream, peer, port, place, Rc::clone(entrance), age);
    let cx = Rc::clone(cx);
    cx.shard.connections_active.add(1);
    io::spawn(async move {
        // A panic ends this connection and nothing else.
        if task::caught(pin!(live(&cx, &mut client, tls))).await.is_err() {
            cx.shard.exchange_panics.inc();
        }
        cx.shard.connections_active.add(-1);
    });
}

/// The whole life of one connection.
async fn live(cx: &Rc<Context>, client: &mut Client, tls: Option<Arc<Listening>>) {
    // Boxed, as its state is of no use any more when it is over.
    let is_covered = match tls {
        Some(tls) => Box::pin(handshake::run(cx, client, tls)).await,
        None => true,
    };
    if is_covered {
        connection::serve(cx, client).await;
    }
}
