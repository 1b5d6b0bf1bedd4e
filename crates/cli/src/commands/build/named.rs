//! Which images a Dockerfile begins from.

use std::collections::{BTreeSet, HashMap};

/// The images that `FROM`, `COPY --from` and `RUN --mount=from` of `dockerfile` name, with the arguments before its first stage put in. It is
/// not the builder's own parser: what it misses the builder asks a registry for.
pub fn named(dockerfile: &str, given: &HashMap<String, String>) -> BTreeSet<String> {
    let mut arguments: HashMap<String, String> = HashMap::new();
    let mut stages: BTreeSet<String> = BTreeSet::new();
    let mut images = BTreeSet::new();
    let mut has_stage = false;
    for line in logical_lines(dockerfile) {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_uppercase();
        match instruction.as_str() {
            "ARG" if !has_stage => {
                for word in words {
                    let (key, default) = word.split_once('=').unwrap_or((word, ""));
                    let value = given.get(key).map_or(default, String::as_str);
                    arguments.insert(key.to_owned(), expand(value.trim_matches('"'), &arguments));
                }
            }
            "FROM" => {
                has_stage = true;
                let mut words = words.skip_while(|word| word.starts_with("--"));
                let image = expand(words.next().unwrap_or_default(), &arguments);
                if !stages.contains(&image.to_lowercase()) {
                    images.insert(image);
                }
                if words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("as"))
                {
                    stages.extend(words.next().map(str::to_lowercase));
                }
            }
            "COPY" | "ADD" | "RUN" => {
                for word in words.take_while(|word| word.starts_with("--")) {
                    let from = word.strip_prefix("--from=").or_else(|| {
                        let mount = word.strip_prefix("--mount=")?;
                        mount.split(',').find_map(|part| part.strip_prefix("from="))
                    });
                    images.extend(from.map(|from| expand(from, &arguments)));
                }
            }
            _ => {}
        }
    }
    let is_image = |name: &String| {
        let is_stage = stages.contains(&name.to_lowercase()) || name.parse::<u32>().is_ok();
        !is_stage && !name.is_empty() && name != "scratch" && !name.contains('$')
    };
    images.retain(is_image);
    images
}

/// Lines without comments, put together where one goes on.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        if part.starts_with('#') {
            continue;
        }
        if let Some(part) = part.strip_suffix('\\') {
            line.push_str(part);
            line.push(' ');
        } else {
            line.push_str(part);
            lines.push(std::mem::take(&mut line));
        }
    }
    lines.push(line);
    lines
}

/// `$key`, `${key}`, `${key:-default}` and `${key:+other}` in `text`.
fn expand(text: &str, arguments: &HashMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('$') {
        expanded.push_str(before);
        let (name, modifier, after) = if let Some(inner) = behind.strip_prefix('{') {
            let Some((inner, after)) = inner.split_once('}') else {
                return text.to_owned();
            };
            let (name, modifier) = inner.split_once(':').unwrap_or((inner, ""));
            (name, modifier, after)
        } else {
            let end = behind.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
            let (name, after) = behind.split_at(end.unwrap_or(behind.len()));
            (name, "", after)
        };
        let value = arguments
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty());
        expanded.push_str(match (modifier.chars().next(), value) {
            (Some('-'), None) | (Some('+'), Some(_)) => &modifier[1..],
            (Some('+'), None) => "",
            (_, value) => value.unwrap_or_default(),
        });
        rest = after;
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn images_are_found_wherever_they_are_named() {
        let dockerfile = "# syntax=x\nARG V=1\nARG base=debian:${V}\nFROM --platform=linux/amd64 $base AS Build\nCOPY --from=tools /a /b\n\
                          FROM build\nfrom \\\n  # in between\n  busybox as last\nCOPY --from=0 a b\nCOPY --chown=1 --from=last a b\n\
                          RUN --mount=type=bind,from=other:1,target=/x true\nFROM scratch\nFROM ${none:-fallback}\nFROM ${V:+app}:x\n";
        let given = HashMap::from([("V".to_owned(), "12".to_owned())]);
        let found: Vec<String> = named(dockerfile, &given).into_iter().collect();
        assert_eq!(
            found,
            [
                "app:x",
                "busybox",
                "debian:12",
                "fallback",
                "other:1",
                "tools"
            ]
        );
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(?s).{0,200}") {
            named(&text, &HashMap::new());
        }
    }
}
