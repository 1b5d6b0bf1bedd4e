//! The overview of all commands, in the groups of the reference.

use std::fmt::Write as _;

use clap::Command;

/// Columns of a name, with the space behind it.
const NAME_WIDTH: usize = 24;

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
    ("IMAGE COMMANDS", &["image", "registry"]),
    ("OTHER COMMANDS", &["network", "system", "volume"]),
];

/// The help of `container` itself; `plugins` are the names and abstracts of what is installed beside it.
pub fn overview(root: &Command, plugins: &[(String, String)]) -> String {
    let about = root
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut text =
        format!("OVERVIEW: {about}\n\nUSAGE: container [--debug] <command>\n\nOPTIONS:\n");
    entry(
        &mut text,
        "--debug",
        "Tell on standard error what is being done [env: CONTAINER_DEBUG]",
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

/// A name, and beside it (below it, if it is long) what it means.
fn entry(text: &mut String, name: &str, about: &str) {
    let _ = if name.len() < NAME_WIDTH {
        writeln!(text, "  {name:<NAME_WIDTH$}{about}")
    } else {
        writeln!(text, "  {name}\n  {:NAME_WIDTH$}{about}", "")
    };
}
