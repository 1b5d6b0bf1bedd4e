//! Volumes: disks that outlive containers (as Apple's container has it).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::{CacheMode, Mount, MountKind, SyncMode};
use crate::journal::{self, Journal, JournalError};
use crate::label::well_known;
use crate::mount_point::{self, MountPointError};
use crate::size::{self, SizeError};

/// The longest name, in bytes: that of a file.
pub const MAX_NAME: usize = 255;
/// The least size, in bytes.
pub const MINIMUM_SIZE: u64 = 1 << 20;
/// The largest: what ext4 takes with blocks of 4 KiB and numbers of 48 bits, less than half of that.
pub const MAXIMUM_SIZE: u64 = 256 << 40;
/// Size unless asked otherwise: Apple's 512 GiB. Only what is written takes room.
pub const DEFAULT_SIZE: u64 = 512 << 30;
/// The longest path in a volume, in bytes: that of the kernel, without its end.
const MAX_SUBPATH: usize = 4095;
/// The only driver there is.
pub const DRIVER: &str = "local";
/// The only format there is.
pub const FORMAT: &str = "ext4";
/// A mount's option: an empty volume is not filled with what the image has in its place.
pub const NO_COPY: &str = "nocopy";
/// Begins a mount's option with what is mounted: a path in the volume.
pub const SUBPATH: &str = "volume-subpath=";
/// Begins a mount's option with an option of the volume, if that is yet to be made.
pub const OPTION: &str = "volume-opt=";
/// Begins a mount's option with a label of the volume, if that is yet to be made.
pub const LABEL: &str = "volume-label=";
/// Options of a mount that change what can be done through it (`mount(8)`).
const FLAGS: [&str; 13] = [
    "ro",
    "rw",
    "exec",
    "noexec",
    "suid",
    "nosuid",
    "dev",
    "nodev",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
];
/// Options that say how mounts below spread.
const PROPAGATION: [&str; 6] = [
    "private", "rprivate", "shared", "rshared", "slave", "rslave",
];
/// Options that are not the kernel's: labels of the host do not matter to a machine, and caches are as they are.
const OTHERS: [&str; 9] = [
    NO_COPY,
    "copy",
    "z",
    "Z",
    "cached",
    "consistent",
    "delegated",
    "bind",
    "rbind",
];

/// A volume as `list` and `inspect` show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeResource {
    /// Its name.
    pub id: String,
    /// What it is.
    pub configuration: VolumeConfiguration,
    /// Why it cannot be used as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// A volume, and what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeUsage {
    /// The volume.
    pub volume: VolumeResource,
    /// Bytes that it takes on the disk.
    pub allocated_in_bytes: u64,
    /// Whether a container has it.
    pub used: bool,
}

/// What a volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeConfiguration {
    /// Its name.
    pub name: String,
    /// [`DRIVER`].
    pub driver: String,
    /// [`FORMAT`].
    pub format: String,
    /// The disk on the host.
    pub source: String,
    /// When it was created.
    pub creation_date: Timestamp,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// As they were given.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_in_bytes: Option<u64>,
}

impl VolumeConfiguration {
    /// Whether it is anonymous.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(well_known::ANONYMOUS)
    }

    /// Bytes that it seems to have.
    pub fn size(&self) -> u64 {
        self.size_in_bytes.unwrap_or(DEFAULT_SIZE)
    }
}

/// What is asked for when a volume is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VolumeRequest {
    /// Empty: a new one.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// `size` and `journal`.
    pub options: BTreeMap<String, String>,
}

