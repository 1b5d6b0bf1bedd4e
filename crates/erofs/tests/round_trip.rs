//! What was written is what is read.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Cursor;
use std::os::unix::fs::MetadataExt;

use erofs::{Directory, Image, InodeId, Kind, LayerWriter, Limits, Metadata, Tree};
use proptest::prelude::*;
use support::{listing, write_layer};

fn directories(tree: &Tree) -> Vec<&Directory> {
    let mut found = Vec::new();
    let mut rest = vec![InodeId::ROOT];
    while let Some(id) = rest.pop() {
        if let Some(directory) = tree.directory(id) {
            found.push(directory);
            rest.extend(directory.entries().map(|(_, child)| child));
        }
    }
    found
}

proptest! {
    #[test]
    fn a_layer_survives(entries in support::layer()) {
        let (bytes, _) = write_layer(&entries);
        let image = Image::open_whole(bytes.as_slice()).unwrap();
        let tree = image.tree(Limits::default(), 0).unwrap();
        // Written again from what was read, without its data, it reads the same.
        let mut writer = LayerWriter::new(Cursor::new(Vec::new())).unwrap();
        let mut file = writer.file().unwrap();
        file.write(&bytes[4096..]).unwrap();
        file.finish().unwrap();
        let again = writer.finish(&tree, [7; 16]).unwrap().into_inner();
        let image_again = Image::open_whole(again.as_slice()).unwrap();
        let tree_again = image_again.tree(Limits::default(), 0).unwrap();
        prop_assert_eq!(listing(&tree, &image), listing(&tree_again, &image_again));
        let marks = |tree: &Tree| -> Vec<(bool, bool)> {
            directories(tree).iter().map(|d| (d.is_opaque(), d.is_implicit())).collect()
        };
        prop_assert_eq!(marks(&tree), marks(&tree_again));
    }

    #[test]
    fn the_same_entries_make_the_same_bytes(entries in support::layer()) {
        prop_assert_eq!(write_layer(&entries).0, write_layer(&entries).0);
    }

    #[test]
    fn damage_never_panics(
        entries in support::layer(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut bytes, _) = write_layer(&entries);
        for (at, value) in hits {
            let at = 4096 + at.index(bytes.len() - 4096);
            bytes[at] = value;
        }
        if let Ok(image) = Image::open(bytes.as_slice()) {
            let _ = image.tree(Limits::default(), 0);
        }
        bytes.truncate(cut.index(bytes.len()));
        if let Ok(image) = Image::open(bytes.as_slice()) {
            let _ = image.tree(Limits::default(), 0);
        }
    }
}

#[test]
fn files_beyond_4_gib_and_holes() {
    let output = tempfile::tempfile().unwrap();
    let mut writer = LayerWriter::new(output).unwrap();
    let mut file = writer.file().unwrap();
    file.write(b"head").unwrap();
    file.skip(5 << 30).unwrap();
    file.write(b"tail").unwrap();
    let data = file.finish().unwrap();
    let mut tree = Tree::new(Limits::default());
    tree.insert(b"sparse", Metadata::default(), Kind::File(data))
        .unwrap();
    let output = writer.finish(&tree, [0; 16]).unwrap();

    assert!(
        output.metadata().unwrap().blocks() * 512 < 1 << 20,
        "the hole takes no space"
    );
    let image = Image::open_whole(&output).unwrap();
    let tree = image.tree(Limits::default(), 0).unwrap();
    let id = tree.find(b"sparse").unwrap().unwrap();
    let Kind::File(data) = tree.inode(id).kind else {
        panic!("not a file")
    };
    assert_eq!(data.size, (5 << 30) + 8);
    let mut tail = [0; 6];
    image.read_file(data, data.size - 6, &mut tail).unwrap();
    assert_eq!(&tail, b"\0\0tail");
}
