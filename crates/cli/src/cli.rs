//! The command line as a whole.

use std::ffi::{OsStr, OsString};

use clap::builder::FalseyValueParser;
use clap::error::{ContextKind, ErrorKind};
use clap::{ArgAction, CommandFactory as _, Parser};
use clap_complete::Shell;

use crate::commands::Command;
use crate::connection::Context;
use crate::failure::Failure;
use crate::{completion, help, output, plugin, version};

/// A container platform for Linux
#[derive(Debug, Parser)]
#[command(name = "container", disable_help_subcommand = true)]
pub struct Cli {
    /// Tell on standard error what is being done
    #[arg(long, global = true, env = "CONTAINER_DEBUG", hide_env = true,
          action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    debug: bool,

    /// Show the version
    #[arg(long)]
    version: bool,

    /// Write a completion script for this shell
    #[arg(long, value_name = "SHELL")]
    generate_completion_script: Option<Shell>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// Runs the command line `arguments`, program name first; gives the exit code.
pub fn run(arguments: Vec<OsString>) -> Result<u8, Failure> {
    if wants_overview(&arguments) {
        return overview();
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    if cli.version {
        output::write_lines([version::line()])?;
        return Ok(0);
    }
    if let Some(shell) = cli.generate_completion_script {
        output::print(&completion::script(shell)?)?;
        return Ok(0);
    }
    match cli.command {
        None => overview(),
        Some(Command::Help { path }) if path.is_empty() => overview(),
        Some(Command::Help { path }) => help_of(&path),
        Some(Command::External(words)) => {
            let context = Context::new(cli.debug)?;
            plugin::execute(&context.roots.install, &words, &known_words())
        }
        Some(command) => {
            let context = Context::new(cli.debug)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| Failure::Local(error.into()))?;
            runtime.block_on(command.execute(&context))
        }
    }
}

/// Whether the help of no command in particular is asked for, which is in groups that clap does not know.
fn wants_overview(arguments: &[OsString]) -> bool {
    let first = arguments
        .iter()
        .skip(1)
        .find(|argument| *argument != "--debug");
    first.is_some_and(|word| word == "-h" || word == "--help")
}

fn overview() -> Result<u8, Failure> {
    let context = Context::new(false)?;
    let plugins = plugin::list(&context.roots.install);
    output::print(help::overview(&Cli::command(), &plugins).as_bytes())?;
    Ok(0)
}

/// What clap could not parse: wanted help, or wrong usage.
fn explain(error: &clap::Error) -> Result<u8, Failure> {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            error
                .print()
                .map_err(|error| output::write_failure(&error))?;
            Ok(0)
        }
        // A group of commands without one of them: its help, as Apple's tool does.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            output::print(error.render().to_string().as_bytes())?;
            Ok(0)
        }
        _ => {
            let text = error.render().to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let unknown = error.get(ContextKind::InvalidSubcommand).is_some();
            let hint = if unknown {
                ""
            } else {
                "\nFor more information, try '--help'.\n"
            };
            Err(Failure::Usage(
                text.trim_end_matches(hint).trim_end().to_owned(),
            ))
        }
    }
}

/// The long help of the command that `path` leads to.
fn help_of(path: &[String]) -> Result<u8, Failure> {
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for word in path {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            Failure::usage(format_args!("there is no command '{}'", path.join(" ")))
        })?;
    }
    output::print(command.render_long_help().to_string().as_bytes())?;
    Ok(0)
}

/// Every word that is a command, to guess what an unknown one was meant to be.
fn known_words() -> Vec<String> {
    let root = Cli::command();
    root.get_subcommands()
        .filter(|command| !command.is_hide_set())
        .flat_map(clap::Command::get_name_and_visible_aliases)
        .map(str::to_owned)
        .collect()
}

/// The first word of an external command.
pub fn first_word(words: &[OsString]) -> &OsStr {
    words.first().map_or(OsStr::new(""), OsString::as_os_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once(&"container").chain(words))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn debug_is_taken_before_and_after_the_command() {
        assert!(parse(&["--debug", "list"]).unwrap().debug);
        assert!(parse(&["list", "--debug"]).unwrap().debug);
        assert!(parse(&["image", "list", "--debug"]).unwrap().debug);
        assert!(!parse(&["list"]).unwrap().debug);
    }

    #[test]
    fn what_follows_the_image_is_not_ours() {
        let cli = parse(&[
            "run", "--rm", "busybox", "ls", "--debug", "-i", "--help", "--", "-x",
        ])
        .unwrap();
        assert!(!cli.debug);
        let Some(Command::Run(run)) = cli.command else {
            panic!()
        };
        assert_eq!(
            run.words.arguments(),
            ["ls", "--debug", "-i", "--help", "--", "-x"]
        );
    }

    #[test]
    fn the_overview_is_for_no_command() {
        let wants = |words: &[&str]| {
            let words: Vec<OsString> = std::iter::once(&"container")
                .chain(words)
                .map(OsString::from)
                .collect();
            wants_overview(&words)
        };
        assert!(wants(&["--help"]));
        assert!(wants(&["--debug", "-h"]));
        assert!(!wants(&["run", "--help"]));
        assert!(!wants(&[]));
    }

    #[test]
    fn an_unknown_word_is_a_plugin_s() {
        let cli = parse(&["k8s", "create", "--name", "x"]).unwrap();
        let Some(Command::External(words)) = cli.command else {
            panic!()
        };
        assert_eq!(words, ["k8s", "create", "--name", "x"]);
    }

    #[test]
    fn wrong_usage_is_64() {
        for words in [
            vec!["run"],
            vec!["run", "--no-such-flag", "x"],
            vec!["run", "-m", "1m", "x"],
            vec!["run", "--name", "-x", "x"],
            vec!["run", "--network", "bridge", "x"],
            vec!["list", "--format", "xml"],
            vec!["image", "list", "-q", "-v"],
        ] {
            let failure = explain(&parse(&words).unwrap_err()).unwrap_err();
            assert_eq!(failure.code(), 64, "{words:?}");
        }
    }
}
