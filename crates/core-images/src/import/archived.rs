//! Whether what is imported as a root file system is an archive of images, which is somebody's mistake: such an image runs nothing.

use std::io::{self, Read};

use container_archive::tar::{Kind, Member, Reader};
use container_compression as compression;
use container_resource::digest::Digest;

use crate::budget::Budgeted;

/// Bytes of the stream that are kept to be looked at.
const HEAD: usize = 256 << 10;
/// Bytes of tar that are looked at.
const LOOKED_AT: u64 = 4 << 20;
/// Members that are looked at.
const MEMBERS: usize = 32;

/// Hands a stream on and keeps its begin.
#[derive(Debug)]
pub(super) struct Kept<R> {
    stream: R,
    head: Vec<u8>,
}

impl<R> Kept<R> {
    pub(super) fn new(stream: R) -> Self {
        let head = Vec::new();
        Self { stream, head }
    }

    /// Whether what was read begins as an archive of images does.
    pub(super) fn is_of_images(&self) -> bool {
        let Ok(stream) = compression::decoder(self.head.as_slice()) else {
            return false;
        };
        let mut reader = Reader::new(Budgeted::new(stream, LOOKED_AT));
        for _ in 0..MEMBERS {
            // It ends where what was kept does.
            let Ok(Some(member)) = reader.next_member() else {
                return false;
            };
            match Part::of(&member) {
                Part::Sure => return true,
                Part::Possible => {}
                Part::Other => return false,
            }
        }
        false
    }
}

impl<R: Read> Read for Kept<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        let more = count.min(HEAD - self.head.len());
        self.head.extend_from_slice(&buffer[..more]);
        Ok(count)
    }
}

/// What a member is of an archive of images, as `docker save` and the OCI image layout have them.
enum Part {
    /// Nothing else is called so.
    Sure,
    /// A root file system might have one.
    Possible,
    /// None.
    Other,
}

impl Part {
    fn of(member: &Member) -> Self {
        let path = String::from_utf8_lossy(&member.path);
        let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
        let parts: Vec<&str> = parts.collect();
        let is_directory = member.kind == Kind::Directory;
        match parts.as_slice() {
            ["oci-layout"] if !is_directory => Self::Sure,
            ["blobs", "sha256", name] if is_digest(name) => Self::Sure,
            [directory, "layer.tar" | "json" | "VERSION"] if is_digest(directory) => Self::Sure,
            [name]
                if name.split_once('.').is_some_and(|(stem, end)| {
                    is_digest(stem) && matches!(end, "json" | "tar")
                }) =>
            {
                Self::Sure
            }
            [name] if is_directory && is_digest(name) => Self::Possible,
            [] | ["blobs"] | ["blobs", "sha256"] if is_directory => Self::Possible,
            ["index.json" | "manifest.json" | "repositories"] => Self::Possible,
            _ => Self::Other,
        }
    }
}

/// Whether `text` is a SHA-256 in hexadecimal.
fn is_digest(text: &str) -> bool {
    Digest::from_hex(text).is_ok()
}

#[cfg(test)]
mod tests {
    use container_archive::tar::Writer;

    use super::*;

    fn is_of_images(names: &[&str]) -> bool {
        let mut writer = Writer::new(Vec::new());
        for name in names {
            if name.ends_with('/') {
                writer.directory(name).unwrap();
            } else {
                writer.file(name, &vec![1; HEAD]).unwrap();
            }
        }
        let archive = writer.finish().unwrap();
        let mut kept = Kept::new(archive.as_slice());
        io::copy(&mut kept, &mut io::sink()).unwrap();
        assert!(kept.head.len() <= HEAD);
        kept.is_of_images()
    }

    #[test]
    fn archives_of_images_are_told_from_roots() {
        let digest = "0123456789abcdef".repeat(4);
        let (blob, layer) = (
            format!("blobs/sha256/{digest}"),
            format!("{digest}/layer.tar"),
        );
        let (directory, document) = (format!("{digest}/"), format!("{digest}.json"));
        for names in [
            &["oci-layout"][..],
            &["./", "./blobs/", "./blobs/sha256/", &format!("./{blob}")],
            &[&directory, &layer],
            &[&document, "manifest.json"],
        ] {
            assert!(is_of_images(names), "{names:?}");
        }
        for names in [
            &["bin/", "bin/sh", "oci-layout"][..],
            &["./", "manifest.json", "bin/sh"],
            &["blobs/", "blobs/sha256/", "blobs/sha256/x"],
            &["index.json"],
            &[],
        ] {
            assert!(!is_of_images(names), "{names:?}");
        }
        assert!(!Kept::new(&b""[..]).is_of_images());
    }
}
