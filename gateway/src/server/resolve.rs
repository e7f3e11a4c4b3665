//! Names without an address: an error where the gateway could not serve, a warning where only copies are lost.

use config::Config;
use config::check::Problem;

use super::source::SourceText;
use crate::discovery::Found;

/// Judges the addresses found for `config`: warnings, or every reason to refuse it. In a cluster (`lenient`) one service
/// without an address is no reason to refuse all others.
pub(super) fn judge(
    config: &Config,
    found: &Found,
    text_of: &SourceText,
    lenient: bool,
) -> Result<Vec<Problem>, Vec<Problem>> {
    let (mut warnings, mut refused) = (Vec::new(), Vec::new());
    for unresolved in found.unresolved(config) {
        let text = unresolved.endpoint.to_string();
        let key = format!("upstream.{}.endpoints[{}]", unresolved.upstream.name, unresolved.index);
        let mut message = format!("cannot resolve {text}: {}", unresolved.why);
        if unresolved.is_mirror {
            message.push_str("; copies for it are dropped until it resolves");
        } else if lenient {
            message.push_str("; its requests are answered 503 until it resolves");
        }
        let problem = text_of.problem(key, &text, message);
        if unresolved.is_mirror || lenient { warnings.push(problem) } else { refused.push(problem) }
    }
    if refused.is_empty() { Ok(warnings) } else { Err(refused) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use config::{Endpoint, Host};

    use super::*;
    use crate::discovery::Discovery;

    fn named(name: &str, port: u16) -> Endpoint {
        Endpoint { host: Host::Name(name.to_owned()), port }
    }

    fn texts(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[tokio::test]
    async fn a_primary_without_address_is_refused_with_its_key_and_a_mirror_is_not() {
        let mut config = crate::control::budget::tests::config();
        config.upstreams[1].endpoints = vec![named("mirror.invalid", 3)];
        let discovery = Discovery::new(&Arc::default());
        let found = discovery.find(&config).await;
        let warnings = texts(&judge(&config, &found, &SourceText::named("f"), false).unwrap());
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(
            warnings[0].starts_with("f: upstream.v2.endpoints[0]: cannot resolve mirror.invalid:3: "),
            "{warnings:?}"
        );
        config.upstreams[0].endpoints = vec![named("nowhere.invalid", 1), named("also.invalid", 2)];
        let found = discovery.find(&config).await;
        let told = texts(&judge(&config, &found, &SourceText::named("f"), true).unwrap());
        assert_eq!(told.len(), 3, "{told:?}");
        let refused = texts(&judge(&config, &found, &SourceText::named("f"), false).unwrap_err());
        assert_eq!(refused.len(), 2, "{refused:?}");
        assert!(
            refused[1].starts_with("f: upstream.v1.endpoints[1]: cannot resolve also.invalid:2: "),
            "{refused:?}"
        );
    }
}