/// Why there can be no such volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// The name.
    #[error(
        "invalid volume name '{0}': letters, digits, '_', '.' and '-' are allowed, at most {MAX_NAME}; the first is a letter or digit"
    )]
    Name(String),
    /// An option that no volume has.
    #[error("unknown volume option '{0}': size and journal are known")]
    Option(String),
    /// A label that tells what the system did.
    #[error("the label '{0}' is the system's own: volumes without a name have it")]
    ReservedLabel(&'static str),
    /// Its size is no size.
    #[error(transparent)]
    Size(#[from] SizeError),
    /// Its size is one that it cannot have.
    #[error("invalid volume size '{0}': 1M to 256T is expected")]
    Bounds(String),
    /// Its journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What is no mount.
    #[error("invalid volume '{0}': [<name>:]<path>[:<options>] is expected")]
    Spec(String),
    /// Where it cannot be mounted.
    #[error(transparent)]
    Place(#[from] MountPointError),
    /// An option that no mount of a volume has.
    #[error(
        "unknown option '{0}' of a volume's mount: ro, rw, copy, nocopy, exec, noexec, suid, nosuid, dev, nodev, atime, noatime, propagation, consistency, z and Z are known"
    )]
    MountOption(String),
    /// podman's change of owners.
    #[error(
        "option U is not available here: a volume is filled with the image's owners, and `chown` in the container changes them"
    )]
    Owners,
    /// A path in the volume that leads elsewhere, or nowhere.
    #[error("invalid volume-subpath '{0}': a relative path is expected, without '..'")]
    Subpath(String),
    /// There is nothing in a new volume.
    #[error("a volume without a name is empty: there is no volume-subpath in it")]
    SubpathOfNew,
}

impl VolumeRequest {
    /// Bytes, and the journal.
    ///
    /// # Errors
    /// When the name or an option cannot be.
    pub fn check(&self) -> Result<(u64, Journal), VolumeError> {
        if !self.name.is_empty() {
            check_name(&self.name)?;
        }
        if self.labels.contains_key(well_known::ANONYMOUS) {
            return Err(VolumeError::ReservedLabel(well_known::ANONYMOUS));
        }
        let (mut bytes, mut journal) = (DEFAULT_SIZE, Journal::default());
        for (key, value) in &self.options {
            match key.as_str() {
                "size" => bytes = parse_size(value)?,
                "journal" => journal = journal::parse(value)?,
                other => return Err(VolumeError::Option(other.to_owned())),
            }
        }
        journal.check_fit(bytes)?;
        Ok((bytes, journal))
    }
}

/// The size of a volume in bytes, a multiple of 1 MiB.
///
/// # Errors
/// When it is no size, or out of bounds.
pub fn parse_size(text: &str) -> Result<u64, VolumeError> {
    let bytes = size::parse(text)?;
    if (MINIMUM_SIZE..=MAXIMUM_SIZE).contains(&bytes) {
        Ok(bytes.next_multiple_of(size::MIB))
    } else {
        Err(VolumeError::Bounds(text.to_owned()))
    }
}

/// Whether a mount itself has `option` of one of a volume's.
fn is_for_the_kernel(option: &str) -> bool {
    FLAGS.contains(&option) || PROPAGATION.contains(&option)
}

/// Checks `^[A-Za-z0-9][A-Za-z0-9_.-]*$`, at most 255 bytes.
///
/// # Errors
/// When it is invalid.
pub fn check_name(name: &str) -> Result<(), VolumeError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let sound = name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(allowed);
    if sound {
        Ok(())
    } else {
        Err(VolumeError::Name(name.to_owned()))
    }
}

/// `-v [<name>:]<path>[:<options>]`. Without a name it is a new, anonymous volume.
///
/// # Errors
/// When it is invalid, or a path of the host's.
pub fn parse(text: &str) -> Result<Mount, VolumeError> {
    let wrong = || VolumeError::Spec(text.to_owned());
    let parts: Vec<&str> = text.split(':').collect();
    let (name, target, options) = match parts.as_slice() {
        [target] => ("", *target, ""),
        [name, target] if target.starts_with('/') => (*name, *target, ""),
        [name, target] => (*name, *target, ""),
        [name, target, options] => (*name, *target, *options),
        _ => return Err(wrong()),
    };
    if name.is_empty() && parts.len() > 1 || target.is_empty() {
        return Err(wrong());
    }
    let options = options.split(',').filter(|option| !option.is_empty());
    mount(name, target, options.map(str::to_owned).collect())
}

