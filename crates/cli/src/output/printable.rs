//! Text that others chose (a guest, an image, a registry, another user), as it may be shown to a person.
//!
//! What would command the terminal, begin a line that looks like ours, or show characters in another order than they
//! have is written as an escape. Every line, table and error passes through here; JSON and YAML escape by themselves,
//! and what a container prints is its own.

use std::fmt::Write as _;

/// The text on one line.
pub fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    push(&mut printable, text);
    printable
}

/// The text on as many lines as it has. All but the first are indented: none looks like a message of its own.
pub fn printable_lines(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for (number, line) in text.lines().enumerate() {
        if number > 0 {
            printable.push('\n');
            if !line.is_empty() {
                printable.push_str(INDENT);
            }
        }
        push(&mut printable, line);
    }
    printable
}

/// Before further lines.
const INDENT: &str = "  ";

fn push(printable: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => printable.push_str("\\n"),
            '\r' => printable.push_str("\\r"),
            '\t' => printable.push_str("\\t"),
            _ if is_safe(character) => printable.push(character),
            _ => {
                let _ = write!(printable, "{}", character.escape_unicode());
            }
        }
    }
}

/// Whether a terminal shows the character where it stands, and does nothing else.
fn is_safe(character: char) -> bool {
    !(character.is_control()
        || matches!(character,
            // Directions, and the marks that embed, override and isolate them (UAX #9).
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{206f}'
            // Separators of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Nothing to see: a byte order mark, annotations, tags.
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_guest_s_words_begin_no_line_and_command_no_terminal() {
        for (text, shown) in [
            ("plain é 日本 👍", "plain é 日本 👍"),
            ("lost\nError: yours", "lost\\nError: yours"),
            ("50 %\rdone", "50 %\\rdone"),
            ("\u{1b}[2J\u{9b}1A\u{7}", "\\u{1b}[2J\\u{9b}1A\\u{7}"),
            ("a\u{202e}txt.exe", "a\\u{202e}txt.exe"),
            ("a\u{2028}b\u{feff}", "a\\u{2028}b\\u{feff}"),
        ] {
            assert_eq!(printable(text), shown);
        }
    }

    #[test]
    fn further_lines_are_indented() {
        let text = "a\nError: b\r\n\n\u{1b}c\n";
        assert_eq!(printable_lines(text), "a\n  Error: b\n\n  \\u{1b}c");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_one_line_of_safe_characters(text in "\\PC{0,20}|[\\x00-\\xff]{0,20}|.{0,20}") {
            let shown = printable(&text);
            prop_assert!(shown.chars().all(is_safe));
            prop_assert_eq!(printable(&shown), shown);
        }
    }
}
