//! The command line as a whole.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::builder::FalseyValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, CommandFactory as _, FromArgMatches as _, Parser};
use clap_complete::Shell;

use crate::commands::Command;
use crate::connection::Context;
use crate::failure::Failure;
use crate::{completion, daemon, help, manual, output, plugin, spelling, version, words};

/// A container platform for Linux
#[derive(Debug, Parser)]
#[command(name = "container", disable_help_subcommand = true)]
pub struct Cli {
    /// Report each step on standard error
    #[arg(long, global = true, env = "CONTAINER_DEBUG", hide_env = true,
          action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    debug: bool,

    /// Show the version
    #[arg(long)]
    version: bool,

    /// Write a completion script for this shell
    #[arg(long, value_name = "SHELL")]
    generate_completion_script: Option<Shell>,

    /// Write the manual pages of all commands into this directory
    #[arg(long, value_name = "DIRECTORY", hide = true)]
    generate_manual: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<Command>,
}

/// Runs the command line `arguments`, program name first; gives the exit code.
pub fn run(arguments: &[OsString]) -> Result<u8, Failure> {
    if wants_overview(arguments) {
        return overview();
    }
    let cli = match parse(arguments) {
        Ok(cli) => cli,
        Err(error) => return explain(error, arguments),
    };
    if cli.version {
        output::write_lines([version::line()])?;
        return Ok(0);
    }
    if let Some(shell) = cli.generate_completion_script {
        output::print(&completion::script(shell)?)?;
        return Ok(0);
    }
    if let Some(directory) = cli.generate_manual {
        manual::write(&Cli::command(), &directory)
            .with_context(|| format!("write manual pages to {}", directory.display()))?;
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
                .context("start the command")?;
            let outcome = runtime.block_on(async {
                if command.needs_services() {
                    daemon::start_for_command(&context).await?;
                }
                tokio::select! {
                    outcome = command.execute(&context) => outcome,
                    failure = context.silence_of_images() => Err(failure),
                }
            });
            // A thread that still reads what a service holds open ends with the process.
            runtime.shutdown_background();
            outcome
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
    let text = help::overview(&Cli::command(), &plugins, output::columns());
    output::print(text.as_bytes())?;
    Ok(0)
}

/// The command line that `arguments` say, program name first.
fn parse(arguments: &[OsString]) -> Result<Cli, clap::Error> {
    let matches = spelling::lenient(Cli::command()).try_get_matches_from(arguments)?;
    Cli::from_arg_matches(&matches)
}

/// Says which word is no text, where texts are expected.
fn not_text(arguments: &[OsString]) -> String {
    let Some(position) = arguments.iter().position(|word| word.to_str().is_none()) else {
        return "an argument is not UTF-8".to_owned();
    };
    let whole = arguments[position].to_string_lossy();
    let (flag, value) = match whole.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (Some(flag), value),
        _ => {
            let before = position
                .checked_sub(1)
                .and_then(|before| arguments[before].to_str());
            (before.filter(|before| before.starts_with('-')), &*whole)
        }
    };
    match flag {
        Some(flag) => format!("the value '{value}' of {flag} is not UTF-8"),
        None => format!("the argument '{value}' is not UTF-8"),
    }
}

/// What clap could not parse: wanted help, or wrong usage. It is shown as of the plain commands: that flags may have
/// values is not what they are for.
fn explain(mut error: clap::Error, arguments: &[OsString]) -> Result<u8, Failure> {
    let mut root = Cli::command();
    root.build();
    let (command, path) = named(&root, arguments);
    let mut command = command.clone();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let shown = if arguments.iter().any(|word| word == "--help") {
                command.print_long_help()
            } else {
                command.print_help()
            };
            shown.map_err(|error| output::write_failure(&error))?;
            Ok(0)
        }
        // A group of commands without one of them: its help, as Apple's tool does.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            command
                .print_help()
                .map_err(|error| output::write_failure(&error))?;
            Ok(0)
        }
        ErrorKind::InvalidUtf8 => Err(Failure::Usage(not_text(arguments))),
        kind => {
            let word = |kind| match error.get(kind) {
                Some(ContextValue::String(word)) => Some(word.as_str()),
                _ => None,
            };
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            let answer = match kind {
                ErrorKind::InvalidSubcommand => word(ContextKind::InvalidSubcommand)
                    .and_then(|word| words::of_command(&path, word)),
                ErrorKind::UnknownArgument => {
                    word(ContextKind::InvalidArg).and_then(|option| words::of_option(&path, option))
                }
                _ => None,
            };
            if let Some(answer) = answer {
                return Err(Failure::Usage(answer));
            }
            if error.get(ContextKind::Usage).is_some() {
                let usage = ContextValue::StyledStr(command.render_usage());
                error.insert(ContextKind::Usage, usage);
            }
            let text = quoted(error.render().to_string(), arguments);
            let text = text.strip_prefix("error: ").unwrap_or(&text);
            let unknown = error.get(ContextKind::InvalidSubcommand).is_some();
            let hint = if unknown {
                ""
            } else {
                "\nFor more information, try '--help'.\n"
            };
            Err(Failure::Usage(plainly(
                text.trim_end_matches(hint).trim_end(),
            )))
        }
    }
}

