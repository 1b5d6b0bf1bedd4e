//! An EROFS image behind a right superblock: it is refused, or can be merged.

#![no_main]

use std::io::Cursor;

use erofs::{Image, LayerWriter, Limits, Tree, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let empty = LayerWriter::new(Cursor::new(Vec::new())).expect("memory can be written");
    let tree = Tree::new(Limits::default());
    let mut bytes = empty
        .finish(&tree, [0; 16])
        .expect("memory can be written")
        .into_inner();
    // Whatever stands behind block 0 is the fuzzer's.
    bytes.truncate(4096);
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    if let Ok(image) = Image::open(bytes.as_slice()) {
        let _ = View::merge(
            &[image],
            Limits {
                inodes: 4096,
                bytes: 1 << 20,
            },
        );
    }
});
