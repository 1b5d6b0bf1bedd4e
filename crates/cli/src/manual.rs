//! Manual pages, made of the same definition as the help.

use std::io;
use std::path::Path;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// What the examples of a command begin with in its help.
const EXAMPLES: &str = "Examples:\n";

/// Writes a page for `root` and for each command below it into `directory`, which is made.
pub fn write(root: &Command, directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    let mut root = root.clone();
    root.build();
    write_all(&root, directory)
}

fn write_all(command: &Command, directory: &Path) -> io::Result<()> {
    let visible = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    for command in visible {
        write_all(command, directory)?;
    }
    let man = Man::new(command.clone()).manual("container");
    let mut page = Vec::new();
    render(command, &man, &mut page)?;
    std::fs::write(directory.join(man.get_filename()), page)
}

fn render(command: &Command, man: &Man, page: &mut Vec<u8>) -> io::Result<()> {
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    let mut arguments = command.get_arguments();
    if arguments.any(|argument| !argument.is_hide_set()) {
        man.render_options_section(page)?;
    }
    if command
        .get_subcommands()
        .any(|command| !command.is_hide_set())
    {
        man.render_subcommands_section(page)?;
    }
    let Some(after) = command.get_after_long_help() else {
        return Ok(());
    };
    let text = after.to_string();
    let (title, text) = match text.strip_prefix(EXAMPLES) {
        Some(examples) => ("EXAMPLES", examples),
        None => ("NOTES", text.as_str()),
    };
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    // Commands are shown line by line.
    roff.control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    roff.to_writer(page)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// groff formats every page without a warning, and what it shows has the options and the examples.
    #[test]
    fn pages_are_what_groff_takes() {
        let scratch = tempfile::tempdir().unwrap();
        write(&Cli::command(), scratch.path()).unwrap();
        let pages: Vec<_> = std::fs::read_dir(scratch.path())
            .unwrap()
            .map(|page| page.unwrap().path())
            .collect();
        assert!(pages.len() > 60, "{}", pages.len());
        let output = std::process::Command::new("groff")
            .args(["-man", "-Tutf8", "-ww", "-rLL=120n", "-P-cbou"])
            .args(&pages)
            .output()
            .unwrap();
        let warnings = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && warnings.is_empty(), "{warnings}");
        let text = String::from_utf8_lossy(&output.stdout);
        for part in [
            "container-run(1)",
            "--publish",
            "EXAMPLES",
            "container-system-start(1)",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
