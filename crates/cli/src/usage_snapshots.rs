//! The messages for a wrong command line are part of the interface, too. Snapshots of them for each command.
//!
//! The mistakes are made by the definition itself, so a new option has its messages here without anybody's doing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, CommandFactory as _};

use crate::cli::{Cli, mistake};
use crate::words;

/// Set to anything, this makes the test write the files instead of comparing them.
const UPDATE: &str = "UPDATE_MESSAGES";
/// Values that few options take: none, a word that is no name, number, size, path or address, something below zero, something too
/// large, and what looks like a pair of something.
const VALUES: [&str; 5] = ["", "?!", "-1", "99999999999999999999999", "a=b:c,d"];

#[test]
fn messages_of_wrong_usage_are_as_committed() {
    let mut root = Cli::command();
    root.build();
    let mut texts = vec![("container".to_owned(), of_root())];
    collect(&root, &[], &mut texts);
    texts.push(("words".to_owned(), of_words()));
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/usage");
    if std::env::var_os(UPDATE).is_some() {
        // Another test may look at them: none is missing for longer than it is written.
        std::fs::create_dir_all(&directory).unwrap();
        let names: BTreeSet<PathBuf> = texts
            .iter()
            .map(|(name, _)| file(&directory, name))
            .collect();
        for entry in std::fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if !names.contains(&path) {
                std::fs::remove_file(path).unwrap();
            }
        }
        for (name, text) in &texts {
            std::fs::write(file(&directory, name), text).unwrap();
        }
    }
    let mut wrong = String::new();
    for (name, text) in &texts {
        let committed = std::fs::read_to_string(file(&directory, name)).unwrap_or_default();
        if committed != *text {
            let _ = write!(wrong, "\n--- {name}: the messages are now\n{text}");
        }
    }
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert!(
        wrong.is_empty() && files == texts.len(),
        "messages differ from tests/usage ({files} files, {} commands); to take them over:\n\
         {UPDATE}=1 cargo test -p container-cli messages_of_wrong_usage_are_as_committed\n{wrong}",
        texts.len(),
    );
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(name.replace(' ', "-") + ".txt")
}

/// The command line, and the message if it is wrong.
fn told(text: &mut String, line: &[&str]) {
    let arguments: Vec<OsString> = std::iter::once(&"container")
        .chain(line)
        .map(OsString::from)
        .collect();
    if let Some(message) = mistake(&arguments) {
        let shown: Vec<String> = line.iter().map(|word| shown(word)).collect();
        let _ = write!(
            text,
            "$ container {}\nError: {message}\n\n",
            shown.join(" ")
        );
    }
}

fn shown(word: &str) -> String {
    if word.is_empty() || word.contains([' ', '?', '!']) {
        format!("'{word}'")
    } else {
        word.to_owned()
    }
}

fn of_root() -> String {
    let mut text = String::new();
    for line in [
        &["--frobnicate"][..],
        &["--generate-completion-script", "csh"],
        &["--debug=maybe", "list"],
    ] {
        told(&mut text, line);
    }
    text
}

fn of_words() -> String {
    let mut text = String::new();
    for line in words::lines() {
        let line: Vec<&str> = line.split(' ').collect();
        told(&mut text, &line);
    }
    text
}

fn collect(command: &clap::Command, path: &[&str], texts: &mut Vec<(String, String)>) {
    for subcommand in command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let path = [path, &[subcommand.get_name()]].concat();
        let name = format!("container {}", path.join(" "));
        texts.push((name, of_command(subcommand, &path)));
        collect(subcommand, &path, texts);
    }
}

/// The mistakes of one command.
fn of_command(command: &clap::Command, path: &[&str]) -> String {
    let mut text = String::new();
    told(&mut text, &[path, &["--frobnicate"]].concat());
    if command.has_subcommands() {
        told(&mut text, &[path, &["frobnicate"]].concat());
        // One letter less than what there is.
        let typos = command.get_subcommands().map(|known| {
            let name = known.get_name();
            name.get(..name.len() - 1).unwrap_or(name)
        });
        for typo in typos.filter(|typo| command.find_subcommand(typo).is_none()) {
            told(&mut text, &[path, &[typo]].concat());
        }
        return text;
    }
    told(&mut text, path);
    let names: Vec<String> = command.get_arguments().filter_map(long).collect();
    // One letter less than the first option that is long enough.
    let typos = names.iter().map(|name| &name[..name.len() - 1]);
    let typo = typos.filter(|typo| typo.len() > 4 && names.iter().all(|name| name != typo));
    for typo in typo.take(1) {
        told(&mut text, &[path, &[typo]].concat());
    }
    for argument in command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
    {
        let Some(name) = long(argument) else {
            of_positional(&mut text, path, argument);
            continue;
        };
        if matches!(argument.get_action(), ArgAction::Set | ArgAction::Append) {
            let mut messages = BTreeSet::new();
            for value in VALUES {
                let word = format!("{name}={value}");
                let mut one = String::new();
                told(&mut one, &[path, &[&word]].concat());
                // What is wrong elsewhere in the line is told once.
                let said = one
                    .split_once('\n')
                    .map_or("", |(_, said)| said)
                    .replace(value, "");
                if !said.starts_with("Error: the following required") && messages.insert(said) {
                    text += &one;
                }
            }
        }
    }
    text
}

fn of_positional(text: &mut String, path: &[&str], argument: &Arg) {
    if argument.get_index() != Some(1) {
        return;
    }
    for value in VALUES {
        told(text, &[path, &[value]].concat());
    }
}

fn long(argument: &Arg) -> Option<String> {
    let long = argument.get_long().map(|long| format!("--{long}"));
    long.or_else(|| argument.get_short().map(|short| format!("-{short}")))
}