/// The mount of the volume `name`, or a new one, at `target`.
///
/// # Errors
/// When one of them cannot be.
pub fn mount(name: &str, target: &str, options: Vec<String>) -> Result<Mount, VolumeError> {
    if !name.is_empty() {
        check_name(name)?;
    }
    let target = mount_point::parse(target)?;
    for option in &options {
        match option.as_str() {
            known if is_for_the_kernel(known) || OTHERS.contains(&known) => {}
            "U" => return Err(VolumeError::Owners),
            other => match other.strip_prefix(SUBPATH) {
                Some(path) => check_subpath(name, path)?,
                None if other.starts_with(OPTION) || other.starts_with(LABEL) => {}
                None => return Err(VolumeError::MountOption(option.clone())),
            },
        }
    }
    request(name, &options).check()?;
    Ok(Mount {
        kind: MountKind::Volume {
            name: name.to_owned(),
            format: FORMAT.to_owned(),
            anonymous: false,
            cache: CacheMode::default(),
            sync: SyncMode::default(),
        },
        source: String::new(),
        destination: target,
        options,
    })
}

/// A path that begins in the volume `name`. Whether a link in it leads out of the volume is seen where it is mounted.
fn check_subpath(name: &str, path: &str) -> Result<(), VolumeError> {
    if name.is_empty() {
        return Err(VolumeError::SubpathOfNew);
    }
    let leads_out = path.starts_with('/') || path.split('/').any(|part| part == "..");
    if path.is_empty() || path.len() > MAX_SUBPATH || path.contains('\0') || leads_out {
        return Err(VolumeError::Subpath(path.to_owned()));
    }
    Ok(())
}

/// What is asked for by a mount with `options` if there is no volume `name` yet.
fn request(name: &str, options: &[String]) -> VolumeRequest {
    let given = |prefix: &'static str| {
        let given = options
            .iter()
            .filter_map(move |option| option.strip_prefix(prefix)?.split_once('='));
        given.map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    VolumeRequest {
        name: name.to_owned(),
        labels: given(LABEL).collect(),
        options: given(OPTION).collect(),
    }
}

impl Mount {
    /// What is asked for if the volume that it mounts is not there yet. The mount has these options no more.
    pub fn take_volume_request(&mut self) -> VolumeRequest {
        let request = request(self.volume().unwrap_or_default(), &self.options);
        self.options
            .retain(|option| !option.starts_with(LABEL) && !option.starts_with(OPTION));
        request
    }

    /// What is mounted of a volume, unless it is all of it: a path in it.
    pub fn subpath(&self) -> Option<&str> {
        let mut options = self.options.iter().rev();
        options.find_map(|option| option.strip_prefix(SUBPATH))
    }

    /// Options that change what can be done through a mount of a volume.
    pub fn volume_flags(&self) -> impl Iterator<Item = &str> {
        let kept = |option: &&str| !matches!(*option, "ro" | "rw") && is_for_the_kernel(option);
        self.options.iter().map(String::as_str).filter(kept)
    }

