//! Reads the files behind `tls` keys and checks the folders of captures: their faults are told like all other faults of a
//! configuration, by key and line.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::Config;
use config::check::{Checked, Problem};

use super::files::Served;
use super::source::SourceText;
use super::{Source, descriptors};
use crate::capture;
use crate::tls::Tls;
use crate::tls::pem::Wrong;

/// Every file that a configuration names: those that are watched.
pub(super) fn files(config: &Config) -> Vec<PathBuf> {
    let mut files = crate::tls::load::files(config);
    files.extend(descriptors::files(config));
    files
}

/// The TLS of `config`, with warnings; `before` is the one in force.
pub(super) fn load(
    config: &Config,
    before: Option<(&Config, &Tls)>,
    (text, source): (&SourceText, &Source),
) -> Result<(Arc<Tls>, Vec<Problem>), Vec<Problem>> {
    let told = |wrong: Vec<Wrong>| -> Vec<Problem> { wrong.into_iter().map(|w| told(w, text)).collect() };
    let load = if source.has_many_authors() { Tls::load_sparing } else { Tls::load };
    let (tls, warnings) = load(config, before).map_err(told)?;
    let mut odd = told(warnings);
    // Its requests are lost until it can be written to: no reason not to serve.
    odd.extend(captures(config, text));
    Ok((Arc::new(tls), odd))
}

/// A configuration with all that it names, for verbs that only check it.
pub(crate) fn read(source: &Source) -> Result<Checked, Vec<Problem>> {
    let (mut checked, text) = source.read_served(&Served::default())?;
    let wrong: Vec<Problem> = captures(&checked.config, &text).collect();
    if !wrong.is_empty() {
        return Err(wrong);
    }
    let (_, odd) = load(&checked.config, None, (&text, source))?;
    checked.warnings.extend(odd);
    let (_, odd) = descriptors::load(&checked.config, (&text, source))?;
    checked.warnings.extend(odd);
    Ok(checked)
}

/// Captures whose folders cannot be written to.
fn captures(config: &Config, text: &SourceText) -> impl Iterator<Item = Problem> {
    let told = |(key, folder, why): (String, &Path, String)| {
        let folder = folder.display().to_string();
        text.problem(key, &folder, format!("{folder} {why}"))
    };
    capture::wrong(config).map(told)
}

fn told(wrong: Wrong, text: &SourceText) -> Problem {
    let file = wrong.file.display().to_string();
    // There is no file where the fault is that none is named.
    let message = if file.is_empty() { wrong.message } else { format!("{file} {}", wrong.message) };
    text.problem(wrong.key, &file, message)
}
