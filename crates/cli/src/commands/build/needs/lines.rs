//! A Dockerfile's instructions: continued lines are joined; comments and the texts of heredocs are left out.

/// Instructions that may be followed by heredocs.
const WITH_HEREDOCS: [&str; 4] = ["add", "copy", "run", "onbuild"];

/// Instructions of `text`, each on one line.
pub fn instructions(text: &str) -> Vec<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let escape = escape(text);
    let mut found = Vec::new();
    let mut instruction = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(part) = continued(line, escape) {
            instruction.push_str(part);
            continue;
        }
        instruction.push_str(line);
        let whole = std::mem::take(&mut instruction);
        for heredoc in heredocs(&whole) {
            // One without an end has all that is left, and the builder says so.
            lines.find(|line| heredoc.ends_at(line));
        }
        found.push(whole);
    }
    if !instruction.is_empty() {
        found.push(instruction);
    }
    found
}

/// The character that says that a line goes on: `# escape=` in the comments at the beginning may name another one.
fn escape(text: &str) -> char {
    let comments = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    for comment in comments {
        let Some((key, value)) = comment.split_once('=') else {
            break;
        };
        if key.trim().eq_ignore_ascii_case("escape") && value.trim() == "`" {
            return '`';
        }
    }
    '\\'
}

/// What `line` says, if the next one belongs to it. An escape that is escaped itself ends it.
fn continued(line: &str, escape: char) -> Option<&str> {
    let part = line.strip_suffix(escape)?;
    (!part.ends_with(escape)).then_some(part)
}

/// Words as a shell splits them, with their quotes.
pub fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = None;
    let mut quote = None;
    let mut characters = line.char_indices();
    while let Some((at, character)) = characters.next() {
        if character.is_whitespace() && quote.is_none() {
            words.extend(begin.take().map(|begin| &line[begin..at]));
            continue;
        }
        begin.get_or_insert(at);
        match (character, quote) {
            ('\\', None | Some('"')) => {
                characters.next();
            }
            ('"' | '\'', None) => quote = Some(character),
            (end, Some(begun)) if end == begun => quote = None,
            _ => {}
        }
    }
    words.extend(begin.map(|begin| &line[begin..]));
    words
}

/// A text in the lines behind an instruction.
struct Heredoc<'a> {
    end: &'a str,
    /// Tabs before its end do not count.
    is_indented: bool,
}

impl Heredoc<'_> {
    fn ends_at(&self, line: &str) -> bool {
        let line = if self.is_indented {
            line.trim_start_matches('\t')
        } else {
            line
        };
        line == self.end
    }
}

/// The heredocs that `instruction` begins: `<<NAME`, `<<-NAME`, `3<<"NAME"`.
fn heredocs(instruction: &str) -> Vec<Heredoc<'_>> {
    let words = words(instruction);
    let may = |word: &&str| WITH_HEREDOCS.contains(&word.to_ascii_lowercase().as_str());
    if !words.first().is_some_and(may) {
        return Vec::new();
    }
    let begun = words.into_iter().filter_map(|word| {
        let word = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let name = word.strip_prefix("<<")?;
        let (name, is_indented) = match name.strip_prefix('-') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let end = unquoted(name);
        (!end.is_empty() && !end.contains('<')).then_some(Heredoc { end, is_indented })
    });
    begun.collect()
}

/// `text` without quotes around it.
pub fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = text
            .strip_prefix(quote)
            .and_then(|text| text.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on() {
        for (text, expected) in [
            ("FROM a\nRUN b", &["FROM a", "RUN b"][..]),
            ("FROM \\\n # between\n\n  a\n", &["FROM a"]),
            ("RUN a \\\\\nRUN b", &["RUN a \\\\", "RUN b"]),
            ("# escape=`\nFROM `\n a\nRUN c:\\", &["FROM a", "RUN c:\\"]),
            ("# x\n# escape=`\nRUN a\\\nb", &["RUN ab"]),
            ("\u{feff}FROM a\r\nRUN b \\\r\nc", &["FROM a", "RUN b c"]),
            ("RUN a \\", &["RUN a "]),
            ("", &[]),
        ] {
            assert_eq!(instructions(text), expected, "{text:?}");
        }
    }

    #[test]
    fn texts_of_heredocs_are_no_instructions() {
        for (text, expected) in [
            ("RUN <<E\nFROM x\nE\nRUN y", &["RUN <<E", "RUN y"][..]),
            (
                "COPY <<A <<-'B C' /\nx\nA\n\tB C\nFROM b\nB\nB C",
                &["COPY <<A <<-'B C' /", "FROM b", "B", "B C"],
            ),
            (
                "RUN echo \"a <<b c\"\nFROM c",
                &["RUN echo \"a <<b c\"", "FROM c"],
            ),
            ("RUN cat <<< E\nFROM x", &["RUN cat <<< E", "FROM x"]),
            ("ENV a=<<E\nFROM x", &["ENV a=<<E", "FROM x"]),
            ("RUN 3<<E cat\nE\nFROM x", &["RUN 3<<E cat", "FROM x"]),
            ("RUN <<E\nFROM x", &["RUN <<E"]),
            ("ONBUILD RUN <<E\nFROM x\nE", &["ONBUILD RUN <<E"]),
        ] {
            assert_eq!(instructions(text), expected, "{text:?}");
        }
    }

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            words(" a  'b c' \"d \\\" e\"f g\\ h "),
            ["a", "'b c'", "\"d \\\" e\"f", "g\\ h"]
        );
    }
}
