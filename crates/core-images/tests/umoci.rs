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

/// A directory with everything that GNU tar can keep, as one layer of an image.
fn packed(name: &str, root: &Path) -> Vec<u8> {
    let tar = Command::new("tar")
        .args(["--create", "--xattrs", "--numeric-owner", "--directory"])
        .arg(root)
        .arg(".")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tar.stderr);
    assert!(tar.status.success(), "{said}");
    oci::archive(name, &[Layer::gzip(&tar.stdout)])
}

#[tokio::test]
async fn files_of_this_machine() {
    let scratch = tempfile::tempdir().unwrap();
    let script = r#"
        set -e; cd "$0"; mkdir -p r/usr/share; cd r
        cp -a /etc .; cp -a /usr/share/zoneinfo usr/share
        mkdir -m 3777 special; cd special
        mkfifo -m 600 pipe; mknod -m 640 null c 1 3; mknod -m 660 disk b 300 70000
        echo x > setid; chown 1234:70000 setid; chmod 6711 setid
        ln setid again; ln -s ../etc link; ln link same; ln pipe fifo
        touch -d @1 old; touch -d @4000000000 new; truncate -s 1M hole; echo end >> hole
        printf x > "$(printf 'no \377 utf-8')"; printf x > "$(printf '%0255d' 0)"
    "#;
    let attributes = "import os, sys; os.setxattr(sys.argv[1], 'user.x', bytes(range(256))); \
        os.setxattr(sys.argv[1], 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))";
    for words in [["bash", "-c", script], ["python3", "-c", attributes]] {
        let [program, option, text] = words;
        let on = match program {
            "bash" => scratch.path().to_path_buf(),
            _ => scratch.path().join("r/special/setid"),
        };
        let made = Command::new(program).args([option, text]).arg(on).status();
        assert!(made.unwrap().success(), "{program}");
    }
    let image = packed("machine", &scratch.path().join("r"));
    let (ours, theirs) = roots(&image, "machine").await;
    assert!(ours.len() > 1000, "{}", ours.len());
    let setid = &ours[b"/special/setid".as_slice()];
    assert!(setid.starts_with("106711 1234:70000 "), "{setid}");
    assert!(setid.ends_with("=/special/again"), "{setid}");
    tree::assert_same(&ours, &theirs);
}

/// Takes a minute and a mirror of Debian: run it by hand, as root, after changes to the conversion.
#[tokio::test]
#[ignore = "downloads a Debian root by debootstrap"]
async fn a_whole_debian_root() {
    let scratch = tempfile::tempdir().unwrap();
    let made = Command::new("debootstrap")
        .args(["--variant=minbase", "stable"])
        .arg(scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success(), "{said}");
    let (ours, theirs) = roots(&packed("debian", scratch.path()), "debian").await;
    assert!(ours.len() > 5000, "{}", ours.len());
    tree::assert_same(&ours, &theirs);
}
