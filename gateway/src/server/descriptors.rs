//! The descriptor sets that `compare` names, read once for a configuration: their faults are told like all other faults of a
//! configuration.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::check::Problem;
use config::{Config, Role};

use super::source::{Source, SourceText};
use crate::compare::{Schema, Schemas};

/// Each set, with the key that names it first: a baseline has its from a candidate.
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

/// Files that are watched.
pub(super) fn files(config: &Config) -> Vec<PathBuf> {
    named(config).into_iter().map(|(_, file)| file.clone()).collect()
}

/// Reads the sets, of a bounded length each, and a file with several names once. In a configuration of many authors an
/// unreadable set is only warned of: fields then have numbers in place of names.
pub(super) fn load(
    config: &Config,
    (text, source): (&SourceText, &Source),
) -> Result<(Arc<Schemas>, Vec<Problem>), Vec<Problem>> {
    let (mut schemas, mut wrong) = (HashMap::new(), Vec::new());
    let mut read: HashMap<PathBuf, Result<Arc<Schema>, String>> = HashMap::new();
    for (key, file) in named(config) {
        let whole = fs::canonicalize(file).unwrap_or_else(|_| file.clone());
        match read.entry(whole).or_insert_with(|| schema(file)) {
            Ok(schema) => {
                schemas.insert(file.clone(), Arc::clone(schema));
            }
            Err(why) => {
                let name = file.display().to_string();
                wrong.push(text.problem(key, &name, format!("{name} {why}")));
            }
        }
    }
    if wrong.is_empty() || source.has_many_authors() { Ok((Arc::new(schemas), wrong)) } else { Err(wrong) }
}

fn schema(file: &Path) -> Result<Arc<Schema>, String> {
    let bytes = config::text::read(file).map_err(|e| format!("cannot be read: {e}"))?;
    Schema::new(&bytes).map(Arc::new)
}
