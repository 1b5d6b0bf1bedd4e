//! What others say about our images: `fsck.erofs` (erofs-utils) must accept and extract them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use erofs::{Image, Kind, Limits, Metadata, View};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::{Entry, merge_any, write_layer};

/// Runs `fsck.erofs`, which is a declared dependency of the tests (package erofs-utils).
fn fsck(image: &[u8], extract: Option<&Path>) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), image).unwrap();
    let mut command = Command::new("fsck.erofs");
    if let Some(directory) = extract {
        let mut option = std::ffi::OsString::from("--extract=");
        option.push(directory);
        command
            .arg(option)
            .arg("--preserve-perms")
            .arg("--overwrite")
            .arg("--force");
    }
    let output = command
        .arg(file.path())
        .output()
        .expect("fsck.erofs of erofs-utils is needed");
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn fsck_accepts_layers_and_views() {
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let layers = prop::collection::vec(support::layer(), 1..4);
    runner
        .run(&layers, |layers| {
            for layer in &layers {
                prop_assert_eq!(fsck(&write_layer(layer).0, None), Ok(()));
            }
            let disk = merge_any(layers);
            prop_assert_eq!(fsck(&disk, None), Ok(()));
            Ok(())
        })
        .unwrap();
}

fn metadata(permissions: u16) -> Metadata {
    Metadata {
        permissions,
        ..Metadata::default()
    }
}

#[test]
fn fsck_extracts_what_was_put_in() {
    let many: Vec<Entry> = (0..1000)
        .map(|n| Entry::File {
            path: format!("many/file-{n:04}-{}", "x".repeat(n % 200)).into_bytes(),
            metadata: metadata(0o644),
            content: n.to_string().into_bytes(),
        })
        .collect();
    let lower = [
        vec![
            Entry::File {
                path: b"bin/tool".to_vec(),
                metadata: metadata(0o755),
                content: vec![0xa5; 10_000],
            },
            Entry::Link {
                path: b"bin/same".to_vec(),
                target: b"bin/tool".to_vec(),
            },
            Entry::Symlink {
                path: b"link".to_vec(),
                metadata: metadata(0o777),
                target: b"bin/tool".to_vec(),
            },
            Entry::File {
                path: b"gone".to_vec(),
                metadata: metadata(0o600),
                content: vec![1],
            },
            Entry::Special {
                path: b"pipe".to_vec(),
                metadata: metadata(0o600),
                kind: Kind::Fifo,
            },
        ],
        many,
    ]
    .concat();
    let upper = [
        Entry::Whiteout {
            path: b"gone".to_vec(),
        },
        Entry::File {
            path: b"bin/new".to_vec(),
            metadata: metadata(0o640),
            content: vec![7; 5000],
        },
    ];
    let layers = [write_layer(&lower).0, write_layer(&upper).0];
    let opened = layers
        .each_ref()
        .map(|bytes| Image::open_whole(bytes.as_slice()).unwrap());
    let view = View::merge(&opened, Limits::default()).unwrap();
    let mut disk = Vec::new();
    view.write(&mut disk, [1; 16]).unwrap();
    disk.extend_from_slice(&layers.concat());

    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    fsck(&disk, Some(root)).unwrap();
    assert_eq!(fs::read(root.join("bin/tool")).unwrap(), vec![0xa5; 10_000]);
    assert_eq!(fs::read(root.join("bin/new")).unwrap(), vec![7; 5000]);
    assert_eq!(
        fs::metadata(root.join("bin/new"))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777,
        0o640
    );
    assert_eq!(
        fs::read_link(root.join("link")).unwrap(),
        Path::new("bin/tool")
    );
    assert!(!root.join("gone").exists());
    assert!(
        fs::symlink_metadata(root.join("pipe"))
            .unwrap()
            .file_type()
            .is_fifo()
    );
    assert_eq!(fs::read_dir(root.join("many")).unwrap().count(), 1000);
    assert_eq!(fs::read(root.join("many/file-0001-x")).unwrap(), b"1");
    assert_eq!(fs::metadata(root.join("bin/same")).unwrap().size(), 10_000);
}
