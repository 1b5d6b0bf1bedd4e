//! The images that a build needs: those that its target, and the stages that it is made of, begin from and use. It is not the builder's own
//! parser: what it misses the builder asks a registry for.

mod expand;
mod lines;
mod stages;

use std::collections::{HashMap, HashSet};

use container_resource::platform::Platform;
use stages::Stage;

/// What says which stages count.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The Dockerfile's text.
    pub dockerfile: &'a str,
    /// Values of its arguments.
    pub arguments: &'a HashMap<String, String>,
    /// The stage that is built, by its name or its number; `None`: the last one.
    pub target: Option<&'a str>,
    /// What it is built for.
    pub platform: &'a Platform,
}

/// An image that is needed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Need {
    /// Its name, as it is written.
    pub image: String,
    /// For this platform, as it is written; `None`: that of the build.
    pub platform: Option<String>,
}

/// Needs one after the other: images that were found may have more ([`Needs::triggered`]).
#[derive(Debug)]
pub struct Needs {
    stages: Vec<Stage>,
    /// Names to which the user has given another meaning.
    replaced: HashSet<String>,
    visited: HashSet<usize>,
    told: HashSet<Need>,
    waiting: Vec<Need>,
    /// Platforms that programs are run of.
    runs: HashSet<Option<String>>,
}

impl Needs {
    /// Those of a build in which `replaced` are no names of stages and images, but of what `--build-context` says.
    pub fn of(asked: Asked<'_>, replaced: impl IntoIterator<Item = String>) -> Self {
        let mut arguments = platform_arguments(asked.platform);
        arguments.extend(asked.arguments.clone());
        let mut needs = Self {
            stages: stages::stages(asked.dockerfile, &arguments),
            replaced: replaced
                .into_iter()
                .map(|name| name.to_lowercase())
                .collect(),
            visited: HashSet::new(),
            told: HashSet::new(),
            waiting: Vec::new(),
            runs: HashSet::new(),
        };
        let target = match asked.target {
            Some(target) => needs
                .by_name(target, needs.stages.len())
                .or_else(|| needs.by_number(target)),
            None => needs.stages.len().checked_sub(1),
        };
        // The builder says that there is no such stage.
        if let Some(target) = target {
            needs.visit(target);
        }
        needs
    }

    /// Adds what an image for `platform` has for who begins from it.
    pub fn triggered(&mut self, platform: Option<&str>, instructions: &[String]) {
        for instruction in instructions {
            let trigger = stages::instruction_of(&lines::words(instruction));
            if trigger.runs {
                self.runs.insert(platform.map(str::to_owned));
            }
            for name in trigger.uses {
                match self.stage(&name) {
                    Some(number) => self.visit(number),
                    None => self.need(name, None),
                }
            }
        }
    }

    /// Platforms that steps are run of, as they are written; `None`: that of the build. Whole when there are no more needs.
    pub fn runs(&self) -> impl Iterator<Item = Option<&str>> {
        self.runs.iter().map(Option::as_deref)
    }

    /// Looks at a stage, and at all that it is made of.
    fn visit(&mut self, number: usize) {
        let mut visiting = vec![number];
        while let Some(number) = visiting.pop() {
            if !self.visited.insert(number) {
                continue;
            }
            let mut stage = self.stages[number].clone();
            if stage
                .name
                .as_ref()
                .is_some_and(|name| self.replaced.contains(name))
            {
                continue;
            }
            if let Some(base) = stage.base.take() {
                // A stage begins from one that stands before it.
                if let Some(earlier) = self.by_name(&base, number) {
                    for trigger in self.stages[earlier].triggers.clone() {
                        stage.follow(trigger);
                    }
                    visiting.push(earlier);
                } else {
                    self.need(base, stage.platform.clone());
                }
            }
            if stage.runs {
                self.runs.insert(self.platform(number));
            }
            for name in stage.uses {
                match self.stage(&name) {
                    Some(other) => visiting.push(other),
                    None => self.need(name, None),
                }
            }
        }
    }

    /// The platform of a stage: its own, or that of the stage that it begins from.
    fn platform(&self, mut number: usize) -> Option<String> {
        loop {
            let stage = &self.stages[number];
            if stage.platform.is_some() {
                return stage.platform.clone();
            }
            // It stands before this one: that has an end.
            number = self.by_name(stage.base.as_ref()?, number)?;
        }
    }

    fn need(&mut self, image: String, platform: Option<String>) {
        let need = Need { image, platform };
        // A number is that of a stage, which is not there.
        let is_known = self.replaced.contains(&need.image.to_lowercase())
            || need.image.parse::<usize>().is_ok();
        if !is_known && self.told.insert(need.clone()) {
            self.waiting.push(need);
        }
    }

    /// The stage that `COPY --from=<name>` means.
    fn stage(&self, name: &str) -> Option<usize> {
        self.by_number(name)
            .or_else(|| self.by_name(name, self.stages.len()))
    }

    fn by_number(&self, name: &str) -> Option<usize> {
        name.parse()
            .ok()
            .filter(|number| *number < self.stages.len())
    }

