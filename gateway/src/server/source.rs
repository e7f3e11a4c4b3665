//! The source of the configuration: read at the start, read again, and named in messages about values that do not work here.
//!
//! The room knows files and their lines; the meaning of a configuration is `config`'s.

use std::net::SocketAddr;
use std::path::PathBuf;

use config::check::{self, Checked, Problem};
use config::manifest::{self, Manifests, Plaintext};
use config::text;

use super::files::{Served, look};
use crate::kubernetes::Cluster;

/// Where the configuration comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Sample services in this process and the gateway before them.
    Embedded,
    /// A shop and its customers in this process, and the gateway between them at `listen`, its admin listener at `admin`.
    Demo {
        listen: SocketAddr,
        admin: SocketAddr,
    },
    File(PathBuf),
    /// The command line, written as a file.
    Line(String),
    /// Manifests, with their options.
    Manifests(Manifests),
    /// Objects of a Kubernetes API server.
    Cluster(Cluster),
}

impl Source {
    /// The services before which the gateway stands live in this process.
    pub(super) fn brings_services(&self) -> bool {
        match self {
            Self::Embedded | Self::Demo { .. } => true,
            Self::File(_) | Self::Line(_) | Self::Manifests(_) | Self::Cluster(_) => false,
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Embedded => "embedded default".to_owned(),
            Self::Demo { .. } => "demo".to_owned(),
            Self::File(path) => path.display().to_string(),
            Self::Line(_) => "command line".to_owned(),
            Self::Manifests(manifests) => {
                let names: Vec<String> =
                    manifests.paths.iter().map(|path| path.display().to_string()).collect();
                names.join(", ")
            }
            Self::Cluster(cluster) => cluster.name(),
        }
    }

    /// Where TLS is left to others.
    pub(super) fn plaintext(&self) -> Plaintext {
        match self {
            Self::Manifests(manifests) => manifests.plaintext,
            Self::Cluster(cluster) => cluster.plaintext(),
            Self::Embedded | Self::Demo { .. } | Self::File(_) | Self::Line(_) => Plaintext::default(),
        }
    }

    /// Whether the source has many authors, as a cluster's objects have: one of them must not stop the others.
    pub(super) fn has_many_authors(&self) -> bool {
        self.cluster().is_some()
    }

    pub(super) fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Cluster(cluster) => Some(cluster),
            Self::Embedded | Self::Demo { .. } | Self::File(_) | Self::Line(_) | Self::Manifests(_) => None,
        }
    }

    /// The files of it that may change, for messages about that.
    pub(super) fn files(&self) -> String {
        let settings = self.cluster().and_then(Cluster::settings);
        settings.map_or_else(|| self.name(), |path| path.display().to_string())
    }

    /// Reads it again, in a process that serves already.
    pub(super) fn read_again(&self, served: &Served) -> Result<(Checked, SourceText), Vec<Problem>> {
        match self {
            // Standard input would wait for a person, and all else with it.
            Self::Manifests(manifests) if manifests.paths.iter().any(|path| path.as_os_str() == "-") => {
                Err(broken("standard input was read at the start and cannot be read again".to_owned()))
            }
            Self::Embedded
            | Self::Demo { .. }
            | Self::File(_)
            | Self::Line(_)
            | Self::Manifests(_)
            | Self::Cluster(_) => self.read_served(served),
        }
    }

    /// As [`Source::read`]; the files count as served as they looked before they were read, so that the watch sees a change in
    /// between.
    pub(super) fn read_served(&self, served: &Served) -> Result<(Checked, SourceText), Vec<Problem>> {
        served.set(look(self));
        match self {
            Self::Embedded | Self::Demo { .. } => {
                Err(broken(format!("the {} has no file to read again", self.name())))
            }
            Self::File(path) => {
                let name = self.name();
                let bytes = text::read(path).map_err(|error| {
                    let message = format!("cannot be read: {error}");
                    vec![Problem { file: name.clone(), message, ..Problem::default() }]
                })?;
                let checked = check::parse_bytes(&name, &bytes)?;
                Ok((checked, SourceText::new(&name, String::from_utf8(bytes).unwrap_or_default())))
            }
            Self::Line(text) => {
                Ok((check::parse(&self.name(), text)?, SourceText::new(&self.name(), text.clone())))
            }
            Self::Manifests(manifests) => {
                manifest::load(manifests).map(|checked| (checked, SourceText::named(&self.name())))
            }
            Self::Cluster(cluster) => {
                cluster.read().map(|checked| (checked, SourceText::named(&self.name())))
            }
        }
    }

    /// Reads it. The embedded default is read once: its sample services have their ports from the system.
    pub(crate) fn read(&self) -> Result<Checked, Vec<Problem>> {
        self.read_served(&Served::default()).map(|(checked, _)| checked)
    }
}

/// The text of a configuration, for problems that show only here: an address that is taken, a name without an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceText {
    name: String,
    text: Option<String>,
    /// Said where an address is taken.
    pub(super) hint: &'static str,
}

impl SourceText {
    pub(super) fn new(name: &str, text: String) -> Self {
        Self { text: Some(text), ..Self::named(name) }
    }

    /// Of a source without lines of its own.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), text: None, hint: "" }
    }

    /// The same, with something to say where an address is taken.
    pub(super) fn hinting(self, hint: &'static str) -> Self {
        Self { hint, ..self }
    }

    /// A key whose value cannot be had here.
    pub(super) fn problem_of(&self, key: &str, message: &str) -> Problem {
        let file = self.name.clone();
        Problem { file, key: Some(key.to_owned()), message: message.to_owned(), ..Problem::default() }
    }

    /// A value that is well written but does not work here. `value` is as written: its first appearance gives the line.
    pub(super) fn problem(&self, key: String, value: &str, message: String) -> Problem {
        let line = self.text.as_ref().and_then(|text| line_of(text, value));
        Problem { file: self.name.clone(), line, key: Some(key), message, ..Problem::default() }
    }
}

/// Something that no configuration decides.
pub(super) fn broken(message: String) -> Vec<Problem> {
    vec![Problem { message, ..Problem::default() }]
}

fn line_of(text: &str, value: &str) -> Option<usize> {
    let quoted = [format!("\"{value}\""), format!("'{value}'")];
    let written =
        |line: &str| quoted.iter().any(|q| line.split('#').next().is_some_and(|code| code.contains(q)));
    text.lines().position(written).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_found_on_its_line_and_not_in_a_comment() {
        let text = "# \"127.0.0.1:80\"\n[[listener]]\nbind = \"127.0.0.1:80\" # here\n";
        assert_eq!(line_of(text, "127.0.0.1:80"), Some(3));
        assert_eq!(line_of(text, "127.0.0.1:8"), None);
        assert_eq!(line_of("a = '::1'", "::1"), Some(1));
    }
}