/// `text` with words for people in the place of those that Rust's numbers have.
fn plainly(text: &str) -> String {
    const WORDS: [(&str, &str); 5] = [
        (
            "cannot parse integer from empty string",
            "a whole number is expected",
        ),
        (
            "invalid digit found in string",
            "a whole number is expected",
        ),
        ("number too large to fit in target type", "it is too large"),
        ("number too small to fit in target type", "it is too small"),
        ("invalid IPv4 address syntax", "an IPv4 address is expected"),
    ];
    let words = WORDS.iter();
    let mut text = words.fold(text.to_owned(), |text, (of_rust, ours)| {
        text.replace(of_rust, ours)
    });
    // `7 is not in 0..=5`, as clap tells of ranges.
    if let Some((before, range)) = text.split_once(" is not in ") {
        if let (Some((told, _)), Some((from, to))) =
            (before.rsplit_once(": "), range.split_once(".."))
        {
            let to = to.trim_start_matches('=').trim_end();
            let expected = match to {
                "" => format!("a number from {from} on is expected"),
                to => format!("a number from {from} to {to} is expected"),
            };
            text = format!("{told}: {expected}");
        }
    }
    text
}

/// The message for a wrong command line.
#[cfg(test)]
pub fn mistake(arguments: &[OsString]) -> Option<String> {
    match explain(parse(arguments).err()?, arguments) {
        Err(Failure::Usage(text)) => Some(text),
        _ => None,
    }
}

/// `text`, in which words of the command line and their values stand as they can be shown on one line: they may come from
/// anywhere.
fn quoted(text: String, arguments: &[OsString]) -> String {
    let words = arguments.iter().map(|word| word.to_string_lossy());
    words.fold(text, |text, word| {
        let value = word.split_once('=').map_or("", |(_, value)| value);
        [word.as_ref(), value].into_iter().fold(text, |text, part| {
            let shown = output::printable(part);
            if shown == part {
                text
            } else {
                text.replace(part, &shown)
            }
        })
    })
}

/// The command below `root` that `arguments` name, program name first, and its words. Groups have no options with a
/// value, so the words of a command are the first that are no options.
fn named<'a>(root: &'a clap::Command, arguments: &[OsString]) -> (&'a clap::Command, Vec<String>) {
    let mut command = root;
    let mut path = Vec::new();
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    for word in words.filter(|word| !word.starts_with('-')) {
        let Some(found) = command.find_subcommand(word) else {
            break;
        };
        path.push(found.get_name().to_owned());
        command = found;
    }
    (command, path)
}

