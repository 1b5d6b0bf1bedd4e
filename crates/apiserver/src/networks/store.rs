//! Directories of networks: made whole, removed whole.

use std::io;

use container_api::roots::{Roots, create_private};
use container_resource::bundle;
use container_resource::network::NetworkConfiguration;
use container_resource::network_name;

use crate::dot_names;

/// What was asked for. A directory without it is remains of a creation.
const CONFIGURATION: &str = "network.json";

/// A network's directory.
#[derive(Debug)]
pub enum Found {
    /// With what was asked for.
    Network(Box<NetworkConfiguration>),
    /// It cannot be read: its name, and why.
    Damaged(String, String),
}

/// Looks through the networks' directory, making it when it is missing, and removes what is left of others.
pub fn scan(roots: &Roots) -> io::Result<Vec<Found>> {
    create_private(&roots.networks())?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(roots.networks())? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let path = entry.path().join(CONFIGURATION);
        if dot_names::is_removing(&name) || !path.exists() {
            std::fs::remove_dir_all(entry.path())?;
            continue;
        }
        if network_name::validate(&name).is_err() {
            continue;
        }
        found.push(match bundle::read_json::<NetworkConfiguration>(&path) {
            Ok(configuration) if configuration.name == name => {
                Found::Network(Box::new(configuration))
            }
            Ok(other) => Found::Damaged(name, format!("{CONFIGURATION} is that of {}", other.name)),
            Err(error) => Found::Damaged(name, format!("{CONFIGURATION}: {error}")),
        });
    }
    Ok(found)
}

/// Writes what was asked for, last of all that makes a network.
pub fn write(roots: &Roots, configuration: &NetworkConfiguration) -> io::Result<()> {
    let directory = roots.network(&configuration.name);
    create_private(&directory)?;
    bundle::write_json(&directory.join(CONFIGURATION), configuration)
}

/// Frees the name of a network, and removes its directory.
pub fn remove(roots: &Roots, name: &str) -> io::Result<()> {
    let trash = roots.networks().join(dot_names::removing());
    std::fs::rename(roots.network(name), &trash)?;
    std::fs::remove_dir_all(trash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_whole_damaged_or_remains() {
        let scratch = tempfile::tempdir().unwrap();
        let roots = Roots::new(scratch.path().into(), "/p".into(), None).unwrap();
        assert!(scan(&roots).unwrap().is_empty());
        let configuration: NetworkConfiguration = serde_json::from_value(serde_json::json!({
            "name": "whole", "creationDate": "2026-01-01T00:00:00Z", "plugin": "p"
        }))
        .unwrap();
        write(&roots, &configuration).unwrap();
        for name in [".removing-1", "cut-off", "damaged", "other"] {
            create_private(&roots.network(name)).unwrap();
        }
        std::fs::write(roots.network("damaged").join(CONFIGURATION), "{").unwrap();
        bundle::write_json(&roots.network("other").join(CONFIGURATION), &configuration).unwrap();
        let mut shown: Vec<String> = scan(&roots)
            .unwrap()
            .into_iter()
            .map(|found| match found {
                Found::Network(configuration) => configuration.name,
                Found::Damaged(name, _) => format!("{name} (damaged)"),
            })
            .collect();
        shown.sort();
        assert_eq!(shown, ["damaged (damaged)", "other (damaged)", "whole"]);
        assert!(!roots.network("cut-off").exists());
        remove(&roots, "whole").unwrap();
        assert_eq!(scan(&roots).unwrap().len(), 2);
    }
}
