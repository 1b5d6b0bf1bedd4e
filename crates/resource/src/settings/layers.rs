//! The layers of the configuration, one over the other.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Value;

use super::key::Key;
use super::problem::{Problem, SettingsError};
use super::source::{Origin, Source};
use super::{Settings, snapshot_path, system_path};

/// A value that was set, and not the default.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Who.
    pub origin: Origin,
}

/// What has been set, by key.
#[derive(Debug, Default)]
pub struct Configuration {
    set: BTreeMap<&'static str, Setting>,
    unknown: Vec<Problem>,
    unused: Vec<&'static Key>,
}

impl Configuration {
    /// What holds for the system in `app_root`: this process's environment, over the copy of the user's file, over the
    /// system's file of `install_root`. Missing files are fine.
    ///
    /// # Errors
    /// All bad values, or what cannot be read or is no TOML.
    pub fn load(app_root: &Path, install_root: &Path) -> Result<Self, SettingsError> {
        Self::of(&[&system_path(install_root), &snapshot_path(app_root)])
    }

    /// What `files` say, the later over the earlier ones, and this process's environment over them.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn of(files: &[&Path]) -> Result<Self, SettingsError> {
        // What is no Unicode is no value.
        let variables = std::env::vars_os()
            .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)));
        let files = files.iter().map(|path| Source::file(path));
        Self::over(files.chain([Source::environment(variables)]))
    }

    fn over(sources: impl Iterator<Item = Source>) -> Result<Self, SettingsError> {
        let mut configuration = Self::default();
        let (mut problems, mut is_wrong) = (Vec::new(), false);
        for source in sources {
            is_wrong |= !source.problems.is_empty();
            // After a mistake unknown keys are reported, too: one of them may be the cause.
            let told = problems.len();
            problems.extend(source.problems);
            problems.extend(source.unknown.iter().cloned());
            problems[told..].sort_by_key(Problem::line);
            configuration.unknown.extend(source.unknown);
            for (key, value, origin) in source.values {
                if !key.is_used && !configuration.set.contains_key(key.name) {
                    configuration.unused.push(key);
                }
                configuration
                    .set
                    .insert(key.name, Setting { value, origin });
            }
        }
        if is_wrong {
            Err(SettingsError(problems))
        } else {
            Ok(configuration)
        }
    }

    /// Who has set the key, and to what.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.set.get(name)
    }

    /// Unknown keys. They may be for another release, so they are no error.
    pub fn unknown(&self) -> &[Problem] {
        &self.unknown
    }

    /// Keys that are set, and that this release does not look at.
    pub fn unused(&self) -> &[&'static Key] {
        &self.unused
    }

    /// The typed settings.
    pub fn settings(&self) -> Settings {
        let mut table = toml::Table::new();
        for (name, setting) in &self.set {
            let Some((section, name)) = name.split_once('.') else {
                continue;
            };
            let section = table
                .entry(section)
                .or_insert_with(|| Value::Table(toml::Table::new()));
            if let Value::Table(section) = section {
                section.insert(name.to_owned(), setting.value.clone());
            }
        }
        // Each value was checked to be of its key's kind: a test goes through all keys.
        table.try_into().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::KEYS;
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source::text(Path::new(path), text)
    }

    fn environment(variables: &[(&str, &str)]) -> Source {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Source::environment(variables.iter().map(owned))
    }

    fn of(sources: impl IntoIterator<Item = Source>) -> Configuration {
        Configuration::over(sources.into_iter()).unwrap()
    }

    fn refused(text: &str) -> String {
        let refused = Configuration::over([source("/c.toml", text)].into_iter());
        refused.unwrap_err().to_string()
    }

    #[test]
    fn the_strongest_layer_that_has_a_key_wins() {
        let installed = "[image]\nmaxLayerSize = \"2gb\"\nmaxExpansion = 7\n\n[container]\ncpus = 8\nmemory = \"2gb\"\n";
        let user = "[container]\ncpus = 2\ntemplate = false\n[plugin.x]\ny = 1\n[image]\nmaxLayerSize = \"1gb\"\n";
        let variables = [
            ("CONTAINER_CONFIG_CONTAINER_MEMORY", "3gb"),
            (
                "CONTAINER_CONFIG_REGISTRY_INSECURE",
                "a.example, 10.0.0.0/8",
            ),
            ("CONTAINER_CONFIG_CONTAINER_STANDBY", "false"),
            ("CONTAINER_CONFIG_IMAGE_MAX_EXPANSION", ""),
            ("HOME", "/root"),
        ];
        let all = of([
            source("/etc/c.toml", installed),
            source("/home/c.toml", user),
            environment(&variables),
        ]);
        let settings = all.settings();
        assert_eq!(settings.container.cpus, Some(2));
        assert_eq!(settings.container.memory.as_deref(), Some("3gb"));
        assert_eq!(settings.container.template, Some(false));
        assert!(!settings.container.standby());
        assert_eq!(settings.image.layer_size(), 1 << 30);
        assert_eq!(settings.image.expansion(), 7);
        assert_eq!(settings.image.unpacked_size(), 64 << 30);
        let insecure = settings.registry.insecure.unwrap();
        assert_eq!(insecure, ["a.example", "10.0.0.0/8"]);
        let origin = |name| all.get(name).unwrap().origin.to_string();
        assert_eq!(origin("container.cpus"), "/home/c.toml:2");
        assert_eq!(origin("image.maxLayerSize"), "/home/c.toml:7");
        assert_eq!(origin("image.maxExpansion"), "/etc/c.toml:3");
        assert_eq!(
            origin("container.memory"),
            "CONTAINER_CONFIG_CONTAINER_MEMORY"
        );
        assert!(all.get("storage.reserve").is_none() && all.unknown().is_empty());
        assert_eq!(of([]).settings(), Settings::default());
    }

    #[test]
    fn wrong_values_are_told_with_their_line_and_what_is_expected() {
        for (text, expected) in [
            ("[container", "line 1: unclosed table, expected `]`"),
            (
                "[container]\ncpus = \"2\"",
                "line 2: container.cpus is \"2\": a whole number from 1 to 1024 is expected",
            ),
            (
                "[container]\n\ncpus = 0",
                "line 3: container.cpus is 0: a whole",
            ),
            (
                "container = 3",
                "line 1: container is 3: it is a section, [container]",
            ),
            (
                "[container]\nmemory = \"1m\"",
                "container.memory is \"1m\": minimum memory",
            ),
            ("[container.cpus]\nx = 1", "line 1: container.cpus is "),
            (
                "[image]\nmaxLayerSize = \"much\"",
                "image.maxLayerSize is \"much\": ",
            ),
            (
                "[image]\nmaxUnpackedSize = \"0\"",
                "at least 1 byte is expected",
            ),
            ("[image]\nmaxStoreSize = 7", "text in quotes is expected"),
            (
                "[image]\nmaxExpansion = 0",
                "a whole number from 1 to 4294967295",
            ),
            (
                "[registry]\ndomain = \"registry\"",
                "a host name with a dot",
            ),
            (
                "[registry]\ndomain = \"https://registry.example\"",
                "without a scheme",
            ),
            (
                "[vminit]\nimage = \"not an image\"",
                "vminit.image is \"not an image\": ",
            ),
            (
                "[storage]\nreserve = \"much\"",
                "storage.reserve is \"much\": ",
            ),
            (
                "[vmm]\nconfinement = \"no\"",
                "\"required\" or \"optional\" is expected",
            ),
            ("[network]\nsubnet = \"10.0.0.0/33\"", "a network such as"),
            (
                "[network]\nsubnet = \"127.0.0.0/24\"",
                "no addresses that hosts can have",
            ),
            (
                "[network]\nsubnet = \"10.57.0.5/24\"",
                "10.57.0.0/24 is meant",
            ),
            (
                "[network]\nsubnetv6 = \"10.0.0.0/8\"",
                "this is an IPv4 network",
            ),
            (
                "[registry]\ninsecure = [\"http://registry.example\"]",
                "\"http://registry.example\" is no host name",
            ),
            (
                "[registry]\ninsecure = [\"10.0.0.0/33\"]",
                "is no host name",
            ),
            (
                "[registry]\ninsecure = \"a.example\"",
                "a list of registries in brackets",
            ),
            ("[kernel]\ndigest = \"sha256:12\"", "64 lower-case"),
            (
                "[machine]\nkernelPath = \"vmlinux\"",
                "an absolute path is expected",
            ),
            ("[build]\nrosetta = 1", "true or false is expected"),
            ("[dns]\ndomain = \"a b\"", "a domain name is expected"),
        ] {
            let told = refused(text);
            let prefix = "configuration file /c.toml, line ";
            assert!(
                told.starts_with(prefix) && told.contains(expected),
                "{told}"
            );
        }
        let told = refused("[container]\ncpus = 0\nmemory = 1\n");
        assert_eq!(told.lines().count(), 2, "{told}");
    }

    #[test]
    fn unknown_keys_are_told_with_the_closest_one_and_harm_nobody() {
        let text = "[container]\ncpu = 2\n[defaults]\nmemory = \"1gb\"\n[qqq]\nzzz = 1\n[empty]\n";
        let all = of([
            source("/c.toml", text),
            environment(&[("CONTAINER_CONFIG_CONTAINER_MEM", "1gb")]),
        ]);
        let told: Vec<String> = all.unknown().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "configuration file /c.toml, line 2: there is no key container.cpu: did you mean container.cpus?",
                "configuration file /c.toml, line 4: there is no key defaults.memory: did you mean container.memory?",
                "configuration file /c.toml, line 6: there is no key qqq.zzz",
                "configuration file /c.toml, line 7: there is no key empty",
                "variable CONTAINER_CONFIG_CONTAINER_MEM: it sets no key: did you mean CONTAINER_CONFIG_CONTAINER_MEMORY?",
            ]
        );
        assert_eq!(all.settings(), Settings::default());
    }

    /// A value of each key's kind is one for its typed setting.
    #[test]
    fn every_key_that_is_used_has_its_place_in_the_settings() {
        for key in KEYS.iter().filter(|key| key.is_used) {
            let texts = [
                "false",
                "7",
                "1gb",
                "optional",
                "10.0.0.0/24",
                "fd00::/64",
                "a.example",
                "ro",
                "/path",
                "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ];
            let value = texts
                .iter()
                .map(|text| key.kind.read(text))
                .find(|value| key.kind.refusal(value).is_none())
                .unwrap();
            let (section, name) = key.name.split_once('.').unwrap();
            let text = format!("[{section}]\n{name} = {value}\n");
            let settings = of([source("/c.toml", &text)]).settings();
            assert_ne!(settings, Settings::default(), "{text}");
        }
        let unused = of([source("/c.toml", "[build]\nrosetta = true\n")]);
        assert_eq!(unused.unused().len(), 1);
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let missing = scratch.path().join("none.toml");
        assert!(Configuration::of(&[&missing]).is_ok());
        let error = Configuration::of(&[scratch.path()])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&scratch.path().display().to_string()),
            "{error}"
        );
        assert_eq!(
            system_path(Path::new("/usr")),
            Path::new("/etc/container/config.toml")
        );
        assert_eq!(
            system_path(Path::new("/opt/c")),
            Path::new("/opt/c/etc/container/config.toml")
        );
    }
}
