//! Patterns of a `.dockerignore`, of `COPY` sources, and of what a builder asks for: the rules of Go's `filepath.Match`, and `**`, which
//! stands for any number of directories (Docker's reference of the Dockerfile, ".dockerignore file").

use regex::Regex;

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// What a compiled pattern may take, in bytes.
const COMPILED_LIMIT: usize = 16 << 20;

/// A pattern, compiled.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    exception: bool,
    matching: Matching,
}

#[derive(Clone, Debug)]
enum Matching {
    Exact,
    /// `**` and a plain text behind it: any path that ends so.
    Suffix(String),
    Expression(Regex),
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Only a `!`.
    #[error("illegal exclusion pattern: \"!\"")]
    LoneException,
    /// Against the syntax.
    #[error("syntax error in pattern '{0}'")]
    Syntax(String),
    /// Over 4096 bytes, or too large when compiled.
    #[error("a pattern of {0} bytes is too long")]
    TooLong(usize),
}

impl Pattern {
    /// A pattern; `None` for one that is empty.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn parse(text: &str) -> Result<Option<Self>, PatternError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong(text.len()));
        }
        let cleaned = clean(text);
        let (exception, pattern) = match cleaned.strip_prefix('!') {
            Some("") => return Err(PatternError::LoneException),
            Some(rest) => (true, rest),
            None => (false, cleaned.as_str()),
        };
        Ok(Some(Self {
            matching: compile(pattern)?,
            text: pattern.to_owned(),
            exception,
        }))
    }

    /// The cleaned text, without the `!` of an exception.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it takes back what an earlier one has matched.
    pub fn is_exception(&self) -> bool {
        self.exception
    }

    /// Whether it matches `path` itself.
    pub fn matches(&self, path: &str) -> bool {
        match &self.matching {
            Matching::Exact => path == self.text,
            Matching::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Matching::Expression(expression) => expression.is_match(path),
        }
    }

    /// The directory that all that it matches is at or below; `None` where that cannot be told from the text.
    pub fn literal_prefix(&self) -> Option<&str> {
        let text = self.text.strip_suffix("/**").unwrap_or(&self.text);
        let text = text.strip_suffix("/*").unwrap_or(text);
        (!text.contains(['*', '[', ']', '?', '^', '\\'])).then_some(text)
    }
}

/// Go's `path.Clean`: no `.`, no double slashes, `..` resolved as far as can be.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&"..") => parts.push(part),
                Some(_) => {
                    parts.pop();
                }
                None if rooted => {}
                None => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, joined) => format!("/{joined}"),
        (false, joined) if joined.is_empty() => ".".to_owned(),
        (false, joined) => joined,
    }
}

fn compile(pattern: &str) -> Result<Matching, PatternError> {
    let syntax = || PatternError::Syntax(pattern.to_owned());
    if let Some(suffix) = pattern.strip_prefix("**") {
        if !suffix.contains(['*', '?', '[', ']', '\\']) {
            return Ok(Matching::Suffix(suffix.to_owned()));
        }
    }
    if !pattern.contains(['*', '?', '[', '\\']) {
        return Ok(Matching::Exact);
    }
    let mut expression = String::from(r"(?s)\A");
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '*' if rest.peek() == Some(&'*') => {
                rest.next();
                rest.next_if_eq(&'/');
                expression.push_str(if rest.peek().is_none() {
                    ".*"
                } else {
                    "(.*/)?"
                });
            }
            '*' => expression.push_str("[^/]*"),
            '?' => expression.push_str("[^/]"),
            '\\' => {
                let escaped = rest.next().ok_or_else(syntax)?;
                expression.push_str(&regex::escape(escaped.encode_utf8(&mut [0; 4])));
            }
            '[' => class(&mut rest, &mut expression).ok_or_else(syntax)?,
            other => expression.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    expression.push_str(r"\z");
    let built = regex::RegexBuilder::new(&expression)
        .size_limit(COMPILED_LIMIT)
        .build();
    built
        .map(Matching::Expression)
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => PatternError::TooLong(pattern.len()),
            _ => syntax(),
        })
}

