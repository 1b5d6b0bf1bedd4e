//! A file system as comparable text, wherever it is.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use erofs::{Image, InodeId, Kind, Limits};
use sha2::{Digest, Sha256};

/// What is at each path: type, mode, owner, time, attributes, content, and the first path of the same inode.
pub type Listing = BTreeMap<Vec<u8>, String>;

struct Lister<I> {
    found: Listing,
    first: HashMap<I, Vec<u8>>,
}

struct Attributes {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: i64,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl<I: std::hash::Hash + Eq> Lister<I> {
    fn add(&mut self, path: Vec<u8>, inode: I, attributes: &Attributes, content: &str) {
        let Attributes {
            mode,
            uid,
            gid,
            mtime,
            xattrs,
        } = attributes;
        let first = self.first.entry(inode).or_insert_with(|| path.clone());
        let first = String::from_utf8_lossy(first);
        let line = format!("{mode:o} {uid}:{gid} {mtime} {xattrs:?} {content} ={first}");
        self.found.insert(path, line);
    }
}

fn sorted(mut names: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    names.sort();
    // They are taken from the end.
    names.reverse();
    names
}

fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    [directory, b"/", name].concat()
}

/// A directory of this machine.
pub fn of_directory(root: &Path) -> Listing {
    let mut lister = Lister {
        found: Listing::new(),
        first: HashMap::new(),
    };
    let mut rest = vec![Vec::new()];
    while let Some(path) = rest.pop() {
        let real = root.join(OsStr::from_bytes(path.strip_prefix(b"/").unwrap_or(b"")));
        let metadata = real.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            let entries = std::fs::read_dir(&real).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().as_bytes().to_vec());
            rest.extend(sorted(names.map(|name| join(&path, &name)).collect()));
            String::new()
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&real).unwrap();
            arrow(target.as_os_str().as_bytes())
        } else if metadata.is_file() {
            digest(&std::fs::read(&real).unwrap())
        } else {
            let device = metadata.rdev();
            format!(
                "{},{}",
                rustix::fs::major(device),
                rustix::fs::minor(device)
            )
        };
        let attributes = Attributes {
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            xattrs: xattrs(&real),
        };
        lister.add(path, metadata.ino(), &attributes, &content);
    }
    lister.found
}

fn xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names) else {
        return BTreeMap::new();
    };
    let names = names[..length].split(|byte| *byte == 0);
    let value = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let length = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
        value.truncate(length);
        (name.to_vec(), value)
    };
    names.filter(|name| !name.is_empty()).map(value).collect()
}

/// A composed disk.
pub fn of_disk(disk: &Path) -> Listing {
    let image = Image::open_whole(std::fs::File::open(disk).unwrap()).unwrap();
    let tree = image.tree(Limits::default(), 0).unwrap();
    let mut lister = Lister {
        found: Listing::new(),
        first: HashMap::new(),
    };
    let mut rest = vec![(Vec::new(), InodeId::ROOT)];
    while let Some((path, id)) = rest.pop() {
        let inode = tree.inode(id);
        let (kind, content) = match &inode.kind {
            Kind::Directory(directory) => {
                let children: Vec<_> = directory.entries().collect();
                let children = children.into_iter().rev();
                rest.extend(children.map(|(name, child)| (join(&path, name), child)));
                (0o040_000, String::new())
            }
            Kind::File(data) => {
                let mut content = vec![0; usize::try_from(data.size).unwrap()];
                image.read_file(*data, 0, &mut content).unwrap();
                (0o100_000, digest(&content))
            }
            Kind::Symlink(target) => (0o120_000, arrow(target)),
            Kind::Character(device) => {
                (0o020_000, format!("{},{}", device.major(), device.minor()))
            }
            Kind::Block(device) => (0o060_000, format!("{},{}", device.major(), device.minor())),
            Kind::Fifo => (0o010_000, "0,0".into()),
            Kind::Socket => (0o140_000, "0,0".into()),
            Kind::Whiteout | Kind::LowerLink(_) => panic!("a mark is left in the root"),
        };
        let metadata = &inode.metadata;
        let all = metadata.xattrs.iter();
        let attributes = Attributes {
            mode: kind | u32::from(metadata.permissions),
            uid: metadata.uid,
            gid: metadata.gid,
            mtime: metadata.mtime.seconds,
            xattrs: all
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
        };
        lister.add(path, id, &attributes, &content);
    }
    lister.found
}

fn arrow(target: &[u8]) -> String {
    format!("-> {}", target.escape_ascii())
}

fn digest(content: &[u8]) -> String {
    format!("{} {:x?}", content.len(), Sha256::digest(content))
}

/// Fails at the first difference, with both sides.
pub fn assert_same(ours: &Listing, theirs: &Listing) {
    let paths: std::collections::BTreeSet<_> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let shown = String::from_utf8_lossy(path);
        assert_eq!(
            ours.get(path),
            theirs.get(path),
            "ours and theirs differ at {shown:?}"
        );
    }
}
