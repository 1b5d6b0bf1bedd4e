//! A layer, compressed or not: it is refused, or becomes an image that reads.

#![no_main]

use std::io::Cursor;

use container_core_images::layer::convert::convert;
use erofs::{Image, Limits};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut image = Cursor::new(Vec::new());
    let limits = Limits {
        inodes: 4096,
        bytes: 1 << 20,
    };
    if convert(data, &mut image, 1 << 20, limits).is_ok() {
        let bytes = image.into_inner();
        let image = Image::open_whole(bytes.as_slice()).expect("what was written opens");
        image
            .tree(Limits::default(), 0)
            .expect("what was written reads");
    }
});