/// A class of characters behind its `[`, as `filepath.Match` has it: characters and ranges, with `\` before what is meant literally.
fn class(
    rest: &mut std::iter::Peekable<std::str::Chars<'_>>,
    expression: &mut String,
) -> Option<()> {
    let character = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| match rest.next()? {
        '\\' => rest.next(),
        '-' | ']' => None,
        other => Some(other),
    };
    expression.push('[');
    if rest.next_if_eq(&'^').is_some() {
        expression.push('^');
    }
    let mut is_empty = true;
    while is_empty || rest.next_if_eq(&']').is_none() {
        is_empty = false;
        let low = character(rest)?;
        let high = if rest.next_if_eq(&'-').is_some() {
            character(rest)?
        } else {
            low
        };
        // A range that is the wrong way round matches nothing, which no class can say.
        if low > high {
            return None;
        }
        for (mark, end) in [("", low), ("-", high)] {
            expression.push_str(mark);
            expression.push_str(&end.escape_unicode().to_string());
        }
    }
    expression.push(']');
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().unwrap().matches(path)
    }

    /// Cases of Docker's own matcher: what its documentation and its users rely on.
    #[test]
    fn docker_s_cases() {
        for (pattern, path, expected) in [
            ("**", "file", true),
            ("**", "dir/file", true),
            ("**/", "file", true),
            ("**/**", "dir/file", true),
            ("dir/**", "dir/file", true),
            ("dir/**", "dir/dir2/file", true),
            ("dir/**", "dir", false),
            ("**/dir", "dir", true),
            ("**/dir", "dir/file", false),
            ("**/dir2/*", "dir/dir2/file", true),
            ("**/dir2/**", "dir/dir2/dir2/file", true),
            ("**file", "file", true),
            ("**file", "dir/file", true),
            ("**/file", "dir/dir/file", true),
            ("**/file*", "dir/dir/file.txt", true),
            ("**/file*txt", "dir/dir/file.txt", true),
            ("**/file*.txt*", "dir/dir/file.txt", true),
            ("**/*.txt", "file.txt", true),
            ("**/**/*.txt2", "dir/dir/file.txt", false),
            ("a**/*.txt", "a/file.txt", true),
            ("a**/*.txt", "a/dir/dir/file.txt", true),
            ("a[b-d]e", "ae", false),
            ("a[b-d]e", "ace", true),
            ("a[^b-d]e", "ace", false),
            ("a[^b-d]e", "aze", true),
            (".*", ".foo", true),
            (".*", "foo", false),
            ("abc.def", "abcZdef", false),
            ("abc?def", "abcZdef", true),
            ("abc?def", "abc/def", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("a\\\\", "a\\", true),
            ("*", "a/b", false),
            ("*/b", "a/b", true),
            ("**/foo/bar", "foo/bar", true),
            ("**/foo/bar", "dir/dir2/foo/bar", true),
            ("abc/**", "abc/def/ghi", true),
            ("**/.foo", ".foo", true),
            ("**/.foo", "bar.foo", false),
            ("a(b)c/def", "a(b)c/def", true),
            ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
            ("dist/*.whl", "dist/proxy.py-2.4.0rc3.whl", true),
            ("./a//b/", "a/b", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_none() {
        assert!(Pattern::parse("  ").unwrap().is_none());
        assert_eq!(
            Pattern::parse("!").unwrap_err(),
            PatternError::LoneException
        );
        for text in ["[", "[]", "[^]", "a[", "[a-", "[-x]", "a\\"] {
            let error = Pattern::parse(text).unwrap_err();
            assert!(matches!(error, PatternError::Syntax(_)), "{text}");
        }
        assert!(matches!(
            Pattern::parse(&"x".repeat(5000)),
            Err(PatternError::TooLong(5000))
        ));
        assert!(Pattern::parse(&"?".repeat(1000)).is_ok());
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in [
            ("", "."),
            ("a/../b", "b"),
            ("../a", "../a"),
            ("/../a", "/a"),
            ("a/./b//", "a/b"),
            ("a/../..", ".."),
        ] {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_hard(pattern in ".{0,60}", path in ".{0,60}") {
            if let Ok(Some(pattern)) = Pattern::parse(&pattern) {
                pattern.matches(&path);
            }
        }

        #[test]
        fn a_plain_path_matches_itself_alone(path in "[a-z]{1,5}(/[a-z.]{2,5}x){0,3}", other in "[a-z]{1,5}") {
            prop_assert!(matches(&path, &path));
            prop_assert_eq!(matches(&path, &other), path == other);
        }
    }
}
