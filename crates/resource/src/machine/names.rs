//! Names of machines and of their snapshots.

use super::{NAME_MAX, SNAPSHOT_NAME_MAX};
use crate::reference::{Reference, Version};

/// The default name of a machine: the image's last word and its tag.
pub fn default_name(reference: &Reference) -> String {
    let last = reference.path().rsplit('/').next().unwrap_or_default();
    let version = match reference.version() {
        Version::Tag(tag) => tag.clone(),
        Version::Digest(digest) => digest.hex().chars().take(12).collect(),
    };
    let name = format!("{last}-{version}");
    let name: String = name
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(NAME_MAX)
        .collect();
    name.trim_end_matches('-').to_owned()
}

/// Checks a machine's name: `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$` (as Apple's container has it), a part of a host name, which leaves room for
/// what its container's name has more.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(text: &str) -> Result<(), String> {
    if text.len() > NAME_MAX {
        return Err(format!(
            "machine name of {} bytes is too long: at most {NAME_MAX} are allowed",
            text.len()
        ));
    }
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| plain(*byte));
    let bytes = text.as_bytes();
    let inside = bytes.iter().all(|byte| plain(*byte) || *byte == b'-');
    if ends(bytes.first()) && ends(bytes.last()) && inside {
        Ok(())
    } else {
        Err(format!(
            "invalid machine name '{text}': it must start and end with a lower-case letter or a digit, and have nothing but those and '-' between"
        ))
    }
}

/// Checks the name of a snapshot: letters, digits, `_`, `.` and `-`, the first one a letter or digit, at most 63 bytes. It is a part of a
/// file's name.
///
/// # Errors
/// What is wrong with it.
pub fn check_snapshot_name(text: &str) -> Result<(), String> {
    let character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let first = text.bytes().next();
    let sound = first.is_some_and(|byte| byte.is_ascii_alphanumeric());
    if sound && text.len() <= SNAPSHOT_NAME_MAX && text.bytes().all(character) {
        Ok(())
    } else {
        Err(format!(
            "invalid snapshot name '{text}': 1 to {SNAPSHOT_NAME_MAX} letters, digits, '_', '.' and '-' are expected, the first one a letter or digit"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_image() {
        for (reference, expected) in [
            ("debian:12", "debian-12"),
            ("registry.example/team/my_image:v1.0", "my-image-v1-0"),
            ("busybox", "busybox-latest"),
            ("busybox:Next_1", "busybox-next-1"),
        ] {
            let reference = Reference::parse(reference, "docker.io").unwrap();
            let name = default_name(&reference);
            assert_eq!(name, expected);
            assert_eq!(check_name(&name), Ok(()));
        }
        let long = Reference::parse(&format!("{}:1", "a".repeat(80)), "docker.io").unwrap();
        assert_eq!(check_name(&default_name(&long)), Ok(()));
    }

    #[test]
    fn a_name_is_a_part_of_a_host_name() {
        for name in ["", "-a", "a_b", "a.b", "Dev", "a-", "../x", &"a".repeat(58)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        let said = check_name("x-").unwrap_err();
        assert!(said.contains("must start and end"), "{said}");
        for name in ["dev-box-1", "a", &"a".repeat(57)] {
            assert_eq!(check_name(name), Ok(()));
        }
    }

    #[test]
    fn a_snapshot_s_name_is_a_part_of_a_file_s() {
        for name in ["", ".x", "-x", "a/b", "../x", "bad name", &"a".repeat(64)] {
            assert!(check_snapshot_name(name).is_err(), "{name}");
        }
        for name in ["x", "before-12.5_b", &"a".repeat(63)] {
            assert_eq!(check_snapshot_name(name), Ok(()));
        }
    }
}
