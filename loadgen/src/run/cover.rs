//! TLS sessions of one thread's connections. Tickets stay with the thread, so no lock is shared.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use super::request::Mix;
use crate::tls::client::Settings;

pub struct Covers {
    config: Option<Arc<ClientConfig>>,
    /// By target; None goes without TLS.
    names: Vec<Option<ServerName<'static>>>,
}

impl Covers {
    pub fn new(settings: &Settings, mix: &Mix) -> anyhow::Result<Self> {
        let names = mix
            .targets
            .iter()
            .map(|target| target.cover.as_deref().map(|host| settings.server_name(host)).transpose())
            .collect::<Result<Vec<_>, _>>()?;
        let is_covered = names.iter().any(Option::is_some);
        let config = is_covered.then(|| settings.config()).transpose()?.map(Arc::new);
        Ok(Self { config, names })
    }

    /// A new session with a target, if it wants one.
    pub fn session(&mut self, target: usize) -> Option<Result<ClientConnection, rustls::Error>> {
        let (config, name) = (self.config.as_ref()?, self.names.get(target)?.as_ref()?);
        Some(ClientConnection::new(config.clone(), name.clone()))
    }
}
