//! A list of patterns, of which the last one that matches decides.

use super::pattern::{Pattern, PatternError};

/// Patterns in their order.
#[derive(Clone, Debug, Default)]
pub struct Matcher {
    patterns: Vec<Pattern>,
    /// All paths that it can match are at or below these; `None` where that is not known.
    prefixes: Option<Vec<String>>,
    /// The same of the exceptions.
    exceptions: Option<Vec<String>>,
}

/// Which patterns a directory has matched: they match all below it.
pub type Matched = Vec<bool>;

impl Matcher {
    /// A matcher; `None` where there is no pattern.
    ///
    /// # Errors
    /// The first pattern that is invalid.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Option<Self>, PatternError> {
        let patterns = texts.into_iter().map(Pattern::parse);
        let patterns: Vec<Pattern> = patterns
            .filter_map(Result::transpose)
            .collect::<Result<_, _>>()?;
        if patterns.is_empty() {
            return Ok(None);
        }
        let prefixes = |exceptions: bool| {
            let those = patterns
                .iter()
                .filter(|pattern| pattern.is_exception() == exceptions);
            those
                .map(|pattern| pattern.literal_prefix().map(str::to_owned))
                .collect()
        };
        Ok(Some(Self {
            prefixes: prefixes(false),
            exceptions: prefixes(true),
            patterns,
        }))
    }

    /// Whether `path` is matched, itself or by a directory above it, of which `above` tells; and which patterns have matched it.
    pub fn matches(&self, path: &str, above: &[bool]) -> (bool, Matched) {
        let mut is_matched = false;
        let mut matched = vec![false; self.patterns.len()];
        for (index, pattern) in self.patterns.iter().enumerate() {
            let inherited = above.get(index).copied().unwrap_or(false);
            // A pattern that could change nothing is not asked.
            let is_asked = pattern.is_exception() == is_matched;
            matched[index] = inherited || (is_asked && pattern.matches(path));
            if matched[index] {
                is_matched = !pattern.is_exception();
            }
        }
        (is_matched, matched)
    }

    /// Whether nothing below `directory`, which is not matched, can be.
    pub fn misses_all_below(&self, directory: &str) -> bool {
        !may_lead_below(self.prefixes.as_deref(), directory)
    }

    /// Whether all below `directory`, which is matched, is matched too.
    pub fn matches_all_below(&self, directory: &str) -> bool {
        !may_lead_below(self.exceptions.as_deref(), directory)
    }
}

fn may_lead_below(prefixes: Option<&[String]>, directory: &str) -> bool {
    let below = |prefix: &String| {
        prefix
            .strip_prefix(directory)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    prefixes.is_none_or(|prefixes| prefixes.iter().any(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `path` is ignored, asked along its directories as a walk does.
    fn is_ignored(patterns: &[&str], path: &str) -> bool {
        let matcher = Matcher::new(patterns.iter().copied()).unwrap().unwrap();
        let mut above = Vec::new();
        let mut is_matched = false;
        for (end, _) in path.match_indices('/').chain([(path.len(), "")]) {
            (is_matched, above) = matcher.matches(&path[..end], &above);
        }
        is_matched
    }

    /// What Docker's documentation of `.dockerignore` says, and what its own tests add.
    #[test]
    fn the_last_pattern_that_matches_decides() {
        for (patterns, path, expected) in [
            (&["a"][..], "a/b/c", true),
            (&["a", "!a/b"], "a/b/c", false),
            (&["a", "!a/b", "a/b/c"], "a/b/c", true),
            (&["a", "!a/b"], "a/x", true),
            (&["*", "!*.go"], "main.go", false),
            (&["*", "!*.go"], "main.c", true),
            (&["*", "!src"], "src/main.c", false),
            (
                &["*.md", "!README*.md", "README-secret.md"],
                "README.md",
                false,
            ),
            (
                &["*.md", "!README*.md", "README-secret.md"],
                "README-secret.md",
                true,
            ),
            (
                &["*.md", "README-secret.md", "!README*.md"],
                "README-secret.md",
                false,
            ),
            (&["**/*.go"], "a/b/c.go", true),
            (&["*/temp*"], "somedir/temporary/x", true),
            (&["*/*/temp*"], "somedir/temp", false),
            (&["temp?"], "tempa", true),
            (&["docs", "!docs/README.md"], "docs/README.md", false),
            (&["**", "!util/docker/web"], "util/docker/web/foo", false),
            (
                &["**", "!util/docker/web", "util/docker/web/foo"],
                "util/docker/web/foo",
                true,
            ),
            (&["!a", "a"], "a", true),
            (&["dir/sub", "!**/keep"], "dir/sub/deep/keep", false),
        ] {
            assert_eq!(is_ignored(patterns, path), expected, "{patterns:?} {path}");
        }
    }

    #[test]
    fn directories_that_can_hold_nothing_are_known() {
        let matcher = |patterns: &[&str]| Matcher::new(patterns.iter().copied()).unwrap().unwrap();
        let some = matcher(&["src/app/**", "doc/a"]);
        assert!(!some.misses_all_below("src"));
        assert!(!some.misses_all_below("doc"));
        assert!(some.misses_all_below("do"));
        assert!(some.misses_all_below("tests"));
        assert!(!matcher(&["*/x"]).misses_all_below("tests"));
        assert!(matcher(&["node_modules"]).matches_all_below("node_modules"));
        let with = matcher(&["a", "!a/b/c"]);
        assert!(!with.matches_all_below("a/b"));
        assert!(with.matches_all_below("a/d"));
        assert!(!matcher(&["a", "!**/c"]).matches_all_below("a"));
    }
}
