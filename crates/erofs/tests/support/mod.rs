//! Layers as lists of entries, as a tar stream would bring them, and a plain model of a file system that
//! applies them one by one.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::BTreeMap;
use std::io::Cursor;

use erofs::{
    Device, Image, InodeId, Kind, LayerWriter, Limits, MergeError, Metadata, Timestamp, Tree,
    TreeError, View,
};
use proptest::prelude::*;

/// One member of a layer.
#[derive(Clone, Debug, PartialEq)]
pub enum Entry {
    Directory {
        path: Vec<u8>,
        metadata: Metadata,
    },
    File {
        path: Vec<u8>,
        metadata: Metadata,
        content: Vec<u8>,
    },
    Symlink {
        path: Vec<u8>,
        metadata: Metadata,
        target: Vec<u8>,
    },
    Special {
        path: Vec<u8>,
        metadata: Metadata,
        kind: Kind,
    },
    Link {
        path: Vec<u8>,
        target: Vec<u8>,
    },
    Whiteout {
        path: Vec<u8>,
    },
    Opaque {
        path: Vec<u8>,
    },
}

/// Writes a layer image. Entries that the tree refuses are left out and counted.
pub fn write_layer(entries: &[Entry]) -> (Vec<u8>, usize) {
    let mut tree = Tree::new(Limits::default());
    let mut writer = LayerWriter::new(Cursor::new(Vec::new())).unwrap();
    let mut refused = 0;
    for entry in entries {
        if add(&mut tree, &mut writer, entry).is_err() {
            refused += 1;
        }
    }
    (writer.finish(&tree, [7; 16]).unwrap().into_inner(), refused)
}

fn add(
    tree: &mut Tree,
    writer: &mut LayerWriter<Cursor<Vec<u8>>>,
    entry: &Entry,
) -> Result<(), TreeError> {
    match entry {
        Entry::Directory { path, metadata } => {
            tree.insert_directory(path, metadata.clone())?;
        }
        Entry::File {
            path,
            metadata,
            content,
        } => {
            let mut file = writer.file().unwrap();
            file.write(content).unwrap();
            let data = file.finish().unwrap();
            tree.insert(path, metadata.clone(), Kind::File(data))?;
        }
        Entry::Symlink {
            path,
            metadata,
            target,
        } => {
            tree.insert(
                path,
                metadata.clone(),
                Kind::Symlink(target.as_slice().into()),
            )?;
        }
        Entry::Special {
            path,
            metadata,
            kind,
        } => {
            tree.insert(path, metadata.clone(), kind.clone())?;
        }
        Entry::Link { path, target } => {
            tree.insert_link(path, target)?;
        }
        Entry::Whiteout { path } => tree.insert_whiteout(path)?,
        Entry::Opaque { path } => tree.insert_opaque(path)?,
    }
    Ok(())
}

/// Writes and merges layers; gives the composed disk and how many entries the trees refused.
pub fn merge(layers: &[Vec<Entry>]) -> Result<(Vec<u8>, usize), MergeError> {
    let images: Vec<(Vec<u8>, usize)> = layers.iter().map(|layer| write_layer(layer)).collect();
    let refused = images.iter().map(|(_, refused)| refused).sum();
    let bytes: Vec<Vec<u8>> = images.into_iter().map(|(bytes, _)| bytes).collect();
    let opened: Vec<Image<&[u8]>> = bytes
        .iter()
        .map(|bytes| Image::open_whole(bytes.as_slice()).unwrap())
        .collect();
    let view = View::merge(&opened, Limits::default())?;
    let mut disk = Vec::new();
    view.write(&mut disk, [1; 16]).unwrap();
    disk.extend_from_slice(&bytes.concat());
    Ok((disk, refused))
}

/// The composed disk of layers whose hard links may lack their targets: then it is made without links.
pub fn merge_any(mut layers: Vec<Vec<Entry>>) -> Vec<u8> {
    let is_link = |entry: &Entry| matches!(entry, Entry::Link { .. });
    let merged = merge(&layers).or_else(|error| {
        assert!(matches!(error, MergeError::Apply { .. }), "{error}");
        assert!(layers.iter().flatten().any(is_link), "{error}");
        for layer in &mut layers {
            layer.retain(|entry| !is_link(entry));
        }
        merge(&layers)
    });
    merged.unwrap().0
}

