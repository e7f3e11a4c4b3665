//! A request's own words, as they are kept until they may be told.

use std::fmt;

/// A request's own words. Only [`disclosed`](super::disclosed) reads its parts.
#[derive(Default)]
pub struct Said {
    pub(super) request_id: Box<str>,
    pub(super) client: Box<str>,
    pub(super) authority: Box<str>,
    pub(super) target: Box<str>,
    pub(super) user_agent: Box<str>,
    pub(super) referer: Box<str>,
}

/// The same as it comes from a request, or is made up by a test.
#[derive(Debug, Clone, Copy, Default)]
pub struct Saying<'a> {
    /// As the primary and the mirrors got it.
    pub request_id: &'a str,
    /// The client's address, without port.
    pub client: &'a str,
    /// Of the request's target or its Host; empty where it had none.
    pub authority: &'a str,
    /// Path and query as the client sent them.
    pub target: &'a str,
    /// Empty where the request had none.
    pub user_agent: &'a str,
    /// Empty where the request had none.
    pub referer: &'a str,
}

impl From<Saying<'_>> for Said {
    fn from(saying: Saying<'_>) -> Self {
        let Saying { request_id, client, authority, target, user_agent, referer } = saying;
        Self {
            request_id: request_id.into(),
            client: client.into(),
            authority: authority.into(),
            target: target.into(),
            user_agent: user_agent.into(),
            referer: referer.into(),
        }
    }
}

impl Said {
    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let Self { request_id, client, authority, target, user_agent, referer } = self;
        [request_id, client, authority, target, user_agent, referer].iter().map(|text| text.len()).sum()
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Said")
    }
}
