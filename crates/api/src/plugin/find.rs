//! Where plugins are.

use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};

/// Where plugins are in the installed prefix, people's own first: an earlier one hides a later one of the same name.
pub const DIRECTORIES: [&str; 2] = ["libexec/container-plugins", "libexec/container/plugins"];

/// A plugin that is there: a directory with `bin/<its name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plugin {
    /// Its name.
    pub name: String,
    /// Whether it lies where people put theirs.
    pub is_people_s: bool,
    directory: PathBuf,
}

impl Plugin {
    /// What is run.
    pub fn program(&self) -> PathBuf {
        self.directory.join("bin").join(&self.name)
    }

    /// What it says of itself; none where it says nothing.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn manifest(&self) -> io::Result<Option<Manifest>> {
        manifest::read(&self.directory)
    }

    /// The manifest of a plugin that is a command. One without a manifest is a command where people put plugins, and a helper of the
    /// system where the system has its own; one whose manifest cannot be read is none.
    pub fn command(&self) -> Option<Manifest> {
        match self.manifest() {
            Ok(Some(manifest)) => Some(manifest),
            Ok(None) if self.is_people_s => Some(Manifest::default()),
            Ok(None) | Err(_) => None,
        }
        .filter(|manifest| manifest.services.is_none())
    }
}

/// The plugin `name` of the prefix `install`.
pub fn find(install: &Path, name: &str) -> Option<Plugin> {
    let mut found = DIRECTORIES
        .iter()
        .filter_map(|directory| at(install, directory, name));
    found.next()
}

/// All plugins of the prefix `install`, each name once, in order.
pub fn all(install: &Path) -> Vec<Plugin> {
    let mut found: Vec<Plugin> = Vec::new();
    for directory in DIRECTORIES {
        // A directory that is not there holds no plugins.
        let Ok(entries) = std::fs::read_dir(install.join(directory)) else {
            continue;
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        for name in names.filter_map(|name| name.into_string().ok()) {
            if found.iter().all(|known| known.name != name) {
                found.extend(at(install, directory, &name));
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn at(install: &Path, directory: &str, name: &str) -> Option<Plugin> {
    if !is_name(name) {
        return None;
    }
    let plugin = Plugin {
        name: name.to_owned(),
        is_people_s: directory == DIRECTORIES[0],
        directory: install.join(directory).join(name),
    };
    plugin.program().is_file().then_some(plugin)
}

/// Whether a plugin may be called so: it leads out of no directory.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn install(root: &Path, directory: &str, name: &str, manifest: Option<&str>) {
        let plugin = root.join(directory).join(name);
        std::fs::create_dir_all(plugin.join("bin")).unwrap();
        std::fs::write(plugin.join("bin").join(name), "").unwrap();
        if let Some(manifest) = manifest {
            std::fs::write(plugin.join("config.toml"), manifest).unwrap();
        }
    }

    #[test]
    fn people_s_plugins_hide_the_system_s() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        for directory in DIRECTORIES {
            install(root, directory, "both", None);
        }
        install(root, DIRECTORIES[1], "one", None);
        std::fs::create_dir_all(root.join(DIRECTORIES[0]).join("empty")).unwrap();
        assert!(find(root, "both").unwrap().is_people_s);
        assert!(!find(root, "one").unwrap().is_people_s);
        let names: Vec<String> = all(root).into_iter().map(|plugin| plugin.name).collect();
        assert_eq!(names, ["both", "one"]);
        for name in ["empty", "absent", "", "..", ".", "../one", "one/bin", "a b"] {
            assert_eq!(find(root, name), None, "{name}");
        }
    }
}
