//! The files behind `tls` keys, read for a configuration: what is wrong with them is told like all else that is wrong
//! with it, by key and line.

use std::sync::Arc;

use config::Config;
use config::check::Problem;

use super::Source;
use crate::tls::Tls;
use crate::tls::pem::Wrong;

/// The TLS of `config`; `before` is what is in force. With what is odd and not wrong.
pub(crate) fn load(
    config: &Config,
    before: Option<(&Config, &Tls)>,
    source: &Source,
) -> Result<(Arc<Tls>, Vec<Problem>), Vec<Problem>> {
    let told = |wrong: Vec<Wrong>| wrong.into_iter().map(|wrong| told(wrong, source)).collect();
    let (tls, warnings) = Tls::load(config, before).map_err(told)?;
    Ok((Arc::new(tls), told(warnings)))
}

fn told(wrong: Wrong, source: &Source) -> Problem {
    let file = wrong.file.display().to_string();
    source.problem(wrong.key, &file, format!("{file} {}", wrong.message))
}
