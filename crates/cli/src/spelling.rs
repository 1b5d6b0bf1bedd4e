//! The spelling of options, as with Docker: of an option that is given twice the last one holds, and a flag may be set to a value
//! (`--rm=false`, `-it=false`).

use clap::{Arg, ArgAction, Command};
use container_resource::switch;

/// What stands for the value of a flag in messages.
const VALUE: &str = "true|false";

/// `command` and those below it, which take these spellings. Their help shows what is not meant for people: see
/// [`crate::cli`].
pub fn lenient(command: Command) -> Command {
    flags(command).args_override_self(true)
}

fn flags(command: Command) -> Command {
    command.mut_args(flag).mut_subcommands(flags)
}

fn flag(argument: Arg) -> Arg {
    if !matches!(argument.get_action(), ArgAction::SetTrue) {
        return argument;
    }
    // What comes from the environment keeps the words that it takes there.
    let own_words = argument.get_env().is_some();
    let argument = argument
        .action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .value_name(VALUE)
        .default_missing_value("true")
        .default_value("false");
    if own_words {
        argument
    } else {
        argument.value_parser(switch::parse)
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// Every flag of every command takes a value, more than once, and is off without being given.
    #[test]
    fn every_flag_can_be_set_to_a_value() {
        let mut tried = 0;
        each(&Cli::command(), &mut vec![], &mut tried);
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn what_is_on_without_being_given_stays_so() {
        for path in [&["export"][..], &["commit"], &["volume", "export"]] {
            let mut command = &lenient(Cli::command());
            for name in path {
                command = command.find_subcommand(name).unwrap();
            }
            let mut arguments = command.get_arguments();
            let pause = arguments.find(|argument| argument.get_id() == "pause");
            assert_eq!(pause.unwrap().get_default_values(), ["true"], "{path:?}");
        }
    }

    fn each(command: &Command, path: &mut Vec<String>, tried: &mut usize) {
        let is_flag = |argument: &&Arg| matches!(argument.get_action(), ArgAction::SetTrue);
        let flags: Vec<Arg> = command.get_arguments().filter(is_flag).cloned().collect();
        for argument in &flags {
            let Some(long) = argument.get_long() else {
                continue;
            };
            *tried += 1;
            let id = argument.get_id().as_str();
            for (words, expected) in [
                (vec![], false),
                (vec![format!("--{long}")], true),
                (vec![format!("--{long}=true")], true),
                (vec![format!("--{long}=0")], false),
                (vec![format!("--{long}"), format!("--{long}=F")], false),
                (vec![format!("--{long}=false"), format!("--{long}")], true),
            ] {
                // What else the command wants is of no concern here.
                let only = Command::new("x").args(flags.clone());
                let words = std::iter::once("x".to_owned()).chain(words);
                let words: Vec<String> = words.collect();
                let matches = lenient(only)
                    .try_get_matches_from(&words)
                    .unwrap_or_else(|error| panic!("{path:?} {words:?}: {error}"));
                assert_eq!(matches.get_flag(id), expected, "{path:?} {words:?}");
            }
        }
        for subcommand in command.get_subcommands() {
            path.push(subcommand.get_name().to_owned());
            each(subcommand, path, tried);
            path.pop();
        }
    }
}
