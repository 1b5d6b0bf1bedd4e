//! The keys of the configuration.

use super::kind::Kind;

/// A key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Section and name, as in `container.cpus`.
    pub name: &'static str,
    /// Whether this release looks at it. The others are Apple's, for parts that are not there yet; they are checked all
    /// the same, so that one file serves both.
    pub is_used: bool,
    pub(super) kind: Kind,
}

impl Key {
    /// The variable that sets it: `CONTAINER_CONFIG_IMAGE_MAX_LAYER_SIZE` for `image.maxLayerSize`.
    pub fn variable(&self) -> String {
        let mut variable = VARIABLE_PREFIX.to_owned();
        for letter in self.name.chars() {
            match letter {
                '.' => variable.push('_'),
                letter if letter.is_ascii_uppercase() => variable.extend(['_', letter]),
                letter => variable.push(letter.to_ascii_uppercase()),
            }
        }
        variable
    }
}

/// What the names of variables that set keys begin with.
pub(super) const VARIABLE_PREFIX: &str = "CONTAINER_CONFIG_";

const fn used(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        is_used: true,
        kind,
    }
}

const fn later(name: &'static str, kind: Kind) -> Key {
    Key {
        name,
        is_used: false,
        kind,
    }
}

/// Every key, sorted by its name.
pub static KEYS: [Key; 31] = [
    used("build.cpus", Kind::CPUS),
    used("build.idle", Kind::Count(0, u32::MAX)),
    used("build.image", Kind::Image),
    used("build.memory", Kind::Memory),
    later("build.rosetta", Kind::Switch),
    used("container.cpus", Kind::CPUS),
    used("container.memory", Kind::Memory),
    used("container.standby", Kind::Switch),
    used("container.template", Kind::Switch),
    used("dns.domain", Kind::Domain),
    used("image.maxExpansion", Kind::Count(1, u32::MAX)),
    used("image.maxLayerSize", Kind::Size { least: 1 }),
    used("image.maxStoreSize", Kind::Size { least: 1 }),
    used("image.maxUnpackedSize", Kind::Size { least: 1 }),
    used("kernel.binaryPath", Kind::Text),
    used("kernel.digest", Kind::Digest),
    used("kernel.url", Kind::Text),
    used("machine.cpus", Kind::CPUS),
    used("machine.homeMount", Kind::OneOf(&["rw", "ro", "none"])),
    used("machine.kernelPath", Kind::File),
    used("machine.memory", Kind::Memory),
    used("machine.virtualization", Kind::Switch),
    used("metrics.enabled", Kind::Switch),
    used("network.subnet", Kind::Subnet4),
    used("network.subnetv6", Kind::Subnet6),
    used("registry.domain", Kind::Registry),
    used("registry.insecure", Kind::InsecureRegistries),
    used("storage.reserve", Kind::Size { least: 0 }),
    used("system.autoStart", Kind::Switch),
    used("vminit.image", Kind::Image),
    used("vmm.confinement", Kind::OneOf(&["required", "optional"])),
];

/// The key with this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    let index = KEYS.binary_search_by_key(&name, |key| key.name).ok()?;
    Some(&KEYS[index])
}

/// From here on two names are alike (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.85;

/// The key that `name` was perhaps meant to be: one that is spelled nearly so, or has its last part in another section.
pub(super) fn closest(name: &str) -> Option<&'static Key> {
    let name = name.to_lowercase();
    let last = |name: &str| name.rsplit('.').next().map(str::to_lowercase);
    let likeness = |key: &Key| strsim::jaro_winkler(&name, &key.name.to_lowercase());
    let alike = KEYS
        .iter()
        .map(|key| (likeness(key), key))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= ALIKE);
    let moved = || {
        let same = KEYS.iter().filter(|key| last(key.name) == last(&name));
        // Containers are what most people configure.
        same.max_by_key(|key| (key.is_used, key.name.starts_with("container.")))
    };
    alike.map(|(_, key)| key).or_else(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_their_variables_differ() {
        assert!(KEYS.is_sorted_by_key(|key| key.name));
        let mut variables: Vec<String> = KEYS.iter().map(Key::variable).collect();
        assert!(variables.contains(&"CONTAINER_CONFIG_IMAGE_MAX_LAYER_SIZE".to_owned()));
        variables.sort();
        variables.dedup();
        assert_eq!(variables.len(), KEYS.len());
    }

    #[test]
    fn the_closest_key() {
        for (typed, meant) in [
            ("container.cpu", Some("container.cpus")),
            ("contaner.memory", Some("container.memory")),
            ("containers.memory", Some("container.memory")),
            ("image.maxlayersize", Some("image.maxLayerSize")),
            ("registry.insecureRegistries", Some("registry.insecure")),
            ("defaults.confinement", Some("vmm.confinement")),
            ("zzz.qqq", None),
        ] {
            assert_eq!(closest(typed).map(|key| key.name), meant, "{typed}");
        }
    }
}
