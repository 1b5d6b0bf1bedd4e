//! The stages of a Dockerfile, as far as they name images that a build needs.

use std::collections::HashMap;

use super::expand::expand;
use super::lines::{instructions, unquoted, words};

/// What `FROM` says where nothing is to begin from.
const NOTHING: &str = "scratch";

/// A stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// Its name, in small letters.
    pub name: Option<String>,
    /// The image or the stage that it begins from; `None`: nothing, or only the builder knows.
    pub base: Option<String>,
    /// The platform of that image, where the stage names one.
    pub platform: Option<String>,
    /// Images and stages whose files it uses.
    pub uses: Vec<String>,
    /// It runs programs.
    pub runs: bool,
    /// What it has for who begins from it.
    pub triggers: Vec<Trigger>,
}

/// What an instruction does that counts here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trigger {
    /// Images and stages whose files it uses.
    pub uses: Vec<String>,
    /// It runs a program.
    pub runs: bool,
}

/// The stages of `dockerfile`; the values that `arguments` have stand in for those that it says itself.
pub fn stages(dockerfile: &str, arguments: &HashMap<String, String>) -> Vec<Stage> {
    let mut values = arguments.clone();
    let mut stages: Vec<Stage> = Vec::new();
    for instruction in instructions(dockerfile) {
        let words = words(&instruction);
        let Some((kind, words)) = words.split_first() else {
            continue;
        };
        match (kind.to_ascii_uppercase().as_str(), stages.last_mut()) {
            ("ARG", None) => {
                for word in words {
                    let (key, default) = word.split_once('=').unwrap_or((word, ""));
                    if !arguments.contains_key(key) {
                        let value = expand(unquoted(default), &values);
                        values.insert(key.to_owned(), value.unwrap_or_default());
                    }
                }
            }
            ("FROM", _) => stages.push(stage(words, &values)),
            ("ONBUILD", Some(stage)) => stage.triggers.push(instruction_of(words)),
            (_, Some(stage)) => {
                let all: Vec<&str> = std::iter::once(*kind)
                    .chain(words.iter().copied())
                    .collect();
                stage.follow(instruction_of(&all));
            }
            (_, None) => {}
        }
    }
    stages
}

/// What the words of `FROM` say.
fn stage(words: &[&str], values: &HashMap<String, String>) -> Stage {
    let is_flag = |word: &&&str| word.starts_with("--");
    let flags = words.iter().take_while(is_flag);
    let platform = flags
        .filter_map(|flag| flag.strip_prefix("--platform="))
        .find_map(|platform| expand(unquoted(platform), values));
    let mut words = words.iter().skip_while(is_flag);
    let base = words
        .next()
        .and_then(|base| expand(unquoted(base), values))
        .filter(|base| !base.is_empty() && base != NOTHING);
    let name = words
        .next()
        .filter(|word| word.eq_ignore_ascii_case("as"))
        .and(words.next());
    Stage {
        name: name.map(|name| name.to_lowercase()),
        base,
        platform: platform.filter(|platform| !platform.is_empty()),
        ..Stage::default()
    }
}

/// What the instruction of these words does: `COPY --from=` and `RUN --mount=from=` use others.
pub fn instruction_of(words: &[&str]) -> Trigger {
    let kind = words.first().map(|kind| kind.to_ascii_lowercase());
    let Some(kind @ ("add" | "copy" | "run")) = kind.as_deref() else {
        return Trigger::default();
    };
    let flags = words[1..].iter().take_while(|word| word.starts_with("--"));
    let from = flags.filter_map(|flag| {
        flag.strip_prefix("--from=").or_else(|| {
            let mount = unquoted(flag.strip_prefix("--mount=")?);
            mount.split(',').find_map(|part| part.strip_prefix("from="))
        })
    });
    // Variables have no place there: the builder says so.
    let uses = from
        .map(unquoted)
        .filter(|from| !from.is_empty() && *from != NOTHING && !from.contains('$'));
    Trigger {
        uses: uses.map(str::to_owned).collect(),
        runs: kind == "run",
    }
}

impl Stage {
    /// Has the stage do what `trigger` says.
    pub fn follow(&mut self, trigger: Trigger) {
        self.uses.extend(trigger.uses);
        self.runs |= trigger.runs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_says_what_it_needs() {
        let text = "# syntax=x\nARG V=1\nARG base=\"debian:${V}\"\nFROM --platform=$BUILDPLATFORM $base AS Build\n\
                    COPY --chown=1 --from=tools /a /b\nRUN --mount=type=cache,target=/c --mount=type=bind,from=other:1,target=/x true\n\
                    ONBUILD COPY --from=later x y\nENV x=--from=no\nARG V=3\nfrom scratch\nCOPY --from=$V a b\nFROM b${V%x}\nFROM x$V\n";
        let given = [("V", "12"), ("BUILDPLATFORM", "linux/amd64")];
        let given = given.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let found = stages(text, &HashMap::from(given));
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        assert_eq!(
            found,
            [
                Stage {
                    name: Some("build".into()),
                    base: Some("debian:12".into()),
                    platform: Some("linux/amd64".into()),
                    uses: strings(&["tools", "other:1"]),
                    runs: true,
                    triggers: vec![Trigger {
                        uses: strings(&["later"]),
                        runs: false,
                    }],
                },
                Stage::default(),
                Stage::default(),
                Stage {
                    base: Some("x12".into()),
                    ..Stage::default()
                },
            ]
        );
    }
}
