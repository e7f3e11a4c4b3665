//! The admin listener of the process: opened, moved and closed as the configuration says.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use config::check::Problem;

use super::source::broken;
use crate::admin::{Admin, Guard, Serving};
use crate::tls::Listening;

/// Where admin is served now, if anywhere.
#[derive(Debug)]
pub(super) struct AdminListener {
    admin: Arc<Admin>,
    serving: Option<(config::Admin, Serving)>,
}

impl AdminListener {
    /// Nowhere yet.
    pub(super) fn new(admin: Arc<Admin>) -> Self {
        Self { admin, serving: None }
    }

    /// Serves as `wanted` says, at the socket that was bound for it, by the certificates of `tls`. Another address, or another token, is another listener: at
    /// the one before no connection is taken any more, and those that are open end with the response under way.
    ///
    /// # Errors
    /// The page cannot be served there; then all is as it was.
    pub(super) fn follow(
        &mut self,
        wanted: &config::Admin,
        bound: Option<(SocketAddr, &TcpListener)>,
        tls: Option<&Arc<Listening>>,
    ) -> Result<(), Vec<Problem>> {
        if let Some((_, serving)) = self.serving.as_ref().filter(|(config, _)| config == wanted) {
            // Its files may say something else than before.
            serving.secure(tls);
            return Ok(());
        }
        let next = match bound {
            Some((address, socket)) => {
                let serving = socket.try_clone().and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    Arc::clone(&self.admin).serve(socket, Guard::of(wanted, address), tls)
                });
                Some(serving.map_err(|e| broken(format!("cannot serve admin on {address}: {e}")))?)
            }
            None => None,
        };
        self.close();
        self.serving = next.map(|serving| (wanted.clone(), serving));
        Ok(())
    }

    /// Serves no more.
    pub(super) fn close(&mut self) {
        if let Some((_, serving)) = self.serving.take() {
            serving.close();
        }
    }
}
