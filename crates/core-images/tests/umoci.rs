//! The root that a machine gets is the one that `umoci unpack` makes. As root only: owners and devices count.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::process::Command;

use support::oci::{self, Layer};
use support::server::{Server, compose};
use support::tarball::{Member, archive, directory, file, hard_link, pax, symlink};
use support::tree::{self, Listing};

/// Loads an image and gives its root as we see it and as umoci does.
async fn roots(image: &[u8], name: &str) -> (Listing, Listing) {
    let mut server = Server::start().await;
    server.load(image).await.unwrap();
    let root = server.prepare(name, "lease-1").await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let disk = scratch.path().join("disk");
    compose(&root, &disk);
    let ours = tree::of_disk(&disk);
    let theirs = unpack(&server.app_root().join("content"), name, scratch.path());
    (ours, theirs)
}

fn unpack(layout: &Path, name: &str, scratch: &Path) -> Listing {
    let image = format!("{}:docker.io/library/{name}:latest", layout.display());
    let bundle = scratch.join("bundle");
    let unpacked = Command::new("umoci")
        .args(["unpack", "--image", &image])
        .arg(&bundle)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&unpacked.stderr);
    assert!(unpacked.status.success(), "{said}");
    tree::of_directory(&bundle.join("rootfs"))
}

/// A layer with an explicit root, as builders write it.
fn layer(members: &[Vec<u8>]) -> Layer {
    let all: Vec<Vec<u8>> = [directory("./")]
        .into_iter()
        .chain(members.to_vec())
        .collect();
    Layer::gzip(&archive(&all))
}

#[tokio::test]
async fn hard_links_to_lower_layers() {
    let base = layer(&[
        directory("d"),
        [
            pax(&[("SCHILY.xattr.user.x", b"y")]),
            Member {
                mode: 0o4755,
                uid: 7,
                mtime: 1_600_000_000,
                data: b"old".to_vec(),
                ..Member::new(b'0', "d/f")
            }
            .bytes(),
        ]
        .concat(),
        file("d/g", "g"),
        file("d/h", "h"),
        symlink("s", "d"),
    ]);
    let upper = layer(&[
        directory("e"),
        hard_link("e/f", "d/f"),
        hard_link("e/again", "e/f"),
        hard_link("e/absolute", "/d/f"),
        hard_link("e/through", "s/g"),
        hard_link("e/link", "s"),
        hard_link("e/deleted", "d/h"),
        file("d/.wh.h", ""),
        hard_link("e/replaced", "d/g"),
        file("d/g", "new"),
    ]);
    let last = layer(&[hard_link("f", "e/deleted"), file(".wh.e", "")]);
    for layers in [vec![base.clone(), upper.clone()], vec![base, upper, last]] {
        let (ours, theirs) = roots(&oci::archive("links", &layers), "links").await;
        tree::assert_same(&ours, &theirs);
    }
}
