//! What is damaged on the disk is made anew or refused; the bounds of unpacking.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use container_api::Kind;
use container_api::images::{ListRequest, Root};
use support::oci::{self, Layer};
use support::server::Server;
use support::tarball;

fn layer() -> Layer {
    let noise: Vec<u8> = (0..100_000)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    Layer::gzip(&tarball::archive(&[
        tarball::file("noise", noise),
        tarball::file("etc/motd", "hello"),
    ]))
}

fn paths(root: &Root) -> Vec<PathBuf> {
    root.extents
        .iter()
        .map(|extent| extent.path.clone().into())
        .collect()
}

/// Changes a file of the store as a failing disk would, or whoever got around its mode.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = std::fs::read(path).unwrap();
    change(&mut content);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn damaged_layers_and_views_are_made_anew() {
    let mut server = Server::start().await;
    let archive = oci::archive("x", &[layer()]);
    server.load(&archive).await.unwrap();
    let root = server.prepare("x", "lease").await.unwrap();
    let files = paths(&root);
    assert_eq!(files.len(), 2);
    let good: Vec<Vec<u8>> = files
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let changes: [fn(&mut Vec<u8>); 4] = [
        |content| content.truncate(4096),
        |content| content.clear(),
        |content| {
            let middle = content.len() / 2;
            content[middle] ^= 1;
        },
        |content| content.extend([0; 4096]),
    ];
    for (path, good) in files.iter().zip(&good) {
        let mode = path.metadata().unwrap().mode();
        assert_eq!(mode & 0o777, 0o444, "{}", path.display());
        for change in changes {
            damage(path, change);
            let again = server.prepare("x", "lease").await.unwrap();
            assert_eq!(paths(&again), files);
            assert!(std::fs::read(path).unwrap() == *good, "{}", path.display());
        }
        std::fs::remove_file(path).unwrap();
        server.prepare("x", "lease").await.unwrap();
        assert!(std::fs::read(path).unwrap() == *good);
        // Finished by nobody.
        std::fs::remove_file(path.with_extension("seal")).unwrap();
        damage(path, |content| content.fill(7));
        server.load(&archive).await.unwrap();
        assert!(std::fs::read(path).unwrap() == *good);
        // Nothing is written where nothing is wrong, though the process is another one.
        let inode = path.metadata().unwrap().ino();
        let scratch = server.kill();
        server = Server::start_in(scratch, &[]).await;
        let again = server.prepare("x", "lease").await.unwrap();
        assert_eq!(path.metadata().unwrap().ino(), inode);
        let stamps = |root: &Root| -> Vec<String> {
            root.extents
                .iter()
                .map(|extent| extent.stamp.clone())
                .collect()
        };
        let once_more = server.prepare("x", "lease").await.unwrap();
        assert_eq!(stamps(&again), stamps(&once_more));
        assert!(stamps(&again).iter().all(|stamp| !stamp.is_empty()));
    }
}

#[tokio::test]
async fn caches_are_made_anew_whatever_became_of_their_directories() {
    let mut server = Server::start().await;
    let archive = oci::archive("x", &[layer()]);
    server.load(&archive).await.unwrap();
    let files = paths(&server.prepare("x", "lease").await.unwrap());
    let good = |files: &[PathBuf]| {
        files
            .iter()
            .all(|file| file.metadata().is_ok_and(|file| file.len() > 0))
    };
    let changes: [fn(&Path); 4] = [
        |_| {},
        |path| std::fs::write(path, "in its place").unwrap(),
        |path| std::os::unix::fs::symlink("nowhere", path).unwrap(),
        |path| {
            std::fs::create_dir(path).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o000)).unwrap();
        },
    ];
    for cache in ["layers", "views", "cache", "leases"] {
        for change in changes {
            let path = server.app_root().join(cache);
            let harm = || {
                std::fs::remove_dir_all(&path).unwrap();
                change(&path);
            };
            harm();
            assert_eq!(paths(&server.prepare("x", "lease").await.unwrap()), files);
            assert!(good(&files), "{cache}");
            harm();
            server.load(&archive).await.unwrap();
            server.prepare("x", "lease").await.unwrap();
            assert!(good(&files), "{cache}");
        }
        // Found by a new process, too.
        std::fs::remove_dir_all(server.app_root().join(cache)).unwrap();
        std::fs::write(server.app_root().join(cache), "").unwrap();
        let scratch = server.kill();
        server = Server::start_in(scratch, &[]).await;
        assert_eq!(paths(&server.prepare("x", "lease").await.unwrap()), files);
    }
}

