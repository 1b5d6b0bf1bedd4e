//! The help of every command is part of the interface: a change of it shows in a review.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::help;

/// Set to anything, this makes the test write the files instead of comparing them.
const UPDATE: &str = "UPDATE_HELP";
/// Columns, whatever the terminal has.
const WIDTH: usize = 100;

#[test]
fn help_is_as_committed() {
    // The default of this flag is shown, and another test or the user may have set it.
    let mut root = Cli::command().term_width(WIDTH);
    root.build();
    let mut texts = vec![("container".to_owned(), help::overview(&root, &[], WIDTH))];
    collect(&mut root, "container", &mut texts);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    if std::env::var_os(UPDATE).is_some() {
        update(&directory, &texts);
    }
    let mut wrong = String::new();
    for (name, text) in &texts {
        let committed = std::fs::read_to_string(file(&directory, name)).unwrap_or_default();
        if committed != *text {
            let _ = write!(wrong, "\n--- {name}: the help is now\n{text}");
        }
    }
    let files = std::fs::read_dir(&directory).unwrap().count();
    assert!(
        wrong.is_empty() && files == texts.len(),
        "the help differs from tests/help ({files} files, {} commands); to take it over:\n\
         {UPDATE}=1 cargo test -p container-cli help_is_as_committed\n{wrong}",
        texts.len(),
    );
}

#[test]
fn every_command_has_examples() {
    let mut root = Cli::command();
    root.build();
    let mut texts = Vec::new();
    collect(&mut root, "container", &mut texts);
    for (name, text) in texts {
        // A group of commands has none of its own.
        assert!(
            text.contains("\nExamples:\n") || text.contains("\nCommands:\n"),
            "{name}"
        );
    }
}

#[test]
fn the_overview_shows_every_command() {
    let root = Cli::command();
    let overview = help::overview(&root, &[], WIDTH);
    for command in root
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let shown = overview.contains(&format!("\n  {}", command.get_name()));
        assert!(
            shown,
            "{} is in no group of the overview",
            command.get_name()
        );
    }
}

fn collect(command: &mut clap::Command, path: &str, texts: &mut Vec<(String, String)>) {
    let names: Vec<String> = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| command.get_name().to_owned())
        .collect();
    for name in names {
        let Some(subcommand) = command.find_subcommand_mut(&name) else {
            continue;
        };
        let path = format!("{path} {name}");
        let text = subcommand
            .clone()
            .term_width(WIDTH)
            .render_long_help()
            .to_string();
        texts.push((path.clone(), text));
        collect(subcommand, &path, texts);
    }
}

fn update(directory: &Path, texts: &[(String, String)]) {
    std::fs::create_dir_all(directory).unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (name, text) in texts {
        std::fs::write(file(directory, name), text).unwrap();
    }
}

fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(name.replace(' ', "-") + ".txt")
}
