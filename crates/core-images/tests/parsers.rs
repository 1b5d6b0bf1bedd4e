//! Whatever bytes come, parsers answer; what they take, they take in one way.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::{Cursor, Read};

use container_archive::tar::Reader;
use container_core_images::image::Document;
use container_core_images::layer::convert::convert;
use erofs::{Image, Limits};
use proptest::prelude::*;
use support::tarball::{archive, device, directory, file, gnu_long, hard_link, pax, symlink};

/// Reads an archive to its end, or to its first mistake.
fn read(bytes: &[u8]) -> usize {
    let mut reader = Reader::new(bytes);
    let mut members = 0;
    while let Ok(Some(member)) = reader.next_member() {
        members += 1;
        if members % 2 == 0 {
            let _ = (&mut reader).take(member.size).read_to_end(&mut Vec::new());
        }
    }
    members
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    let name = "[a-c./]{1,6}";
    prop_oneof![
        (name, "[a-z]{0,600}").prop_map(|(name, data)| file(&name, data)),
        name.prop_map(|name| directory(&name)),
        (name, name).prop_map(|(name, target)| symlink(&name, &target)),
        (name, name).prop_map(|(name, target)| hard_link(&name, &target)),
        name.prop_map(|name| device(b'3', &name, 1, 3)),
        (name, 0..3_u8).prop_map(|(name, n)| match n {
            0 => pax(&[("path", name.as_bytes()), ("mtime", b"1.5")]),
            1 => pax(&[("GNU.sparse.map", b"0,1,4,2"), ("GNU.sparse.size", b"9")]),
            _ => gnu_long(b'L', name.as_bytes()),
        }),
    ]
}

proptest! {
    #[test]
    fn damaged_archives_are_read_without_a_panic(
        members in prop::collection::vec(member(), 0..12),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = archive(&members);
        read(&bytes);
        for (at, value) in hits {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        read(&bytes);
        read(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn what_is_converted_is_a_sound_image(members in prop::collection::vec(member(), 0..12)) {
        let mut image = Cursor::new(Vec::new());
        let bytes = archive(&members);
        if convert(bytes.as_slice(), &mut image, 1 << 20, Limits::default()).is_ok() {
            let image = image.into_inner();
            let image = Image::open_whole(image.as_slice()).unwrap();
            image.tree(Limits::default(), 0).unwrap();
        }
    }

    #[test]
    fn documents_are_parsed_without_a_panic(
        keys in prop::collection::vec(
            prop::sample::select(vec![
                r#""schemaVersion":2"#, r#""manifests":[]"#, r#""layers":[]"#, r#""layers":{}"#,
                r#""config":{"mediaType":"m","digest":"d","size":1}"#, r#""config":null"#,
                r#""mediaType":"application/vnd.oci.image.index.v1+json""#,
            ]),
            0..5,
        ),
        noise in "[ -~]{0,40}",
    ) {
        let text = format!("{{{}}}", keys.join(","));
        let _ = Document::parse(text.as_bytes(), "");
        let _ = Document::parse(noise.as_bytes(), "");
    }
}
