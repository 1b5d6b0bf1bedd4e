//! A context that is a tar on standard input. It is kept in a nameless file until it is sent: its Dockerfile is looked at before.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use container_archive::tar::{Kind, Reader};
use container_compression::decoder;

/// Bytes that the tar may unpack to before its Dockerfile comes; the builder reads a larger one all the same.
const LOOKED_AT: u64 = 16 << 30;

/// Keeps `head` and all of `rest`.
pub fn keep(head: &[u8], mut rest: impl Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(&mut head.chain(&mut rest), &mut file)?;
    file.rewind()?;
    Ok(file)
}

/// The first member of `tar` that is one of `names`, and its text. One that is hidden from this side, by a compression or by what is no tar, is
/// found by the builder. Leaves the file at its beginning.
pub fn find(tar: &mut File, names: &[&str], limit: u64) -> io::Result<Option<(String, String)>> {
    let found = search(tar, names, limit);
    tar.rewind()?;
    Ok(found)
}

fn search(tar: &mut File, names: &[&str], limit: u64) -> Option<(String, String)> {
    let decoded = decoder(BufReader::new(tar)).ok()?;
    let mut reader = Reader::new(decoded.take(LOOKED_AT));
    while let Some(member) = reader.next_member().ok()? {
        let path = plain(Path::new(std::ffi::OsStr::from_bytes(&member.path)));
        let name = names.iter().find(|name| plain(Path::new(name)) == path);
        let Some(name) = name.filter(|_| member.kind == Kind::File && member.size <= limit) else {
            continue;
        };
        let mut text = String::new();
        reader.read_to_string(&mut text).ok()?;
        return Some(((*name).to_owned(), text));
    }
    None
}

/// Without what leads nowhere.
fn plain(path: &Path) -> PathBuf {
    let parts = path.components();
    parts
        .filter(|part| !matches!(part, Component::CurDir | Component::RootDir))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn the_dockerfile_is_found_in_what_tar_makes() {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("sub")).unwrap();
        for (name, text) in [
            ("Containerfile", "FROM c"),
            ("sub/own", "FROM own"),
            ("x", "y"),
        ] {
            std::fs::write(scratch.path().join(name), text).unwrap();
        }
        for compression in ["--no-auto-compress", "--gzip", "--xz", "--zstd"] {
            let packed = Command::new("tar")
                .args([compression, "-cf", "-", "."])
                .current_dir(scratch.path())
                .output()
                .unwrap();
            let (head, rest) = packed.stdout.split_at(100);
            let mut tar = keep(head, rest).unwrap();
            for (names, expected) in [
                (
                    &["Dockerfile", "Containerfile"][..],
                    Some(("Containerfile", "FROM c")),
                ),
                (&["sub/../own"], None),
                (&["./sub/own"], Some(("./sub/own", "FROM own"))),
                (&["sub"], None),
            ] {
                let found = find(&mut tar, names, 100).unwrap();
                let found = found
                    .as_ref()
                    .map(|(name, text)| (name.as_str(), text.as_str()));
                assert_eq!(found, expected, "{compression} {names:?}");
            }
            assert_eq!(find(&mut tar, &["Containerfile"], 3).unwrap(), None);
        }
        let mut odd = keep(b"no tar", io::empty()).unwrap();
        assert_eq!(find(&mut odd, &["Dockerfile"], 100).unwrap(), None);
    }
}
