//! The descriptor sets that `compare` names, read once for a configuration: what is wrong with them is told like all else that is
//! wrong with it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use config::check::Problem;
use config::{Config, Role};

use super::source::SourceText;
use crate::compare::{Schema, Schemas};

/// Each set, with the key of whoever names it first: a baseline has its from a candidate.
fn named(config: &Config) -> Vec<(String, &PathBuf)> {
    let mut all: Vec<(String, &PathBuf)> = Vec::new();
    for role in [Role::Candidate, Role::Baseline] {
        for (n, route) in config.routes.iter().enumerate() {
            for (m, mirror) in route.mirrors.iter().enumerate().filter(|(_, mirror)| mirror.role == role) {
                let file = mirror.compare.as_ref().and_then(|compare| compare.descriptors.as_ref());
                let Some(file) = file.filter(|file| all.iter().all(|(_, known)| known != file)) else {
                    continue;
                };
                all.push((format!("route[{n}].mirrors[{m}].compare.descriptors"), file));
            }
        }
    }
    all
}

/// Those that are watched.
pub(super) fn files(config: &Config) -> Vec<PathBuf> {
    named(config).into_iter().map(|(_, file)| file.clone()).collect()
}

/// Reads them, of a bounded length each.
pub(super) fn load(config: &Config, text: &SourceText) -> Result<Arc<Schemas>, Vec<Problem>> {
    let (mut schemas, mut wrong) = (HashMap::new(), Vec::new());
    for (key, file) in named(config) {
        let read = config::text::read(file).map_err(|e| format!("cannot be read: {e}"));
        match read.and_then(|bytes| Schema::new(&bytes)) {
            Ok(schema) => {
                schemas.insert(file.clone(), Arc::new(schema));
            }
            Err(why) => {
                let name = file.display().to_string();
                wrong.push(text.problem(key, &name, format!("{name} {why}")));
            }
        }
    }
    if wrong.is_empty() { Ok(Arc::new(schemas)) } else { Err(wrong) }
}