/// A tree as comparable text: one line per path with all that is stored, hard links by their first name.
pub fn listing<R: erofs::ReadAt>(tree: &Tree, disk: &Image<R>) -> BTreeMap<Vec<u8>, String> {
    let mut lines = BTreeMap::new();
    let mut first_names: BTreeMap<InodeId, Vec<u8>> = BTreeMap::new();
    let mut rest = vec![(Vec::new(), InodeId::ROOT)];
    while let Some((path, id)) = rest.pop() {
        let inode = tree.inode(id);
        let kind = match &inode.kind {
            Kind::Directory(directory) => {
                // The first name in order of the walk must not depend on the stack.
                let children: Vec<_> = directory.entries().collect();
                for (name, child) in children.into_iter().rev() {
                    let mut path = path.clone();
                    path.push(b'/');
                    path.extend_from_slice(name);
                    rest.push((path, child));
                }
                "directory".to_owned()
            }
            Kind::File(data) => {
                let mut content = vec![0; usize::try_from(data.size).unwrap()];
                disk.read_file(*data, 0, &mut content).unwrap();
                format!("file {content:?}")
            }
            other => format!("{other:?}"),
        };
        let first = first_names
            .entry(id)
            .or_insert_with(|| path.clone())
            .clone();
        let same = if first == path {
            String::new()
        } else {
            format!(" = {first:?}")
        };
        lines.insert(path, format!("{:?} {kind}{same}", inode.metadata));
    }
    lines
}

pub fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec(), b"!".to_vec()]),
        1 => Just(b"\xff\xfe not utf-8".to_vec()),
        1 => Just(vec![b'n'; 255]),
    ]
}

pub fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..4).prop_map(|parts| parts.join(&b'/'))
}

pub fn metadata() -> impl Strategy<Value = Metadata> {
    let mtime = prop_oneof![
        Just((0, 0)),
        (any::<i32>().prop_map(i64::from), 0..1_000_000_000_u32),
        Just((1 << 40, 999_999_999)),
    ];
    let owner = || prop_oneof![Just(0), Just(1000), any::<u32>()];
    let xattr = (
        prop::sample::select(vec![
            "user.x",
            "user.long",
            "security.capability",
            "trusted.t",
        ]),
        prop::collection::vec(any::<u8>(), 0..300),
    );
    (
        0..0o10_000_u16,
        owner(),
        owner(),
        mtime,
        prop::collection::vec(xattr, 0..3),
    )
        .prop_map(|(permissions, uid, gid, (seconds, nanoseconds), pairs)| {
            let mut metadata = Metadata {
                permissions,
                uid,
                gid,
                mtime: Timestamp {
                    seconds,
                    nanoseconds,
                },
                ..Metadata::default()
            };
            for (name, value) in pairs {
                metadata.xattrs.insert(name.as_bytes(), &value).unwrap();
            }
            metadata
        })
}

pub fn special() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Fifo),
        Just(Kind::Socket),
        (1..4096_u32, 0..1_u32 << 20)
            .prop_map(|(major, minor)| Kind::Character(Device::new(major, minor).unwrap())),
        (0..4096_u32, 0..1_u32 << 20)
            .prop_map(|(major, minor)| Kind::Block(Device::new(major, minor).unwrap())),
    ]
}

pub fn entry() -> impl Strategy<Value = Entry> {
    let content = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..20),
        1 => (any::<u8>(), 4000..9000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    let target = prop_oneof![
        3 => path(),
        1 => path().prop_map(|path| [b"/".to_vec(), path].concat()),
        1 => path().prop_map(|path| [b"../".to_vec(), path].concat()),
        1 => Just(vec![b't'; 4095]),
    ];
    prop_oneof![
        3 => (path(), metadata()).prop_map(|(path, metadata)| Entry::Directory { path, metadata }),
        6 => (path(), metadata(), content)
            .prop_map(|(path, metadata, content)| Entry::File { path, metadata, content }),
        2 => (path(), metadata(), target)
            .prop_map(|(path, metadata, target)| Entry::Symlink { path, metadata, target }),
        1 => (path(), metadata(), special())
            .prop_map(|(path, metadata, kind)| Entry::Special { path, metadata, kind }),
        2 => (path(), path()).prop_map(|(path, target)| Entry::Link { path, target }),
        2 => path().prop_map(|path| Entry::Whiteout { path }),
        1 => path().prop_map(|path| Entry::Opaque { path }),
    ]
}

pub fn layer() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..25)
}
