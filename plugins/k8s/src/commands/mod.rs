//! `container k8s`.

mod create;
mod delete;
mod file;
mod list;
mod load_image;
mod node;
mod start;
mod write_config;

use clap::{Parser, Subcommand};

use crate::container::Container;

/// Run a Kubernetes cluster of one node, in a virtual machine of its own
///
/// The node is a container made of a node image of kind. Experimental.
#[derive(Debug, Parser)]
#[command(
    name = "container k8s",
    bin_name = "container k8s",
    version,
    arg_required_else_help = true
)]
pub struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Create(create::Create),
    #[command(visible_alias = "rm")]
    Delete(delete::Delete),
    #[command(visible_alias = "ls")]
    List(list::List),
    LoadImage(load_image::LoadImage),
    Start(start::Start),
    WriteConfig(write_config::WriteConfig),
}

impl Line {
    /// Does it.
    ///
    /// # Errors
    /// When it was not done.
    pub fn execute(self) -> anyhow::Result<()> {
        let container = Container::find();
        match self.command {
            Command::Create(command) => command.execute(&container),
            Command::Delete(command) => command.execute(&container),
            Command::List(command) => command.execute(&container),
            Command::LoadImage(command) => command.execute(&container),
            Command::Start(command) => command.execute(&container),
            Command::WriteConfig(command) => command.execute(&container),
        }
    }
}

/// The cluster that is meant where none is named: Apple's.
const DEFAULT_NAME: &str = "k8s-dev";

/// A cluster's name: a container's, a host's and a node's of Kubernetes (RFC 1123).
fn name(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = (2..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_name {
        Ok(text.to_owned())
    } else {
        Err(
            "2 to 63 lower-case letters, digits and hyphens are expected, with no hyphen at an end"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Line::command().debug_assert();
    }

    #[test]
    fn names() {
        for text in ["k8s-dev", "a1"] {
            assert_eq!(name(text).as_deref(), Ok(text));
        }
        for text in [
            "",
            "a",
            "-a",
            "a-",
            "A1",
            "a_b",
            "a.b",
            "../x",
            &"a".repeat(64),
        ] {
            assert!(name(text).is_err(), "{text}");
        }
    }
}