    /// The volume that is mounted, if it is one.
    pub fn volume(&self) -> Option<&str> {
        match &self.kind {
            MountKind::Volume { name, .. } => Some(name),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_a_path_and_options() {
        for (text, name, target, options) in [
            ("/data", "", "/data", vec![]),
            ("v:/data", "v", "/data", vec![]),
            ("v:/data:ro", "v", "/data", vec!["ro"]),
            (
                "v1.x_-:/a/b:ro,nocopy",
                "v1.x_-",
                "/a/b",
                vec!["ro", "nocopy"],
            ),
        ] {
            let mount = parse(text).unwrap();
            assert_eq!(
                (mount.volume(), mount.destination.as_str()),
                (Some(name), target),
                "{text}"
            );
            assert_eq!(mount.options, options, "{text}");
        }
        for (text, words) in [
            ("", "invalid volume ''"),
            ("v:", "invalid volume 'v:'"),
            (":/a:ro", "invalid volume ':/a:ro'"),
            ("a:/b:ro:x", "invalid volume 'a:/b:ro:x'"),
            ("v:data", "invalid mount point 'data'"),
            ("v:/a/../b", "invalid mount point"),
            ("v:/", "invalid mount point '/'"),
            ("v:/a:wx", "unknown option 'wx'"),
            ("v:/a:U", "option U is not available here"),
            ("/host:/a", "invalid volume name '/host'"),
            ("-v:/a", "invalid volume name '-v'"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_path_in_a_volume_stays_there() {
        let of = |name: &str, path: &str| mount(name, "/m", vec![format!("{SUBPATH}{path}")]);
        for path in ["a", "a/b", "./a", "a b", "..."] {
            assert_eq!(of("v", path).unwrap().subpath(), Some(path));
        }
        for path in ["", "/a", "..", "a/..", "a/../b", "a\0b"] {
            let expected = Err(VolumeError::Subpath(path.to_owned()));
            assert_eq!(of("v", path), expected, "{path:?}");
        }
        assert_eq!(of("", "a"), Err(VolumeError::SubpathOfNew));
    }

    #[test]
    fn a_mount_is_written_as_apple_s_tool_does() {
        let kind = mount("v", "/m", Vec::new()).unwrap().kind;
        let written =
            r#"{"volume":{"name":"v","format":"ext4","cache":{"on":{}},"sync":{"fsync":{}}}}"#;
        assert_eq!(serde_json::to_string(&kind).unwrap(), written);
        // Those of containers that were made before have two fields.
        let before = r#"{"volume":{"name":"v","format":"ext4"}}"#;
        assert_eq!(serde_json::from_str::<MountKind>(before).unwrap(), kind);
    }

    #[test]
    fn a_mount_says_what_volume_is_made() {
        let options = ["ro", "volume-opt=size=1m", "volume-label=a=b=c", "noexec"];
        let mut mounted = mount("v", "/m", options.map(str::to_owned).into()).unwrap();
        let request = mounted.take_volume_request();
        assert_eq!(
            (request.name.as_str(), &*request.options["size"]),
            ("v", "1m")
        );
        assert_eq!(request.labels["a"], "b=c");
        assert_eq!(mounted.options, ["ro", "noexec"]);
        assert_eq!(mounted.volume_flags().collect::<Vec<_>>(), ["noexec"]);
        for (option, words) in [
            ("volume-opt=type=nfs", "unknown volume option 'type'"),
            ("volume-opt=size=1k", "invalid volume size"),
        ] {
            let error = mount("v", "/m", vec![option.to_owned()]).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    #[test]
    fn options_are_a_size_and_a_journal() {
        let request = |options: &[(&str, &str)]| VolumeRequest {
            options: options
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..VolumeRequest::default()
        };
        assert_eq!(request(&[]).check(), Ok((DEFAULT_SIZE, Journal::default())));
        let (bytes, journal) = request(&[("size", "1500k"), ("journal", "writeback")])
            .check()
            .unwrap();
        assert_eq!(
            (bytes, journal.to_string().as_str()),
            (2 << 20, "writeback")
        );
        for options in [
            &[("size", "1k")][..],
            &[("size", "x")],
            &[("size", "1p")],
            &[("journal", "none")],
            &[("kind", "fast")],
            &[("size", "100m"), ("journal", "ordered:64m")],
            &[("size", "9m"), ("journal", "ordered:4m")],
        ] {
            assert!(request(options).check().is_err(), "{options:?}");
        }
        let mut labelled = request(&[]);
        let labels = &mut labelled.labels;
        labels.insert("com.apple.container".to_owned(), String::new());
        assert!(labelled.check().is_ok());
        let labels = &mut labelled.labels;
        labels.insert(well_known::ANONYMOUS.to_owned(), String::new());
        assert!(matches!(
            labelled.check(),
            Err(VolumeError::ReservedLabel(_))
        ));
    }

    #[test]
    fn the_last_of_ro_and_rw_holds() {
        let read_only = |options: &str| parse(&format!("v:/a:{options}")).unwrap().is_read_only();
        assert!(
            read_only("ro") && read_only("rw,ro") && !read_only("ro,rw") && !read_only("nocopy")
        );
    }

    proptest! {
        #[test]
        fn whatever_passes_is_one_plain_path_component(name in "\\PC{0,20}") {
            if check_name(&name).is_ok() {
                let path = std::path::Path::new(&name);
                let components: Vec<_> = path.components().collect();
                prop_assert!(matches!(components[..], [std::path::Component::Normal(_)]));
            }
        }
    }
}
