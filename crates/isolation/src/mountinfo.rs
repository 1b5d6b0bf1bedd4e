//! Mounts of this process's namespace, as `/proc/self/mountinfo` lists them (`proc_pid_mountinfo`(5)).

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// A mount.
#[derive(Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where.
    pub place: PathBuf,
    /// Type of its file system, as `filesystems`(5) has them.
    pub kind: String,
    /// What its file system was mounted with: `name` or `name=value`, with commas between and escapes left in.
    pub options: String,
}

impl Mounted {
    /// The value of the option `name` of the file system.
    pub fn option(&self, name: &str) -> Option<OsString> {
        let mut pairs = self
            .options
            .split(',')
            .filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(found, _)| *found == name)?;
        Some(OsString::from_vec(unescaped(value.as_bytes())))
    }
}

/// All of them, in the order in which they were mounted.
///
/// # Errors
/// When the list cannot be read.
pub fn read() -> io::Result<Vec<Mounted>> {
    Ok(parse(&std::fs::read("/proc/self/mountinfo")?))
}

/// Those that `text` lists; what is no line of such a list is left out.
pub fn parse(text: &[u8]) -> Vec<Mounted> {
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// The one of `mounts` that `path`, which has no links, is in.
pub fn around<'a>(mounts: &'a [Mounted], path: &Path) -> Option<&'a Mounted> {
    let around = mounts
        .iter()
        .filter(|mounted| path.starts_with(&mounted.place));
    // Of those with the same place the last one is seen.
    around.max_by_key(|mounted| mounted.place.components().count())
}

fn line(line: &[u8]) -> Option<Mounted> {
    let mut fields = line.split(|byte| *byte == b' ');
    let place = unescaped(fields.nth(4)?);
    fields.find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(fields.next()?).into_owned();
    let options = fields.nth(1).unwrap_or_default();
    Some(Mounted {
        place: OsString::from_vec(place).into(),
        kind,
        options: String::from_utf8_lossy(options).into_owned(),
    })
}

/// What is written with `\ooo` for spaces, tabs, line ends and backslashes.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let number = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match number {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &behind[3..];
            }
            _ => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "\
            22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
            24 22 0:21 / /proc rw,nosuid shared:5 master:2 - proc proc rw\n\
            25 22 0:22 / /srv/a\\040b\\134c rw - sysfs sysfs rw\n\
            broken\n\
            26 22 0:23 / /srv/9\\999\\0 rw - tmpfs - rw\n";
        let mounted = |place: &str, kind: &str| Mounted {
            place: place.into(),
            kind: kind.into(),
            options: "rw".to_owned(),
        };
        let expected = [
            mounted("/", "ext4"),
            mounted("/proc", "proc"),
            mounted("/srv/a b\\c", "sysfs"),
            mounted("/srv/9\\999\\0", "tmpfs"),
        ];
        assert_eq!(parse(text.as_bytes()), expected);
    }

    #[test]
    fn an_option_is_found_by_its_name() {
        let text = b"30 22 0:24 / /m rw - overlay o rw,lowerdir=/a:/b,upperdir=/u\\040p,userxattr";
        let mounts = parse(text);
        assert_eq!(mounts[0].option("upperdir"), Some("/u p".into()));
        for none in ["upper", "userxattr", "workdir"] {
            assert_eq!(mounts[0].option(none), None, "{none}");
        }
    }

    #[test]
    fn this_host_has_proc() {
        let mounts = read().unwrap();
        assert!(mounts.iter().any(|mounted| mounted.kind == "proc"));
    }
}
