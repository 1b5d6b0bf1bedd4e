//! The lines of a Dockerfile around the failed step, as buildx shows them.

use std::fmt;

use bollard_buildkit_proto::pb::{Position, Range, SourceInfo};

/// Lines shown before and after those that are meant.
const AROUND: usize = 2;
/// Lines of a range that are shown at the most.
const MOST: usize = 40;
/// Characters of a line that are shown.
const COLUMNS: usize = 400;

/// What an error of BuildKit says of its place (`errdefs.Source`).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Source {
    #[prost(message, optional, tag = "1")]
    pub info: Option<SourceInfo>,
    #[prost(message, repeated, tag = "2")]
    pub ranges: Vec<Range>,
}

/// Some lines of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// The file's name.
    pub file: String,
    /// The first line that is meant, from 1.
    pub line: usize,
    /// Number, whether it is meant, text.
    lines: Vec<(usize, bool, String)>,
}

impl Excerpt {
    /// The lines of `info` around `ranges`; `None` where there are none.
    pub(crate) fn of(info: &SourceInfo, ranges: &[Range]) -> Option<Self> {
        let text = String::from_utf8_lossy(&info.data);
        let number = |line: i32| usize::try_from(line).unwrap_or(0);
        let mut meant: Vec<(usize, usize)> = ranges
            .iter()
            .map(|range| {
                let first = number(range.start.map_or(0, |place| place.line));
                let last = number(range.end.map_or(0, |place| place.line));
                (first, last.max(first).min(first + MOST))
            })
            .filter(|(first, _)| *first > 0)
            .collect();
        meant.sort_unstable();
        let line = meant.first()?.0;
        let is_meant = |line: usize| meant.iter().any(|(from, to)| (*from..=*to).contains(&line));
        let is_near = |line: usize| {
            meant
                .iter()
                .any(|(from, to)| line + AROUND >= *from && line <= to + AROUND)
        };
        let lines: Vec<_> = text
            .lines()
            .enumerate()
            .map(|(index, text)| (index + 1, text))
            .filter(|(number, _)| is_near(*number))
            .take(MOST + 2 * AROUND)
            .map(|(number, text)| {
                let text: String = text.chars().take(COLUMNS).collect();
                (number, is_meant(number), text)
            })
            .collect();
        (!lines.is_empty()).then(|| Self {
            file: info.filename.clone(),
            line,
            lines,
        })
    }
}

impl Excerpt {
    /// The lines of the Dockerfile `text` that a failure is about, where the builder does not say it in numbers: it names a line, or the
    /// step `[<place>] <instruction>` that failed is found.
    pub fn find(file: &str, text: &str, message: &str, step: Option<&str>) -> Option<Self> {
        let info = SourceInfo {
            filename: file.to_owned(),
            data: text.as_bytes().to_vec(),
            ..SourceInfo::default()
        };
        // Newer ones say it with one word more.
        let named = ["parse error on line ", "parse error line "]
            .into_iter()
            .find_map(|words| message.split_once(words))
            .and_then(|(_, rest)| {
                let digits = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                rest[..digits].parse().ok()
            });
        let (first, last) = match named {
            Some(line) => (line, line),
            None => lines_of(text, step?.split_once("] ")?.1)?,
        };
        let place = |line| Some(Position { line, character: 0 });
        let range = Range {
            start: place(first),
            end: place(last),
        };
        Self::of(&info, &[range])
    }
}

/// The first and the last line of the only instruction that reads `wanted`, however it is broken into lines.
fn lines_of(text: &str, wanted: &str) -> Option<(i32, i32)> {
    let wanted: Vec<&str> = wanted.split_whitespace().collect();
    let lines: Vec<&str> = text.lines().collect();
    let mut found = None;
    let mut first = 0;
    while first < lines.len() {
        let mut words: Vec<&str> = Vec::new();
        let mut last = first;
        loop {
            let line = lines[last].trim();
            let goes_on = line.ends_with('\\') || (last > first && line.starts_with('#'));
            if !line.starts_with('#') {
                words.extend(line.trim_end_matches('\\').split_whitespace());
            }
            if !goes_on || last + 1 == lines.len() {
                break;
            }
            last += 1;
        }
        if words == wanted {
            if found.is_some() {
                return None;
            }
            let number = |index: usize| i32::try_from(index + 1).ok();
            found = Some((number(first)?, number(last)?));
        }
        first = last + 1;
    }
    found
}

impl fmt::Display for Excerpt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const RULE: &str = "--------------------";
        writeln!(formatter, "{}:{}", self.file, self.line)?;
        writeln!(formatter, "{RULE}")?;
        for (number, is_meant, text) in &self.lines {
            let mark = if *is_meant { ">>>" } else { "   " };
            writeln!(
                formatter,
                "{}",
                format!("{number:4} | {mark} {text}").trim_end()
            )?;
        }
        formatter.write_str(RULE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i32, last: i32) -> Range {
        let place = |line| Some(Position { line, character: 0 });
        Range {
            start: place(first),
            end: place(last),
        }
    }

    fn file(text: &str) -> SourceInfo {
        SourceInfo {
            filename: "Dockerfile".to_owned(),
            data: text.as_bytes().to_vec(),
            ..SourceInfo::default()
        }
    }

    #[test]
    fn the_lines_that_failed_are_marked() {
        let info = file(
            "FROM scratch\nCOPY a /\nCOPY b /\n\nRUN false \\\n  && true\nLABEL a=b\n\nUSER x\n",
        );
        let excerpt = Excerpt::of(&info, &[range(5, 6)]).unwrap();
        assert_eq!(
            excerpt.to_string(),
            "Dockerfile:5\n--------------------\n   3 |     COPY b /\n   4 |\n   5 | >>> RUN false \\\n   \
             6 | >>>   && true\n   7 |     LABEL a=b\n   8 |\n--------------------"
        );
    }

    #[test]
    fn a_step_is_found_by_what_it_says() {
        let text = "FROM a\nRUN one \\\n # why\n  two\nRUN same\nRUN same\nFRM x\n";
        let line = |message: &str, step: Option<&str>| {
            Excerpt::find("Dockerfile", text, message, step).map(|found| found.line)
        };
        assert_eq!(line("exit code: 1", Some("[2/4] RUN one   two")), Some(2));
        assert_eq!(line("exit code: 1", Some("[app 3/4] RUN same")), None);
        assert_eq!(line("exit code: 1", Some("exporting")), None);
        assert_eq!(
            line(
                "dockerfile parse error line 7: unknown instruction: FRM",
                None
            ),
            Some(7)
        );
        let newer = "dockerfile parse error on line 7: unknown instruction: FRM";
        assert_eq!(line(newer, None), Some(7));
        assert_eq!(line("parse error line x", None), None);
        assert_eq!(line("parse error line 99", None), None);
    }

    #[test]
    fn a_place_that_is_none_shows_nothing() {
        let info = file("FROM scratch\n");
        assert_eq!(Excerpt::of(&info, &[]), None);
        assert_eq!(Excerpt::of(&info, &[range(0, 0)]), None);
        assert_eq!(Excerpt::of(&info, &[range(-5, 3)]), None);
        assert_eq!(Excerpt::of(&info, &[range(100, 200)]), None);
        assert!(Excerpt::of(&info, &[range(1, i32::MAX)]).is_some());
    }
}
