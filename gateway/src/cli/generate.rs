//! `gateway completions` and `gateway man`: completions for shells and manual pages, made from the command line's definition.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Command;
use clap_complete::Shell;

use super::complain;

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Man {
    /// Write a page for the program and one for each verb into this directory; else the program's on standard output
    #[arg(value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
}

impl Completions {
    pub(super) fn run(&self, mut command: Command) -> i32 {
        let name = command.get_name().to_owned();
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut text);
        told(io::stdout().write_all(&text))
    }
}

impl Man {
    pub(super) fn run(&self, command: Command) -> i32 {
        told(match &self.directory {
            Some(directory) => clap_mangen::generate_to(command, directory),
            None => clap_mangen::Man::new(command).render(&mut io::stdout()),
        })
    }
}

/// 0 written, 1 not.
fn told(result: io::Result<()>) -> i32 {
    match result {
        Ok(()) => 0,
        // The reader of the pipe has closed it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
        Err(error) => {
            complain([format!("cannot be written: {error}")]);
            1
        }
    }
}
