//! Commands that are programs of their own (as Apple's container has it): `<name>/bin/<name>` in a plugin directory.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use container_api::plugin::{self, DIRECTORIES, Plugin};

use crate::cli::first_word;
use crate::failure::Failure;
use crate::words;

/// From here on two words are alike (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// Runs the plugin that the first word of `line` names with the rest, in place of this process.
pub fn execute(install: &Path, line: &[OsString], known: &[String]) -> Result<u8, Failure> {
    let word = first_word(line);
    let Some(program) = find(install, word)? else {
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
    for plugin in plugin::all(install) {
        if let Some(manifest) = plugin.command() {
            let name = &plugin.name;
            let command = name.strip_prefix("container-").unwrap_or(name).to_owned();
            if !found.iter().any(|(known, _)| *known == command) {
                found.push((command, manifest.r#abstract));
            }
        }
    }
    found.sort();
    found
}

/// The program of the command `word`, people's own first.
fn find(install: &Path, word: &OsStr) -> Result<Option<PathBuf>, Failure> {
    let Some(word) = word.to_str() else {
        return Ok(None);
    };
    let names = [format!("container-{word}"), word.to_owned()];
    let found = names.iter().filter_map(|name| plugin::find(install, name));
    let mut found: Vec<Plugin> = found.collect();
    found.sort_by_key(|plugin| !plugin.is_people_s);
    for plugin in found {
        // One that cannot be read is not another one, either.
        plugin
            .manifest()
            .with_context(|| format!("plugin '{}'", plugin.name))?;
        if plugin.command().is_some() {
            return Ok(Some(plugin.program()));
        }
    }
    Ok(None)
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
        let found = |word: &str| find(root, OsStr::new(word)).unwrap();
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
        // The user's own come before the system's, whatever their names are; one that cannot be read is reported.
        install(root, DIRECTORIES[0], "k8s", None);
        let own = root.join("libexec/container-plugins/k8s/bin/k8s");
        assert_eq!(found("k8s").unwrap(), own);
        install(root, DIRECTORIES[0], "broken", Some("abstract = 1\n"));
        let error = find(root, OsStr::new("broken")).unwrap_err();
        assert!(
            format!("{error:?}").contains("plugin 'broken'"),
            "{error:?}"
        );
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
