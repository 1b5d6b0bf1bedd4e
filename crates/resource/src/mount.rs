//! What is mounted into a container, as Docker and Apple's tool write it: `--mount type=<type>,target=<path>,...` and
//! `-v <source>:<target>[:<options>]`.

mod fields;
mod keys;

use crate::bind::BindError;
use crate::container::Mount;
use crate::label::{self, LabelError};
use crate::mount_point::{self, MountPointError};
use crate::tmpfs::TmpfsError;
use crate::volume::{self, VolumeError};
use crate::{bind, size, switch, tmpfs};
use fields::fields;

/// Why a text describes no mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A key that no mount has, or none at all.
    #[error("unexpected key '{key}' in '{field}'{}", keys::meant(.key))]
    Key {
        /// The text before the `=`.
        key: String,
        /// The whole field.
        field: String,
    },
    /// A value that its key cannot have.
    #[error("invalid value for {key}: '{value}'")]
    Value {
        /// The key as it was given.
        key: String,
        /// The text behind the `=`.
        value: String,
    },
    /// No `type`, or one that is not known.
    #[error("invalid mount type '{0}': bind, virtiofs, volume or tmpfs is expected")]
    Type(String),
    /// What there is elsewhere.
    #[error(
        "type={0} is not available here: type=bind, type=virtiofs, type=volume and type=tmpfs are"
    )]
    NotYet(String),
    /// Docker's words for mounts below the source.
    #[error(
        "'{0}' is not available here: mounts below the source are there, too, and read-only with it"
    )]
    Recursive(String),
    /// Docker's word for making the source.
    #[error("'{0}' is not available here: the source of a bind mount must exist")]
    Create(String),
    /// A path of the host's with the separator in it.
    #[error(
        "'{0}' has too many colons: a path with one is written as --mount type=bind,source=<path>,target=<path>"
    )]
    Colon(String),
    /// A mount of the host's.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// An option of another type of mount.
    #[error("{0} is no option of this type of mount")]
    Foreign(String),
    /// Nothing to mount at.
    #[error("target is required")]
    NoTarget,
    /// Where it is to be.
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// A quotation mark that has no partner, or stands inside a field.
    #[error("invalid quotation marks in '{0}'")]
    Quotes(String),
    /// A volume's mount.
    #[error(transparent)]
    Volume(#[from] VolumeError),
    /// A label of the volume that is made.
    #[error("invalid volume-label")]
    Label(#[from] LabelError),
    /// Drivers of others.
    #[error("volume-driver={0} is not available here: volumes have the driver local")]
    Driver(String),
    /// A tmpfs's mount.
    #[error(transparent)]
    Tmpfs(#[from] TmpfsError),
    /// A tmpfs is made of nothing.
    #[error("a tmpfs has no source")]
    Source,
}

/// A mount: fields `key=value`, joined by commas. A flag may stand without a value.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Mount, MountError> {
    let fields = fields(text)?;
    let (mut kind, mut target, mut source) = (None, None, None);
    let mut options = Vec::new();
    let (mut of_tmpfs, mut of_volume, mut of_bind, mut of_shared) = (None, None, None, None);
    for field in fields.iter().map(String::as_str) {
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
            // podman's.
            "rw" => match value.map_or(Ok(true), switch::parse) {
                Ok(true) => options.push("rw".to_owned()),
                Ok(false) => options.push("ro".to_owned()),
                Err(_) => return Err(invalid()),
            },
            "tmpfs-size" | "size" => {
                let size = given()?;
                // Or a part of the memory.
                if size::parse(size).is_err() && !size.ends_with('%') {
                    return Err(invalid());
                }
                options.push(format!("size={size}"));
                of_tmpfs = Some(key);
            }
            name @ ("uid" | "gid" | "nr_inodes" | "nr_blocks") => {
                options.push(format!("{name}={}", given()?));
                of_tmpfs = Some(key);
            }
            // podman's.
            flag @ ("tmpcopyup" | "notmpcopyup") if value.is_none() => {
                options.push(flag.to_owned());
                of_tmpfs = Some(key);
            }
            "tmpfs-mode" | "mode" => {
                let mode = given()?;
                if !matches!(u32::from_str_radix(mode, 8), Ok(0..=0o7777)) {
                    return Err(invalid());
                }
                options.push(format!("mode={mode}"));
                of_tmpfs = Some(key);
            }
            "idmap" => {
                // Without a map: the container's ids, which are the machine's own.
                options.push(
                    value.map_or_else(|| key.to_owned(), |map| format!("{}{map}", bind::IDMAP)),
                );
                of_bind = Some(key);
            }
            "bind-propagation" => {
                options.push(given()?.to_owned());
                of_shared = Some(key);
            }
            // Mounts below are there, and read-only with it.
            "bind-recursive" if matches!(value, Some("enabled" | "readonly")) => {}
            "bind-nonrecursive" if matches!(value.map(switch::parse), Some(Ok(false))) => {}
            "bind-recursive" if matches!(value, Some("disabled" | "writable")) => {
                return Err(MountError::Recursive(field.to_owned()));
            }
            "bind-nonrecursive" if matches!(value.map_or(Ok(true), switch::parse), Ok(true)) => {
                return Err(MountError::Recursive(field.to_owned()));
            }
            "bind-create-src" => {
                let wanted = value.map_or(Ok(true), switch::parse);
                if wanted.map_err(|_| invalid())? {
                    return Err(MountError::Create(field.to_owned()));
                }
            }
            // podman's, for labels of the host.
            "relabel" if matches!(value, Some("shared" | "private")) => {}
            "bind-recursive" | "bind-nonrecursive" | "relabel" => return Err(invalid()),
            "volume-nocopy" => {
                let wanted = value.map_or(Ok(true), switch::parse);
                if wanted.map_err(|_| invalid())? {
                    options.push(volume::NO_COPY.to_owned());
                    of_volume = Some(key);
                }
            }
            "volume-subpath" | "subpath" => {
                options.push(format!("{}{}", volume::SUBPATH, given()?));
                of_volume = Some(key);
            }
            "volume-opt" => {
                let (name, value) = given()?.split_once('=').ok_or_else(invalid)?;
                options.push(format!("{}{name}={value}", volume::OPTION));
                of_volume = Some(key);
            }
            "volume-label" => {
                let (name, value) = label::parse(given()?)?;
                options.push(format!("{}{name}={value}", volume::LABEL));
                of_volume = Some(key);
            }
            "volume-driver" => {
                let driver = given()?;
                if driver != volume::DRIVER {
                    return Err(MountError::Driver(driver.to_owned()));
                }
                of_volume = Some(key);
            }
            // Caches are as they are.
            "consistency" => {}
            // podman's: the volume becomes the container's user's.
            "u" | "chown" => {
                let wanted = value.map_or(Ok(true), switch::parse);
                if wanted.map_err(|_| invalid())? {
                    options.push("U".to_owned());
                }
            }
            // Each type of mount knows those that it has.
            flag if value.is_none() && keys::FLAGS.contains(&flag) => options.push(flag.to_owned()),
            _ => {
                return Err(MountError::Key {
                    key: key.to_owned(),
                    field: field.to_owned(),
                });
            }
        }
    }
    match kind.as_deref() {
        Some("tmpfs") => {
            if let Some(key) = of_volume.or(of_bind).or(of_shared) {
                return Err(MountError::Foreign(key.to_owned()));
            }
        }
        Some("bind" | "virtiofs") => {
            if let Some(key) = of_tmpfs.or(of_volume) {
                return Err(MountError::Foreign(key.to_owned()));
            }
            let target = target.ok_or(MountError::NoTarget)?;
            let options = options.iter().map(String::as_str);
            return Ok(bind::mount(source.unwrap_or_default(), target, options)?);
        }
        // Docker's default.
        Some("volume") | None => {
            if let Some(key) = of_tmpfs.or(of_bind) {
                return Err(MountError::Foreign(key.to_owned()));
            }
            let target = target.ok_or(MountError::NoTarget)?;
            let name = source.unwrap_or_default();
            if name.starts_with(['/', '.']) {
                return Err(VolumeError::Name(name.to_owned()).into());
            }
            return Ok(volume::mount(name, target, options)?);
        }
        Some(kind @ ("npipe" | "cluster" | "image")) => {
            return Err(MountError::NotYet(kind.to_owned()));
        }
        Some(other) => return Err(MountError::Type(other.to_owned())),
    }
    let target = target.ok_or(MountError::NoTarget)?;
    let target = mount_point::parse(target)?;
    if source.is_some() {
        return Err(MountError::Source);
    }
    Ok(tmpfs::mount(&target, options.iter().map(String::as_str))?)
}

/// The grammar of `-v`: `[<source>:]<target>[:<options>]`, options joined by commas. A source with a slash, or that begins with a dot, is a
/// path of the host; any other is a volume.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse_short(text: &str) -> Result<Mount, MountError> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [source, target] if bind::is_path(source) => (*source, *target, ""),
        // Options have no slash, but a target does.
        [source, _, third, ..]
            if bind::is_path(source) && (parts.len() > 3 || third.starts_with('/')) =>
        {
            return Err(MountError::Colon(text.to_owned()));
        }
        [source, target, options] if bind::is_path(source) => (*source, *target, *options),
        _ => return Ok(volume::parse(text)?),
    };
    let options = options.split(',').filter(|option| !option.is_empty());
    Ok(bind::mount(source, target, options)?)
}

#[cfg(test)]
mod tests;