/// The long help of the command that `path` leads to.
fn help_of(path: &[String]) -> Result<u8, Failure> {
    let mut root = Cli::command();
    root.build();
    let mut command = &mut root;
    for word in path {
        command = command.find_subcommand_mut(word).ok_or_else(|| {
            let all = path.join(" ");
            let answer = words::of_command(&[], &all);
            Failure::Usage(answer.unwrap_or_else(|| format!("there is no command '{all}'")))
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

    fn arguments(words: &[&str]) -> Vec<OsString> {
        std::iter::once(&"container")
            .chain(words)
            .map(OsString::from)
            .collect()
    }

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        super::parse(&arguments(words))
    }

    /// The message for a wrong command line.
    fn told(words: &[&str]) -> String {
        let failure = explain(parse(words).unwrap_err(), &arguments(words)).unwrap_err();
        match failure {
            Failure::Usage(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
        spelling::lenient(Cli::command()).debug_assert();
    }

    #[test]
    fn of_an_option_that_is_given_twice_the_last_holds() {
        for words in [
            vec!["run", "-m", "1g", "-m", "2g", "x"],
            vec![
                "run",
                "-w",
                "/a",
                "--workdir",
                "/b",
                "-u",
                "a",
                "-u",
                "b",
                "x",
            ],
            vec!["run", "--name", "aa", "--name", "bb", "--rm", "--rm", "x"],
            vec!["run", "-i", "-it", "--read-only", "--read-only=false", "x"],
            vec!["run", "--restart", "no", "--restart", "always", "x"],
            vec!["logs", "-n", "5", "-n", "3", "x"],
            vec!["stop", "-t", "1", "-t", "2", "x"],
            vec!["list", "-a", "-a", "--format", "json", "--format", "yaml"],
            vec!["image", "list", "-q", "--quiet"],
        ] {
            parse(&words).unwrap_or_else(|error| panic!("{words:?}: {error}"));
        }
        let cli = parse(&[
            "run",
            "-it=false",
            "-d=false",
            "--rm=true",
            "x",
            "--rm=maybe",
        ])
        .unwrap();
        let Some(Command::Run(run)) = cli.command else {
            panic!()
        };
        assert_eq!(run.words.arguments(), ["--rm=maybe"]);
    }

    #[test]
    fn mistakes_are_told_of_the_plain_commands() {
        let text = told(&["run", "--rm=maybe", "x"]);
        assert_eq!(
            text,
            "invalid value 'maybe' for '--rm[=<true|false>]': true or false is expected"
        );
        let text = told(&["list", "--frobnicate"]);
        assert!(text.ends_with("Usage: container list [OPTIONS]"), "{text}");
        let text = told(&["image", "tag", "--debug"]);
        assert!(
            text.contains("Usage: container image tag [OPTIONS] <"),
            "{text}"
        );
    }

    #[test]
    fn a_word_of_the_command_line_begins_no_line() {
        for words in [
            vec!["run", "--name", "a\nError: b", "x"],
            vec!["run", "--name=a\nError: b", "x"],
            vec!["list", "--x\nError: b"],
        ] {
            let text = told(&words);
            assert!(
                text.contains("\\nError: b") && !text.contains("\nError"),
                "{text}"
            );
        }
    }

    #[test]
    fn words_of_other_tools_are_one_line() {
        for (words, expected) in [
            (
                vec!["run", "--volumes-from=a", "x"],
                "--volumes-from is not available yet",
            ),
            (
                vec!["image", "rmi", "x"],
                "there is no `container image rmi`: use `container image delete`",
            ),
            (
                vec!["--debug", "image", "history", "x"],
                "`container image history` is not available yet",
            ),
            (
                vec!["run", "--network", "container:a", "x"],
                "invalid value 'container:a' for '--network <NETWORK>': network 'container' is not available yet: a container \
                 has a machine, and so a network stack, of its own",
            ),
            (
                vec!["run", "--mount", "type=npipe,src=a,dst=/b", "x"],
                "invalid value 'type=npipe,src=a,dst=/b' for '--mount <MOUNT>': type=npipe is not available here: \
                 type=bind, type=virtiofs, type=volume and type=tmpfs are",
            ),
        ] {
            assert_eq!(told(&words), expected, "{words:?}");
        }
    }

    #[test]
    fn values_that_are_out_of_range_name_their_flag() {
        for (words, expected) in [
            (
                vec!["run", "-m", "1", "x"],
                "invalid value '1' for '--memory <SIZE>': minimum memory amount allowed is 200 MiB (got 1 bytes)",
            ),
            (
                vec!["run", "-m", "4m", "x"],
                "invalid value '4m' for '--memory <SIZE>': minimum memory amount allowed is 200 MiB (got 4194304 \
                 bytes)",
            ),
            (
                vec!["run", "--cpus", "0", "x"],
                "invalid value '0' for '--cpus <NUMBER>': '0' is not a number of CPUs from 0.01 to 1024, such as 2 \
                 or 1.5",
            ),
            (
                vec!["run", "--ulimit", "nofile", "x"],
                "invalid value 'nofile' for '--ulimit <LIMIT>': invalid ulimit format 'nofile': expected \
                 <type>=<soft>[:<hard>]",
            ),
            (
                vec!["stop", "-t", "-2", "x"],
                "invalid value '-2' for '--time <SECONDS>': seconds from 0 to 86400, or -1 for as long as it \
                 takes, are expected",
            ),
        ] {
            assert_eq!(told(&words), expected, "{words:?}");
        }
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
            vec!["run", "--network", "Bridge", "x"],
            vec!["run", "-p", "0:0", "x"],
            vec!["list", "--format", "xml"],
        ] {
            let error = parse(&words).unwrap_err();
            let failure = explain(error, &arguments(&words)).unwrap_err();
            assert_eq!(failure.code(), 64, "{words:?}");
        }
    }
}
