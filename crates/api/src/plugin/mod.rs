//! Plugins: programs that extend the system, in the layout of Apple's tool (docs/plugins.md).

mod find;
mod manifest;

use std::path::{Path, PathBuf};

use crate::roots::Roots;
use crate::{Error, Kind};

pub use find::{DIRECTORIES, Plugin, all, find};
pub use manifest::{Manifest, ServiceKind, ServicesConfig};

/// Plugins of ours that serve something: they have no manifest, as the system knows what they are.
const OURS: [(&str, ServiceKind); 3] = [
    ("container-core-images", ServiceKind::Core),
    ("container-network-bridge", ServiceKind::Network),
    ("container-runtime-linux", ServiceKind::Runtime),
];

/// A plugin that serves something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What is run.
    pub program: PathBuf,
    /// It is one of this release, and knows what only our plugins know.
    pub is_ours: bool,
}

/// The plugin `name`, which serves what `wanted` says.
///
/// # Errors
/// [`Kind::NotFound`] when there is none; [`Kind::InvalidArgument`] when it is something else, or its manifest cannot be read.
pub fn service(roots: &Roots, name: &str, wanted: ServiceKind) -> Result<Service, Error> {
    let Some(plugin) = find(&roots.install, name) else {
        let text = format!("there is no {wanted} plugin '{name}'");
        return Err(Error::new(Kind::NotFound, text).with_hint(places(&roots.install)));
    };
    let manifest = plugin
        .manifest()
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let services = manifest.and_then(|manifest| manifest.services);
    let kinds: Vec<ServiceKind> = if let Some(services) = &services {
        services.kinds().collect()
    } else {
        let ours = OURS.iter().filter(|(ours, _)| *ours == name);
        ours.map(|(_, kind)| *kind).collect()
    };
    if kinds.contains(&wanted) {
        return Ok(Service {
            program: plugin.program(),
            is_ours: services.is_none(),
        });
    }
    let told = kinds
        .first()
        .map_or_else(|| "a command".to_owned(), |kind| format!("a {kind} plugin"));
    let text = format!("plugin '{name}' is {told}, not a {wanted} plugin");
    Err(Error::new(Kind::InvalidArgument, text))
}

/// Where plugins are looked for, as a hint.
fn places(install: &Path) -> String {
    let [first, second] = DIRECTORIES.map(|directory| install.join(directory));
    format!(
        "Plugins are looked for in {} and {}, each in a directory of its own name.",
        first.display(),
        second.display()
    )
}

#[cfg(test)]
mod tests {
    use super::find::tests::install;
    use super::*;

    #[test]
    fn a_service_is_found_by_its_name_and_what_it_serves() {
        let scratch = tempfile::tempdir().unwrap();
        let prefix = scratch.path().join("prefix");
        let roots = Roots::new(scratch.path().join("app"), prefix.clone(), None).unwrap();
        let serves = |kind: &str| format!("[[servicesConfig.services]]\ntype = \"{kind}\"\n");
        install(&prefix, DIRECTORIES[0], "mine", Some(&serves("runtime")));
        install(&prefix, DIRECTORIES[0], "wrong", Some(&serves("vmm")));
        install(&prefix, DIRECTORIES[0], "hello", None);
        install(&prefix, DIRECTORIES[1], "container-runtime-linux", None);
        let asked = |name: &str, kind| service(&roots, name, kind);
        let mine = prefix.join("libexec/container-plugins/mine/bin/mine");
        let found = Service {
            program: mine,
            is_ours: false,
        };
        assert_eq!(asked("mine", ServiceKind::Runtime).unwrap(), found);
        let ours = asked("container-runtime-linux", ServiceKind::Runtime);
        assert!(ours.unwrap().is_ours);
        for (name, wanted, kind, text) in [
            (
                "none",
                ServiceKind::Network,
                Kind::NotFound,
                "there is no network plugin 'none'",
            ),
            (
                "../mine",
                ServiceKind::Runtime,
                Kind::NotFound,
                "there is no runtime plugin '../mine'",
            ),
            (
                "mine",
                ServiceKind::Network,
                Kind::InvalidArgument,
                "plugin 'mine' is a runtime plugin, not a network plugin",
            ),
            (
                "hello",
                ServiceKind::Runtime,
                Kind::InvalidArgument,
                "plugin 'hello' is a command, not a runtime plugin",
            ),
            (
                "wrong",
                ServiceKind::Runtime,
                Kind::InvalidArgument,
                "unknown variant `vmm`",
            ),
        ] {
            let error = asked(name, wanted).unwrap_err();
            assert_eq!(error.kind, kind, "{error:#}");
            assert!(error.message().contains(text), "{error:#}");
        }
        let hint = asked("none", ServiceKind::Runtime)
            .unwrap_err()
            .hint
            .unwrap();
        assert!(hint.contains("libexec/container-plugins and "), "{hint}");
    }
}
