//! Tar headers of programs that are long gone.

use crate::craft::Image;
use crate::support::oci::Layer;
use crate::support::server::Server;
use crate::support::tarball::{self, BLOCK, Member, checksum};

/// A member of five bytes, its header changed by `change`.
fn changed(name: &[u8], kind: u8, data: &[u8], change: impl FnOnce(&mut [u8; BLOCK])) -> Vec<u8> {
    let member = Member {
        data: data.to_vec(),
        ..Member::new(kind, name)
    };
    let mut bytes = member.bytes();
    let mut header: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
    change(&mut header);
    checksum(&mut header);
    bytes[..BLOCK].copy_from_slice(&header);
    bytes
}

fn put(header: &mut [u8; BLOCK], at: usize, text: &[u8]) {
    header[at..at + text.len()].copy_from_slice(text);
}

/// Where each member is found, as Go's `archive/tar` reads it.
#[tokio::test]
async fn old_headers_are_read_as_go_reads_them() {
    let long = format!("opt/{}", "a-long-directory-name/".repeat(6));
    let prefix = long.trim_end_matches('/').as_bytes().to_vec();
    let gnu = |header: &mut [u8; BLOCK]| put(header, 257, b"ustar  \0");
    let cases: Vec<(&str, Vec<u8>, Option<String>)> = vec![
        (
            "GNU magic with ustar's prefix, as Go wrote before 1.8",
            changed(b"index.js", b'0', b"hello", |header| {
                gnu(header);
                put(header, 108, b"\x80\0\0\0\0\x20\0\x01");
                put(header, 345, &prefix);
            }),
            Some(format!("{long}index.js")),
        ),
        (
            "GNU magic with its own times",
            changed(b"gnu-times", b'0', b"hello", |header| {
                gnu(header);
                put(header, 345, b"14762303231\0");
                put(header, 357, b"14762303231\0");
            }),
            Some("gnu-times".into()),
        ),
        (
            "Schilling's tar: times behind a shorter prefix",
            changed(b"star", b'0', b"hello", |header| {
                put(header, 345, b"schily");
                put(header, 476, b"14762303231\0");
                put(header, 508, b"tar\0");
            }),
            Some("schily/star".into()),
        ),
        (
            "V7: no magic at all",
            changed(b"v7", 0, b"hello", |header| header[257..].fill(0)),
            Some("v7".into()),
        ),
        (
            "V7: a directory is what ends in a slash",
            changed(b"v7-directory/", 0, b"", |header| header[257..].fill(0)),
            None,
        ),
        (
            "ustar without a version",
            changed(b"unversioned", b'0', b"hello", |header| {
                put(header, 263, b"\0\0");
                put(header, 345, b"prefix");
            }),
            Some("prefix/unversioned".into()),
        ),
        (
            "a small size in base 256, no owner",
            changed(b"base256", b'0', b"hello", |header| {
                put(header, 124, b"\x80\0\0\0\0\0\0\0\0\0\0\x05");
                put(header, 108, &[0; 8]);
            }),
            Some("base256".into()),
        ),
        (
            "blanks before numbers",
            changed(b"blanks", b'0', b"hello", |header| {
                put(header, 124, b"         5 \0");
            }),
            Some("blanks".into()),
        ),
    ];
    let members: Vec<Vec<u8>> = cases.iter().map(|(_, bytes, _)| bytes.clone()).collect();
    let mut server = Server::start().await;
    let layer = Layer::gzip(&tarball::archive(&members));
    server
        .load(&Image::new(&[layer]).archive("old"))
        .await
        .unwrap();
    let tree = server.extract("old").await;
    for (what, _, path) in &cases {
        let Some(path) = path else {
            assert!(tree.path().join("v7-directory").is_dir(), "{what}");
            continue;
        };
        let found = std::fs::read(tree.path().join(path));
        assert_eq!(found.ok().as_deref(), Some(b"hello".as_slice()), "{what}");
    }
    assert!(!tree.path().join("index.js").exists());
}

/// Old programs added up signed bytes.
#[tokio::test]
async fn a_checksum_may_be_that_of_signed_bytes() {
    let mut bytes = tarball::file("n\u{e9}", "x");
    let header = &mut bytes[..BLOCK];
    header[148..156].fill(b' ');
    let sum: i32 = header
        .iter()
        .map(|byte| i32::from(i8::from_ne_bytes([*byte])))
        .sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut server = Server::start().await;
    let layer = Layer::gzip(&tarball::archive(&[bytes]));
    server
        .load(&Image::new(&[layer]).archive("signed"))
        .await
        .unwrap();
}
