//! The overview of all commands, in groups, as Apple's tool has them.

use std::fmt::Write as _;

use clap::Command;
use unicode_width::UnicodeWidthStr;

/// Columns of a name, with the space behind it.
const NAME_WIDTH: usize = 24;

/// Columns below which a meaning stands below its name.
const NARROW: usize = 60;
/// Columns that a meaning has at least.
const LEAST: usize = 20;

/// Groups, and their commands in the order in which they are shown.
const GROUPS: [(&str, &[&str]); 3] = [
    (
        "CONTAINER COMMANDS",
        &[
            "attach", "clean", "commit", "copy", "create", "delete", "diff", "events", "exec",
            "export", "inspect", "kill", "list", "logs", "pause", "port", "prune", "rename",
            "restart", "run", "start", "stats", "stop", "top", "unpause", "wait",
        ],
    ),
    ("IMAGE COMMANDS", &["build", "builder", "image", "registry"]),
    (
        "OTHER COMMANDS",
        &["machine", "network", "system", "volume"],
    ),
];

/// The help of `container` itself, in lines of at most `width` columns as far as names fit; `plugins` are the names and
/// abstracts of what is installed beside it.
pub fn overview(root: &Command, plugins: &[(String, String)], width: usize) -> String {
    let about = root
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut text =
        format!("OVERVIEW: {about}\n\nUSAGE: container [--debug] <command>\n\nOPTIONS:\n");
    let entry = |text: &mut String, name: &str, about: &str| entry(text, name, about, width);
    entry(
        &mut text,
        "--debug",
        "Report each step on standard error [env: CONTAINER_DEBUG]",
    );
    entry(
        &mut text,
        "--generate-completion-script <SHELL>",
        "Write a completion script for bash, zsh or fish",
    );
    entry(&mut text, "--version", "Show the version");
    entry(&mut text, "-h, --help", "Show help");
    for (title, names) in GROUPS {
        let _ = write!(text, "\n{title}:\n");
        for command in names.iter().filter_map(|name| root.find_subcommand(name)) {
            let names: Vec<&str> = command.get_name_and_visible_aliases();
            let about = command
                .get_about()
                .map(ToString::to_string)
                .unwrap_or_default();
            entry(&mut text, &names.join(", "), &about);
        }
    }
    if !plugins.is_empty() {
        text.push_str("\nPLUGINS:\n");
        for (name, about) in plugins {
            entry(&mut text, name, about);
        }
    }
    text.push_str("\nSee 'container help <command>' for what a command does, with examples.\n");
    text
}

/// A name, and beside it (below it, if it is long) what it means. On a narrow terminal that begins nearer to the left.
fn entry(text: &mut String, name: &str, about: &str, width: usize) {
    let beside = width >= NARROW;
    let indent = if beside { NAME_WIDTH + 2 } else { 6 };
    let mut lines = wrapped(about, width.saturating_sub(indent).max(LEAST)).into_iter();
    let _ = if beside && name.len() < NAME_WIDTH {
        let first = lines.next().unwrap_or_default();
        writeln!(text, "  {name:<NAME_WIDTH$}{first}")
    } else {
        writeln!(text, "  {name}")
    };
    for line in lines {
        let _ = writeln!(text, "{:indent$}{line}", "");
    }
}

/// The words of `text` in lines of at most `width` columns; a word that is longer has a line of its own.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn the_overview_fits_narrow_and_wide_terminals() {
        let root = Cli::command();
        for width in [40, 60, 80, 200] {
            let text = overview(&root, &[], width);
            let entries = text.lines().filter(|line| line.starts_with("  "));
            let widest = entries.map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width, "{widest} of {width}: {text}");
        }
        let words = |text: String| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            words(overview(&root, &[], 40)),
            words(overview(&root, &[], 200))
        );
    }
}