    /// The last one of that name before the stage `end`.
    fn by_name(&self, name: &str, end: usize) -> Option<usize> {
        let name = name.to_lowercase();
        self.stages[..end]
            .iter()
            .rposition(|stage| stage.name.as_ref() == Some(&name))
    }
}

impl Iterator for Needs {
    type Item = Need;

    fn next(&mut self) -> Option<Need> {
        self.waiting.pop()
    }
}

/// The arguments that each build has by itself (Docker's reference of the Dockerfile, "Automatic platform ARGs in the global scope").
fn platform_arguments(target: &Platform) -> HashMap<String, String> {
    let host = Platform::host();
    let mut arguments = HashMap::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", &host)] {
        let variant = platform.variant.clone().unwrap_or_default();
        for (suffix, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", variant),
        ] {
            arguments.insert(format!("{prefix}{suffix}"), value);
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn needs(dockerfile: &str, target: Option<&str>, replaced: &[&str]) -> Needs {
        let asked = Asked {
            dockerfile,
            arguments: &HashMap::from([("V".to_owned(), "12".to_owned())]),
            target,
            platform: &"linux/s390x".parse().unwrap(),
        };
        Needs::of(asked, replaced.iter().map(|name| (*name).to_owned()))
    }

    fn named(needs: Needs) -> Vec<String> {
        let mut all: Vec<_> = needs.map(|need| need.image).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn only_what_the_target_is_made_of_is_needed() {
        let text = "ARG V\nFROM first:$V AS One\nONBUILD COPY --from=triggers a b\nFROM second AS two\nRUN --mount=from=tools true\n\
                    FROM one AS three\nCOPY --from=TWO a b\nFROM fourth AS four\nCOPY --from=0 a b\nCOPY --from=7 a b\n\
                    FROM five AS five\nCOPY --from=six a b\nFROM sixth AS six\nCOPY --from=five a b\nFROM scratch";
        for (target, replaced, expected) in [
            (None, &[][..], &[][..]),
            (Some("one"), &[], &["first:12"]),
            (Some("TWO"), &[], &["second", "tools"]),
            (
                Some("three"),
                &[],
                &["first:12", "second", "tools", "triggers"],
            ),
            (Some("2"), &[], &["first:12", "second", "tools", "triggers"]),
            (Some("four"), &[], &["first:12", "fourth"]),
            // Each of the other: the builder says what is wrong.
            (Some("five"), &[], &["five", "sixth"]),
            (Some("missing"), &[], &[]),
            (Some("three"), &["two", "triggers"], &["first:12"]),
            (Some("two"), &["second"], &["tools"]),
        ] {
            assert_eq!(
                named(needs(text, target, replaced)),
                expected,
                "{target:?} {replaced:?}"
            );
        }
    }

    #[test]
    fn a_name_may_be_that_of_a_stage_and_of_an_image() {
        let text = "FROM busybox AS busybox\nFROM busybox AS debian\nFROM debian";
        assert_eq!(named(needs(text, None, &[])), ["busybox"]);
    }

    #[test]
    fn an_image_may_need_others() {
        let mut needs = needs("FROM a AS tools\nFROM b", None, &[]);
        assert_eq!(needs.next().unwrap().image, "b");
        let triggers = ["RUN true", "COPY --from=tools x y", "ADD --from=c x y"];
        assert_eq!(needs.runs().count(), 0);
        needs.triggered(None, &triggers.map(str::to_owned));
        assert_eq!(needs.runs().collect::<Vec<_>>(), [None]);
        assert_eq!(named(needs), ["a", "c"]);
    }

    #[test]
    fn a_stage_may_be_for_another_platform() {
        let text = "FROM --platform=$BUILDPLATFORM a\nFROM b-$TARGETARCH\nCOPY --from=0 x y";
        let mut found: Vec<_> = needs(text, None, &[])
            .map(|need| (need.image, need.platform))
            .collect();
        found.sort_unstable();
        let host = Platform::host().to_string();
        assert_eq!(
            found,
            [("a".to_owned(), Some(host)), ("b-s390x".to_owned(), None)]
        );
    }

    #[test]
    fn programs_are_run_where_there_is_a_step() {
        let text = "FROM --platform=x/y a AS a\nFROM a AS b\nRUN true\nFROM c AS c\nCOPY --from=b d e\nFROM c AS d\nRUN true\nFROM c AS e\nRUN <<E\nE";
        for (target, expected) in [
            ("a", &[][..]),
            ("b", &[Some("x/y")]),
            ("c", &[Some("x/y")]),
            ("d", &[None, Some("x/y")]),
        ] {
            let needs = needs(text, Some(target), &[]);
            let mut runs: Vec<_> = needs.runs().collect();
            runs.sort_unstable();
            assert_eq!(runs, expected, "{target}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "(?s).{0,200}", lines in "((FROM|RUN|COPY|ARG|ONBUILD|#)[ -~]{0,30}\n){0,8}") {
            needs(&text, None, &[]).count();
            needs(&lines, None, &[]).count();
        }
    }
}
