//! What is mounted into a container, as Docker and Apple's tool write it: `--mount type=<type>,target=<path>,...`.

use crate::container::Mount;
use crate::{size, switch, tmpfs};

/// Why a text describes no mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A key that no mount has, or none at all.
    #[error("unexpected key '{key}' in '{field}'")]
    Key {
        /// What stands before the `=`.
        key: String,
        /// The whole field.
        field: String,
    },
    /// A value that its key cannot have.
    #[error("invalid value for {key}: '{value}'")]
    Value {
        /// The key as it was given.
        key: String,
        /// What stands behind the `=`.
        value: String,
    },
    /// No `type`, or one that nobody knows.
    #[error("invalid mount type '{0}': tmpfs is expected")]
    Type(String),
    /// What is the host's, or a volume, in a container.
    #[error("type={0} is not available yet: only type=tmpfs is")]
    NotYet(String),
    /// Nothing to mount at.
    #[error("target is required")]
    NoTarget,
    /// The target is not an absolute path below the root.
    #[error("invalid target '{0}': an absolute path below / is expected")]
    Target(String),
    /// A tmpfs is made of nothing.
    #[error("a tmpfs has no source")]
    Source,
}

/// A mount: fields `key=value`, joined by commas. A flag may stand without a value.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Mount, MountError> {
    let (mut kind, mut target, mut source) = (None, None, None);
    let mut options = Vec::new();
    for field in text.split(',') {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        let invalid = || MountError::Value {
            key: key.to_owned(),
            value: value.unwrap_or_default().to_owned(),
        };
        let given = || value.filter(|value| !value.is_empty()).ok_or_else(invalid);
        match key.to_ascii_lowercase().as_str() {
            "type" => kind = Some(given()?.to_ascii_lowercase()),
            "source" | "src" => source = value.filter(|value| !value.is_empty()),
            "target" | "destination" | "dst" => target = Some(given()?),
            "readonly" | "ro" => match value {
                None => options.push("ro".to_owned()),
                Some(value) if switch::parse(value).map_err(|_| invalid())? => {
                    options.push("ro".to_owned());
                }
                Some(_) => {}
            },
            "tmpfs-size" | "size" => {
                let bytes = size::parse(given()?).map_err(|_| invalid())?;
                options.push(format!("size={bytes}"));
            }
            "tmpfs-mode" | "mode" => {
                let mode = given()?;
                if !matches!(u32::from_str_radix(mode, 8), Ok(0..=0o7777)) {
                    return Err(invalid());
                }
                options.push(format!("mode={mode}"));
            }
            // Keys of the types that are not available yet: the type is what is told.
            "volume-driver" | "volume-opt" | "volume-nocopy" | "volume-subpath"
            | "bind-propagation" | "bind-nonrecursive" | "bind-recursive" | "consistency" => {}
            _ => {
                return Err(MountError::Key {
                    key: key.to_owned(),
                    field: field.to_owned(),
                });
            }
        }
    }
    match kind.as_deref() {
        Some("tmpfs") => {}
        Some(kind @ ("bind" | "volume" | "virtiofs" | "npipe" | "cluster" | "image")) => {
            return Err(MountError::NotYet(kind.to_owned()));
        }
        // Docker's default.
        None => return Err(MountError::NotYet("volume".to_owned())),
        Some(other) => return Err(MountError::Type(other.to_owned())),
    }
    let target = target.ok_or(MountError::NoTarget)?;
    if !tmpfs::is_mount_point(target) {
        return Err(MountError::Target(target.to_owned()));
    }
    if source.is_some() {
        return Err(MountError::Source);
    }
    Ok(tmpfs::mount(target, options))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn docker_s_and_apple_s_keys_mean_the_same() {
        let expected = tmpfs::mount("/t", vec!["size=65536".into(), "mode=1777".into()]);
        for text in [
            "type=tmpfs,target=/t,tmpfs-size=64k,tmpfs-mode=1777",
            "type=tmpfs,destination=/t,size=64KiB,mode=1777",
            "TYPE=tmpfs,dst=/t,ro=false,source=,size=65536,mode=1777",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(parse("type=tmpfs,dst=/t,readonly").unwrap().options, ["ro"]);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("", "unexpected key '' in ''"),
            ("=", "unexpected key '' in '='"),
            ("==", "unexpected key '' in '=='"),
            ("type=tmpfs", "target is required"),
            (
                "type=tmpfs,target=/a,foo=b",
                "unexpected key 'foo' in 'foo=b'",
            ),
            ("type=tmpfs,target=", "invalid value for target: ''"),
            (
                "type=tmpfs,target=a",
                "invalid target 'a': an absolute path below / is expected",
            ),
            (
                "type=tmpfs,target=/a,tmpfs-size=1x",
                "invalid value for tmpfs-size: '1x'",
            ),
            (
                "type=tmpfs,target=/a,tmpfs-mode=9",
                "invalid value for tmpfs-mode: '9'",
            ),
            (
                "type=tmpfs,target=/a,ro=maybe",
                "invalid value for ro: 'maybe'",
            ),
            ("type=tmpfs,target=/a,src=/b", "a tmpfs has no source"),
            (
                "type=foo,target=/a",
                "invalid mount type 'foo': tmpfs is expected",
            ),
            (
                "type=bind,source=/tmp/a=b,target=/m",
                "type=bind is not available yet: only type=tmpfs is",
            ),
            (
                "source=v,target=/m",
                "type=volume is not available yet: only type=tmpfs is",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), words, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_passes_stays_in_the_container(text in "type=tmpfs,dst=\\PC{0,20}") {
            if let Ok(mount) = parse(&text) {
                prop_assert!(tmpfs::is_mount_point(&mount.destination));
            }
        }
    }
}