#[tokio::test]
async fn images_that_are_gone_are_told_of() {
    let mut server = Server::start().await;
    let archive = oci::archive("x", &[layer()]);
    server.load(&archive).await.unwrap();
    let content = server.app_root().join("content");
    std::fs::remove_dir_all(&content).unwrap();
    for in_its_place in [false, true] {
        if in_its_place {
            std::fs::write(&content, "").unwrap();
        }
        let listed = server.client.list(ListRequest {}).await.map(drop);
        let errors = [
            container_api::Error::from(listed.unwrap_err()),
            server.load(&archive).await.unwrap_err(),
            server.get("x").await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind, Kind::InvalidState, "{error}");
            assert!(error.message().contains("the images are gone"), "{error}");
            assert!(error.hint.unwrap().contains("container system start"));
        }
    }
    std::fs::remove_file(&content).unwrap();
    let scratch = server.kill();
    let mut server = Server::start_in(scratch, &[]).await;
    assert_eq!(server.names().await, Vec::<String>::new());
    server.load(&archive).await.unwrap();
    // Without its blobs alone, the next load mends it.
    std::fs::remove_dir_all(server.app_root().join("content/blobs")).unwrap();
    server.load(&archive).await.unwrap();
    server.prepare("x", "lease").await.unwrap();
}

#[tokio::test]
async fn two_starts_of_a_damaged_image_make_it_once() {
    let mut server = Server::start().await;
    server.load(&oci::archive("x", &[layer()])).await.unwrap();
    let root = server.prepare("x", "lease").await.unwrap();
    let files = paths(&root);
    for path in &files {
        damage(path, |content| content.truncate(4096));
    }
    let manifest = server.get("x").await.unwrap().manifest_digest;
    let ask = |lease: &str| container_api::images::PrepareRootsRequest {
        manifest_digests: vec![manifest.clone()],
        lease: lease.into(),
    };
    let mut others: Vec<_> = (0..8).map(|_| server.client.clone()).collect();
    let asked = others
        .iter_mut()
        .enumerate()
        .map(|(n, client)| client.prepare_roots(ask(&format!("l{n}"))));
    let roots = futures::future::try_join_all(asked).await.unwrap();
    for reply in roots {
        let again = &reply.into_inner().roots[0];
        assert_eq!(again.size, root.size);
        for extent in &again.extents {
            let found = std::fs::metadata(&extent.path).unwrap();
            assert_eq!(found.len(), extent.length);
        }
    }
}

#[tokio::test]
async fn a_damaged_blob_is_refused_and_comes_again() {
    let mut server = Server::start().await;
    let layer = layer();
    let blob = server
        .app_root()
        .join("content/blobs/sha256")
        .join(&oci::digest(&layer.blob)["sha256:".len()..]);
    let archive = oci::archive("x", &[layer]);
    server.load(&archive).await.unwrap();
    let root = server.prepare("x", "lease").await.unwrap();
    let unpacked = paths(&root)[1].clone();
    let both = || {
        damage(&blob, |content| content[50] ^= 1);
        damage(&unpacked, |content| content.truncate(4096));
    };
    both();
    let error = server.prepare("x", "lease").await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidState);
    assert!(
        error.message().contains("is damaged in the store"),
        "{error}"
    );
    assert_eq!(error.hint.as_deref(), Some("Pull or load the image again."));
    assert!(!blob.exists());
    // Told the same way until it comes again.
    let error = server.prepare("x", "lease").await.unwrap_err();
    assert!(
        error.message().contains("not in the store any more"),
        "{error}"
    );
    assert_eq!(error.hint.as_deref(), Some("Pull or load the image again."));
    server.load(&archive).await.unwrap();
    server.prepare("x", "lease").await.unwrap();
    both();
    server.load(&archive).await.unwrap();
    server.prepare("x", "lease").await.unwrap();
}

