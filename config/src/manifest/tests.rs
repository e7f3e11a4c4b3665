//! Manifests have the meaning that Istio and the Gateway API give them, or are refused by name.

mod istio;
mod gateway_api;
mod grpc;
mod hostile;
mod names;
mod translate;
mod kinds;
mod members;
mod answers;
mod tls;

use super::*;
use crate::{Action, Config, Percent};

/// Loads a text as a manifest file, with `--endpoint`s.
fn load_text(text: &str, endpoints: &[&str]) -> Result<Checked, Vec<Problem>> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("m.yaml");
    std::fs::write(&path, text).unwrap();
    let manifests = Manifests {
        paths: vec![path],
        endpoints: endpoints.iter().map(|e| (*e).to_owned()).collect(),
        ..Manifests::default()
    };
    let loaded = load(&manifests);
    match (&loaded, convert(&manifests)) {
        (Ok(loaded), Ok((toml, _))) => match crate::parse("converted", &toml) {
            Ok(parsed) => {
                assert_eq!(parsed.config, loaded.config, "what it converts to means something else:\n{toml}")
            }
            Err(problems) => panic!("what it converts to is refused: {problems:?}\n{toml}"),
        },
        (Err(loaded), Err(converted)) => assert_eq!(*loaded, converted),
        (loaded, converted) => panic!("load and convert disagree: {loaded:?} {converted:?}"),
    }
    loaded
}

#[track_caller]
fn accepted(text: &str, endpoints: &[&str]) -> Checked {
    load_text(text, endpoints).unwrap_or_else(|problems| {
        let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
        panic!("refused:\n{}\n{text}", said.join("\n"))
    })
}

/// Everything wrong with it, a line each.
#[track_caller]
fn refused(text: &str, endpoints: &[&str]) -> String {
    match load_text(text, endpoints) {
        Ok(checked) => panic!("accepted: {:?}\n{text}", checked.config.routes),
        Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
    }
}

fn warnings(checked: &Checked) -> String {
    checked.warnings.iter().map(|p| format!("{p}\n")).collect()
}

fn forward(config: &Config, route: usize) -> &crate::Forward {
    match &config.routes[route].action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn percent(percent: f64) -> Percent {
    Percent::from_percent(percent).unwrap()
}
