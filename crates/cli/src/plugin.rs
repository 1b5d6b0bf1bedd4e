//! Commands that are programs of their own (as Apple's container has it): `<name>/bin/<name>` in a plugin directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use container_files::Links;
use serde::Deserialize;

use crate::cli::first_word;
use crate::failure::Failure;
use crate::words;

/// Where plugins are looked for in the installed prefix; an earlier one hides a later one of the same name.
const DIRECTORIES: [&str; 2] = ["libexec/container-plugins", "libexec/container/plugins"];
/// Bytes of a manifest at most.
const MANIFEST_LIMIT: u64 = 1 << 20;
/// From here on two words are alike (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// A plugin's `config.toml`, as far as the command line looks at it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Manifest {
    /// One line for the overview.
    r#abstract: String,
    /// A plugin with services is started by the apiserver, not by people.
    #[serde(rename = "servicesConfig")]
    services: Option<toml::Table>,
}

/// Runs the plugin that the first word of `line` names with the rest, in place of this process.
pub fn execute(install: &Path, line: &[OsString], known: &[String]) -> Result<u8, Failure> {
    let word = first_word(line);
    let Some(program) = find(install, word) else {
        let word = word.to_string_lossy();
        let answer = words::of_command(&[], &word);
        return Err(Failure::Usage(
            answer.unwrap_or_else(|| missing(install, &word, known)),
        ));
    };
    let error = Command::new(&program).args(&line[1..]).exec();
    let context = format!("cannot run plugin {}", program.display());
    Err(Failure::Local(anyhow::Error::new(error).context(context)))
}

/// Names and abstracts of the plugins that people can call.
pub fn list(install: &Path) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for directory in DIRECTORIES {
        // A directory that is not there holds no plugins.
        let Ok(entries) = std::fs::read_dir(install.join(directory)) else {
            continue;
        };
        for name in entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
        {
            if let Some(manifest) = command_manifest(&install.join(directory), &name) {
                let command = name.strip_prefix("container-").unwrap_or(&name).to_owned();
                if !found.iter().any(|(known, _)| *known == command) {
                    found.push((command, manifest.r#abstract));
                }
            }
        }
    }
    found.sort();
    found
}

fn find(install: &Path, word: &OsStr) -> Option<PathBuf> {
    let word = word.to_str()?;
    let plain = word
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if !plain || word.starts_with('.') {
        return None;
    }
    let names = [format!("container-{word}"), word.to_owned()];
    DIRECTORIES
        .iter()
        .flat_map(|directory| {
            names
                .iter()
                .map(move |name| (install.join(directory), name))
        })
        .find(|(directory, name)| command_manifest(directory, name).is_some())
        .map(|(directory, name)| program(&directory, name))
}

fn program(directory: &Path, name: &str) -> PathBuf {
    directory.join(name).join("bin").join(name)
}

/// The manifest of a plugin that is a command. One without a manifest is a command where users put plugins, and
/// a helper of the system where the system has its own.
fn command_manifest(directory: &Path, name: &str) -> Option<Manifest> {
    if !program(directory, name).is_file() {
        return None;
    }
    let manifest = match container_files::read_text(
        &directory.join(name).join("config.toml"),
        MANIFEST_LIMIT,
        Links::Follow,
    ) {
        Ok(text) => toml::from_str(&text).ok()?,
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && directory.ends_with(DIRECTORIES[0]) =>
        {
            Manifest::default()
        }
        Err(_) => return None,
    };
    manifest.services.is_none().then_some(manifest)
}

fn missing(install: &Path, word: &str, known: &[String]) -> String {
    let places = DIRECTORIES.map(|directory| format!("  - {}", install.join(directory).display()));
    let alike = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| format!("\n\nDid you mean '{candidate}'?"))
        .unwrap_or_default();
    format!(
        "Plugin 'container-{word}' not found.\n\
         If the container system service is not running, start it with: container system start\n\
         If it is running, verify that the plugin is installed under:\n{}{alike}",
        places.join("\n"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, directory: &str, name: &str, manifest: Option<&str>) {
        let plugin = root.join(directory).join(name);
        std::fs::create_dir_all(plugin.join("bin")).unwrap();
        std::fs::write(plugin.join("bin").join(name), "").unwrap();
        if let Some(manifest) = manifest {
            std::fs::write(plugin.join("config.toml"), manifest).unwrap();
        }
    }

    #[test]
    fn commands_are_found_and_services_are_not() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        install(root, DIRECTORIES[0], "hello", None);
        install(
            root,
            DIRECTORIES[1],
            "container-k8s",
            Some("abstract = \"clusters\"\n"),
        );
        install(
            root,
            DIRECTORIES[1],
            "container-core",
            Some("[servicesConfig]\nloadAtBoot = true\n"),
        );
        install(root, DIRECTORIES[1], "container-bare", None);
        let found = |word: &str| find(root, OsStr::new(word));
        assert_eq!(
            found("hello").unwrap(),
            root.join("libexec/container-plugins/hello/bin/hello")
        );
        assert!(
            found("k8s")
                .unwrap()
                .ends_with("container-k8s/bin/container-k8s")
        );
        for word in [
            "core",
            "container-core",
            "bare",
            "absent",
            "",
            "..",
            "../hello",
            "hello/bin",
        ] {
            assert_eq!(found(word), None, "{word}");
        }
        let names: Vec<String> = list(root).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["hello", "k8s"]);
    }

    #[test]
    fn a_missing_plugin_is_told_with_the_places_and_a_guess() {
        let known = ["list".to_owned(), "logs".to_owned()];
        let text = missing(Path::new("/opt"), "lits", &known);
        for part in [
            "Plugin 'container-lits' not found.",
            "container system start",
            "container-plugins",
        ] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.ends_with("Did you mean 'list'?"));
        assert!(!missing(Path::new("/opt"), "zzz", &known).contains("Did you mean"));
    }
}
