//! What is mounted into a container, as Docker and Apple's tool write it: `--mount type=<type>,target=<path>,...` and
//! `-v <source>:<target>[:<options>]`.

use crate::bind::BindError;
use crate::container::Mount;
use crate::mount_point::{self, MountPointError};
use crate::volume::{self, VolumeError};
use crate::{bind, size, switch, tmpfs};

/// Why a text describes no mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// A key that no mount has, or none at all.
    #[error("unexpected key '{key}' in '{field}'")]
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
    /// A tmpfs is made of nothing.
    #[error("a tmpfs has no source")]
    Source,
}

/// The fields of a line of values that are joined by commas. One in quotation marks may have commas, and doubled quotation marks for one
/// (RFC 4180, which Docker's reader follows).
fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let wrong = || MountError::Quotes(text.to_owned());
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let Some(quoted) = rest.strip_prefix('"') else {
            let (field, more) = match rest.split_once(',') {
                Some((field, more)) => (field, Some(more)),
                None => (rest, None),
            };
            if field.contains('"') {
                return Err(wrong());
            }
            fields.push(field.to_owned());
            match more {
                Some(more) => rest = more,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        let mut left = quoted;
        loop {
            let (part, more) = left.split_once('"').ok_or_else(wrong)?;
            field.push_str(part);
            let Some(more) = more.strip_prefix('"') else {
                left = more;
                break;
            };
            field.push('"');
            left = more;
        }
        fields.push(field);
        match left.strip_prefix(',') {
            Some(more) => rest = more,
            None if left.is_empty() => return Ok(fields),
            None => return Err(wrong()),
        }
    }
}