#[tokio::test]
async fn damaged_documents_are_told_of() {
    let mut server = Server::start().await;
    let archive = oci::archive("x", &[layer()]);
    server.load(&archive).await.unwrap();
    let manifest = server.get("x").await.unwrap().manifest_digest;
    let path = server
        .app_root()
        .join("content/blobs/sha256")
        .join(&manifest["sha256:".len()..]);
    damage(&path, |content| {
        let text = String::from_utf8(std::mem::take(content)).unwrap();
        *content = text.replacen("\"size\"", "\"sIze\"", 1).into_bytes();
    });
    let error = server.get("x").await.unwrap_err();
    assert!(error.message().contains("is damaged"), "{error}");
    server.load(&archive).await.unwrap();
    server.get("x").await.unwrap();
    // The index itself: what cannot be recovered is an error, and stays as it is.
    for name in ["index.json", "index.copy.json"] {
        std::fs::write(server.app_root().join("content").join(name), "{").unwrap();
    }
    let scratch = server.kill();
    let mut server = Server::start_in(scratch, &[]).await;
    let error = server.client.list(ListRequest {}).await.unwrap_err();
    let error = container_api::Error::from(error);
    assert_eq!(error.kind, Kind::InvalidState);
    assert!(error.message().contains("index.json"), "{error}");
    assert!(error.hint.unwrap().contains("index.copy.json"));
    let error = server.load(&archive).await.unwrap_err();
    assert!(error.message().contains("index.json"), "{error}");
    let index = server.app_root().join("content/index.json");
    assert_eq!(std::fs::read_to_string(index).unwrap(), "{");
}

fn config(scratch: &tempfile::TempDir, text: &str) {
    let directory = scratch.path().join("app/config");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("config.toml"), text).unwrap();
}

#[tokio::test]
async fn what_unpacks_to_too_much_is_refused_with_its_bound() {
    let zeros = |megabytes: usize, name: &str| {
        Layer::gzip(&tarball::archive(&[tarball::file(
            name,
            vec![0; megabytes << 20],
        )]))
    };
    for (settings, layers, text) in [
        (
            "maxLayerSize = \"1mb\"",
            vec![zeros(2, "a")],
            "unpacks to more than 1 MiB, the most for one layer (image.maxLayerSize)",
        ),
        (
            "maxUnpackedSize = \"3mb\"",
            vec![zeros(2, "a"), zeros(2, "b")],
            "image.maxUnpackedSize",
        ),
        (
            "maxStoreSize = \"1kb\"",
            vec![zeros(2, "a")],
            "for all layers (image.maxStoreSize)",
        ),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        config(&scratch, &format!("[image]\n{settings}\n"));
        let mut server = Server::start_in(scratch, &[]).await;
        let error = server.load(&oci::archive("x", &layers)).await.unwrap_err();
        assert_eq!(error.kind, Kind::Exhausted, "{error}");
        assert!(error.message().contains(text), "{error}");
        assert!(error.hint.unwrap().contains("raise image."), "{text}");
        assert_eq!(server.files("layers"), Vec::<String>::new());
        assert_eq!(server.files("views"), Vec::<String>::new());
    }
    // Within them, zeros take no space.
    let mut server = Server::start().await;
    server
        .load(&oci::archive("x", &[zeros(8, "a")]))
        .await
        .unwrap();
    let root = server.prepare("x", "lease").await.unwrap();
    let found = std::fs::metadata(&root.extents[1].path).unwrap();
    assert!(found.len() > 8 << 20);
    assert!(found.blocks() * 512 < 1 << 20, "{}", found.blocks() * 512);
}

#[tokio::test]
async fn a_hostile_path_is_refused_with_its_reason() {
    let mut server = Server::start().await;
    let deep = "d/".repeat(200_000);
    let member = [
        tarball::pax(&[("path", deep.as_bytes())]),
        tarball::directory("x"),
    ]
    .concat();
    let archive = oci::archive("x", &[Layer::gzip(&tarball::archive(&[member]))]);
    let error = server.load(&archive).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidArgument);
    assert!(
        error.message().contains("a path is longer than 4095 bytes"),
        "{error}"
    );
    assert!(error.message().len() < 1000, "{}", error.message().len());
}
