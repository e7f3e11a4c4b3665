//! One client connection from accept to close: which protocol is spoken on it, and the room that speaks it.

use std::rc::Rc;

use super::{Client, http1};
use crate::context::Context;

/// Serves the connection until it ends.
///
/// Borrows the client: moved in, it would be held once more in every idle connection.
pub async fn serve(cx: &Rc<Context>, client: &mut Client) {
    http1::serve(cx, client).await;
}