/// A mount: fields `key=value`, joined by commas. A flag may stand without a value.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(text: &str) -> Result<Mount, MountError> {
    let fields = fields(text)?;
    let (mut kind, mut target, mut source) = (None, None, None);
    let mut options = Vec::new();
    let (mut of_tmpfs, mut of_volume, mut of_bind) = (None, None, None);
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
                let bytes = size::parse(given()?).map_err(|_| invalid())?;
                options.push(format!("size={bytes}"));
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
            "bind-propagation" => options.push(given()?.to_owned()),
            // Mounts below are there, and read-only with it.
            "bind-recursive" if matches!(value, Some("enabled" | "readonly")) => {}
            "bind-nonrecursive" if matches!(value.map(switch::parse), Some(Ok(false))) => {}
            "bind-recursive" | "bind-nonrecursive" => return Err(invalid()),
            "volume-nocopy" => {
                let wanted = value.map_or(Ok(true), switch::parse);
                if wanted.map_err(|_| invalid())? {
                    options.push(volume::NO_COPY.to_owned());
                    of_volume = Some(key);
                }
            }
            "volume-driver" if value == Some(volume::DRIVER) => of_volume = Some(key),
            // Caches are as they are.
            "consistency" => {}
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
            if let Some(key) = of_volume.or(of_bind) {
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
    Ok(tmpfs::mount(&target, options))
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
        [source, target, options] if bind::is_path(source) => (*source, *target, *options),
        _ => return Ok(volume::parse(text)?),
    };
    let options = options.split(',').filter(|option| !option.is_empty());
    Ok(bind::mount(source, target, options)?)
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
    fn the_host_s_files_are_named_in_two_ways() {
        let expected = bind::mount("/tmp/a=b", "/m", ["ro"]).unwrap();
        for text in [
            "type=bind,source=/tmp/a=b,target=/m,readonly",
            "type=virtiofs,src=/tmp/a=b,dst=/m,ro=true,bind-propagation=rprivate",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
        for text in ["/tmp/a=b:/m:ro", "/tmp/a=b:/m:z,ro"] {
            assert_eq!(parse_short(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(parse_short("./a b:/m").unwrap().source, "./a b");
        assert_eq!(parse_short("a/b:/m:").unwrap().source, "a/b");
        let expected = bind::mount("/s", "/m", ["idmap=uids=0-5-1;gids=0-6-1"]).unwrap();
        for text in [
            "type=bind,src=/s,dst=/m,idmap=uids=0-5-1;gids=0-6-1",
            "type=bind,src=/s,dst=/m,idmap,idmap=uids=0-5-1;gids=0-6-1",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(
            parse_short("/s:/m:idmap=uids=0-5-1;gids=0-6-1").as_ref(),
            Ok(&expected)
        );
        for (text, words) in [
            (
                "",
                "invalid volume '': [<name>:]<path>[:<options>] is expected",
            ),
            (
                ":/m",
                "invalid volume ':/m': [<name>:]<path>[:<options>] is expected",
            ),
            (
                "/a:/b:ro:x",
                "invalid volume '/a:/b:ro:x': [<name>:]<path>[:<options>] is expected",
            ),
            (
                "/a:b",
                "invalid mount point 'b': an absolute path below / is expected, without '..'",
            ),
            (
                "/a:/b:foo",
                "invalid option 'foo' of a bind mount: ro, rw, exec, noexec, suid, nosuid, nodev and noatime are known",
            ),
        ] {
            assert_eq!(parse_short(text).unwrap_err().to_string(), words, "{text}");
        }
        assert_eq!(parse_short("v:/m").unwrap().volume(), Some("v"));
        assert_eq!(parse_short("/m").unwrap().volume(), Some(""));
    }

    #[test]
    fn volumes_are_docker_s_default() {
        let expected = volume::mount("v", "/m", vec!["ro".into(), "nocopy".into()]).unwrap();
        for text in [
            "type=volume,source=v,target=/m,ro,volume-nocopy",
            "src=v,dst=/m,readonly=true,volume-nocopy=1",
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&expected), "{text}");
        }
        assert_eq!(parse("type=volume,target=/m").unwrap().volume(), Some(""));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, words) in [
            ("", "unexpected key '' in ''"),
            ("=", "unexpected key '' in '='"),
            ("==", "unexpected key '' in '=='"),
            ("type=tmpfs", "target is required"),
            (
                "type=tmpfs,target=/a,idmap",
                "idmap is no option of this type of mount",
            ),
            (
                "type=volume,target=/a,idmap",
                "idmap is no option of this type of mount",
            ),
            (
                "type=bind,src=/s,dst=/m,idmap=uids=x",
                "invalid idmap 'uids=x': uids=<of the files>-<in the container>-<count>[#...][;gids=...] is expected, with each id at most once",
            ),
            (
                "type=tmpfs,target=/a,foo=b",
                "unexpected key 'foo' in 'foo=b'",
            ),
            ("type=tmpfs,target=", "invalid value for target: ''"),
            (
                "type=tmpfs,target=a",
                "invalid mount point 'a': an absolute path below / is expected, without '..'",
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
                "invalid mount type 'foo': bind, virtiofs, volume or tmpfs is expected",
            ),
            ("type=bind,source=/a", "target is required"),
            (
                "type=bind,target=/m",
                "a bind mount needs a path of the host as its source",
            ),
            (
                "type=virtiofs,source=/a,target=m",
                "invalid mount point 'm': an absolute path below / is expected, without '..'",
            ),
            (
                "type=bind,source=/a,target=/m,size=1m",
                "size is no option of this type of mount",
            ),
            (
                "type=bind,source=/a,target=/m,bind-recursive=disabled",
                "invalid value for bind-recursive: 'disabled'",
            ),
            (
                "type=volume,source=v,target=/m,size=1m",
                "size is no option of this type of mount",
            ),
            (
                "type=tmpfs,target=/m,volume-nocopy",
                "volume-nocopy is no option of this type of mount",
            ),
            ("source=v", "target is required"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), words, "{text}");
        }
    }

    #[test]
    fn commas_stand_in_quotation_marks() {
        let split = |text: &str| fields(text).ok().map(|fields| fields.join("|"));
        for (text, expected) in [
            ("a,b", Some("a|b")),
            ("", Some("")),
            ("a,", Some("a|")),
            (r#""a,b",c"#, Some("a,b|c")),
            (r#"c,"a ""b"",",d"#, Some(r#"c|a "b",|d"#)),
            (r#""","#, Some("|")),
            (r#""a"#, None),
            (r#"a"b"#, None),
            (r#""a"b,c"#, None),
        ] {
            assert_eq!(split(text).as_deref(), expected, "{text}");
        }
        let mount = parse(r#"type=bind,"source=/a,b",target=/m"#).unwrap();
        assert_eq!(mount.source, "/a,b");
    }

    #[test]
    fn what_is_podman_s_is_understood() {
        let options = |text: &str| parse(text).unwrap().options.join(",");
        assert_eq!(options("type=bind,src=/a,dst=/m,rw"), "rw");
        assert_eq!(options("type=volume,dst=/m,rw=false"), "ro");
        assert_eq!(options("type=tmpfs,dst=/m,ro,rw=true"), "ro,rw");
    }

    proptest! {
        #[test]
        fn whatever_passes_has_a_place_in_the_container(text in "type=(tmpfs|bind,src=a),dst=\\PC{0,20}") {
            if let Ok(mount) = parse(&text) {
                let place = mount_point::parse(&mount.destination);
                prop_assert_eq!(place, Ok(mount.destination));
            }
        }
    }
}
