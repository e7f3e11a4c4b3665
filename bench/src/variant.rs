//! Variants that are measured, as a closed list: a program and its task. Knows no configuration and no process.

use clap::ValueEnum;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Variant {
    OursPlain,
    OursMirror,
    NginxPlain,
    NginxMirror,
    HaproxyPlain,
    EnvoyPlain,
    EnvoyMirror,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    Ours,
    Nginx,
    Haproxy,
    Envoy,
}

impl Variant {
    pub fn program(self) -> Program {
        match self {
            Self::OursPlain | Self::OursMirror => Program::Ours,
            Self::NginxPlain | Self::NginxMirror => Program::Nginx,
            Self::HaproxyPlain => Program::Haproxy,
            Self::EnvoyPlain | Self::EnvoyMirror => Program::Envoy,
        }
    }

    pub fn mirrors(self) -> bool {
        match self {
            Self::OursMirror | Self::NginxMirror | Self::EnvoyMirror => true,
            Self::OursPlain | Self::NginxPlain | Self::HaproxyPlain | Self::EnvoyPlain => false,
        }
    }

    pub fn is_ours(self) -> bool {
        self.program() == Program::Ours
    }

    /// The word of the command line, the scenarios and the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::OursPlain => "ours_plain",
            Self::OursMirror => "ours_mirror",
            Self::NginxPlain => "nginx_plain",
            Self::NginxMirror => "nginx_mirror",
            Self::HaproxyPlain => "haproxy_plain",
            Self::EnvoyPlain => "envoy_plain",
            Self::EnvoyMirror => "envoy_mirror",
        }
    }

    /// The same program with its mirroring off.
    pub fn with_mirroring_off(self) -> Self {
        match self.program() {
            Program::Ours => Self::OursPlain,
            Program::Nginx => Self::NginxPlain,
            Program::Haproxy => Self::HaproxyPlain,
            Program::Envoy => Self::EnvoyPlain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_command_line_reads() {
        for variant in Variant::value_variants() {
            assert_eq!(Variant::from_str(variant.name(), false), Ok(*variant));
        }
    }
}
