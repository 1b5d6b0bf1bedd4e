//! The keys of a mount.

/// Keys with a value.
const KEYS: [&str; 30] = [
    "type",
    "source",
    "src",
    "target",
    "destination",
    "dst",
    "readonly",
    "ro",
    "rw",
    "tmpfs-size",
    "size",
    "tmpfs-mode",
    "mode",
    "uid",
    "gid",
    "nr_inodes",
    "nr_blocks",
    "idmap",
    "bind-propagation",
    "bind-recursive",
    "bind-nonrecursive",
    "bind-create-src",
    "relabel",
    "volume-nocopy",
    "volume-subpath",
    "subpath",
    "volume-opt",
    "volume-label",
    "volume-driver",
    "consistency",
];
/// Keys without one (`mount(8)`).
pub(super) const FLAGS: [&str; 9] = [
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "noatime",
    "nodiratime",
    "relatime",
];
/// From here on two keys are alike (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// What is said of the key that `key` was perhaps meant to be.
pub(super) fn meant(key: &str) -> String {
    let key = key.to_ascii_lowercase();
    let likeness = |known: &&str| strsim::jaro_winkler(&key, known);
    let alike = KEYS
        .iter()
        .chain(&FLAGS)
        .map(|known| (likeness(known), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .filter(|(likeness, _)| *likeness >= ALIKE);
    alike.map_or_else(String::new, |(_, known)| format!(": did you mean {known}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_key() {
        for (typed, known) in [
            ("taget", "target"),
            ("Traget", "target"),
            ("sorce", "source"),
            ("read-only", "readonly"),
            ("volume-sub-path", "volume-subpath"),
            ("tmpfs_size", "tmpfs-size"),
            ("volume-no-copy", "volume-nocopy"),
            ("no-exec", "noexec"),
        ] {
            assert_eq!(meant(typed), format!(": did you mean {known}?"), "{typed}");
        }
        for typed in ["", "foo", "x-y"] {
            assert_eq!(meant(typed), "", "{typed}");
        }
    }
}
