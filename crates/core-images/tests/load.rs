//! Loading archives and making roots of them, through the real program.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::io::Write;
use std::process::Command;

use container_api::Kind;
use container_api::images::{DeleteRequest, DiskUsageRequest, PruneRequest, TagRequest};
use serde_json::Value;
use support::oci::{self, Layer, Layout};
use support::server::{Server, compose};
use support::tarball;

fn base() -> Vec<u8> {
    tarball::archive(&[
        tarball::directory("bin/"),
        tarball::file("bin/tool", "tool"),
        tarball::symlink("sh", "bin/tool"),
        tarball::file("gone", "x"),
    ])
}

fn upper() -> Vec<u8> {
    tarball::archive(&[
        tarball::file(".wh.gone", ""),
        tarball::file("etc/new", "new"),
    ])
}

/// Extracts a composed disk with `fsck.erofs` of erofs-utils.
fn extract(disk: &std::path::Path, to: &std::path::Path) {
    let status = Command::new("fsck.erofs")
        .arg(format!("--extract={}", to.display()))
        .arg("--overwrite")
        .arg(disk)
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn an_archive_becomes_a_root() {
    let mut server = Server::start().await;
    for (name, pack) in [
        ("gzip", Layer::gzip as fn(&[u8]) -> Layer),
        ("zstd", Layer::zstd),
        ("plain", Layer::plain),
    ] {
        let archive = oci::archive(name, &[pack(&base()), pack(&upper())]);
        let loaded = server.load(&archive).await.unwrap();
        assert_eq!(loaded, [format!("docker.io/library/{name}:latest")]);
        let root = server.prepare(name, "lease-1").await.unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let disk = scratch.path().join("disk");
        compose(&root, &disk);
        let tree = scratch.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        extract(&disk, &tree);
        assert_eq!(std::fs::read(tree.join("sh")).unwrap(), b"tool");
        assert_eq!(std::fs::read(tree.join("etc/new")).unwrap(), b"new");
        assert!(!tree.join("gone").exists());
    }
    // Three ways to compress, but the same two layers.
    assert_eq!(server.files("layers").len(), 2);
}

#[tokio::test]
async fn an_archive_comes_through_a_pipe_and_compressed() {
    let mut server = Server::start().await;
    let archive = oci::gzip(&oci::archive("piped:1", &[Layer::gzip(&base())]));
    let (reader, mut writer) = std::io::pipe().unwrap();
    let feeder = std::thread::spawn(move || writer.write_all(&archive));
    let loaded = server.load_from(reader, false).await.unwrap();
    feeder.join().unwrap().unwrap();
    assert_eq!(loaded, ["docker.io/library/piped:1"]);
}

#[tokio::test]
async fn bad_archives_are_refused_and_leave_nothing() {
    let mut server = Server::start().await;
    let mut layout = Layout::default();
    let manifest = layout.manifest(oci::host(), &[Layer::gzip(&base())]);
    layout.name(manifest, "x");
    let good = layout.archive();

    let mut tampered = layout.clone();
    tampered.blobs[1].1[10] ^= 1;
    let mut missing = layout.clone();
    missing.blobs.remove(1);
    let mut no_layers = Layout::default();
    let empty = no_layers.manifest(oci::host(), &[]);
    no_layers.name(empty, "x");
    let mut foreign = Layout::default();
    let odd = Layer {
        media_type: "application/x-odd",
        ..Layer::gzip(&base())
    };
    let odd = foreign.manifest(oci::host(), &[odd]);
    foreign.name(odd, "x");
    let mut lying = Layout::default();
    let wrong_id = Layer {
        diff_id: oci::digest(b"something else"),
        ..Layer::gzip(&base())
    };
    let wrong_id = lying.manifest(oci::host(), &[wrong_id]);
    lying.name(wrong_id, "x");
    let mut escaping = Layout::default();
    let upwards = Layer::gzip(&tarball::archive(&[tarball::file("../x", "")]));
    let upwards = escaping.manifest(oci::host(), &[upwards]);
    escaping.name(upwards, "x");
    let mut dangling = Layout::default();
    let missing_target = Layer::gzip(&tarball::archive(&[tarball::hard_link("l", "f")]));
    let missing_target = dangling.manifest(oci::host(), &[Layer::gzip(&base()), missing_target]);
    dangling.name(missing_target, "x");
    let mut high = Layout::default();
    let many = high.manifest(oci::host(), &vec![Layer::plain(&base()); 5000]);
    high.name(many, "x");
    let with = |extra: Vec<u8>| tarball::archive(&[layout.members(), vec![extra]].concat());
    let mut linked = layout.members();
    linked.pop();
    linked.pop();
    linked.push(tarball::symlink("index.json", "/etc/passwd"));

    for (what, archive, text) in [
        ("truncated", good[..good.len() / 2].to_vec(), "truncated"),
        ("empty", Vec::new(), "neither index.json"),
        ("no tar", b"hello".repeat(1000), "checksum"),
        ("tampered blob", tampered.archive(), "tampered"),
        ("missing blob", missing.archive(), "missing"),
        ("diff id", lying.archive(), "configuration says"),
        ("layer upwards", escaping.archive(), "leads upwards"),
        (
            "hard link to nothing",
            dangling.archive(),
            "target is missing",
        ),
        ("5000 layers", high.archive(), "127 are the most"),
        ("no layers", no_layers.archive(), "no layers"),
        (
            "layer type",
            foreign.archive(),
            "media type application/x-odd not supported",
        ),
        ("symlinked index", tarball::archive(&linked), "index.json"),
        (
            "symlinked blob",
            with(tarball::symlink("blobs/sha256/x", "/etc/passwd")),
            "not allowed",
        ),
        (
            "device",
            with(tarball::device(b'3', "null", 1, 3)),
            "not allowed",
        ),
        (
            "upwards",
            with(tarball::file("a/../../x", "")),
            "rejected paths: a/../../x",
        ),
        (
            "absolute",
            with(tarball::file("/etc/x", "")),
            "rejected paths: /etc/x",
        ),
        (
            "twice",
            with(tarball::file("index.json", "{}")),
            "two members",
        ),
    ] {
        let error = server.load(&archive).await.unwrap_err();
        assert!(error.message().contains(text), "{what}: {error}");
        assert_ne!(error.kind, Kind::Internal, "{what}: {error:?}");
    }
    assert_eq!(server.names().await, Vec::<String>::new());
    assert_eq!(server.files("content/blobs/sha256"), Vec::<String>::new());
    assert_eq!(server.files("content/ingest"), Vec::<String>::new());
    assert_eq!(server.files("layers"), Vec::<String>::new());

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&with(tarball::file("../x", "y"))).unwrap();
    std::io::Seek::rewind(&mut file).unwrap();
    assert_eq!(
        server.load_from(file, true).await.unwrap(),
        ["docker.io/library/x:latest"]
    );
}

#[tokio::test]
async fn names_are_given_and_taken_away() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("one:1", &[Layer::gzip(&base())]))
        .await
        .unwrap();
    let tag = |source: &str, target: &str| TagRequest {
        source: source.into(),
        target: target.into(),
    };
    let tagged = server
        .client
        .tag(tag("one:1", "Host.example/two"))
        .await
        .unwrap();
    assert_eq!(tagged.into_inner().reference, "Host.example/two:latest");
    assert!(server.client.tag(tag("absent", "x")).await.is_err());
    assert!(
        server
            .client
            .tag(tag("one:1", "x@sha256:00"))
            .await
            .is_err()
    );
    let id = server.list().await[0]["id"].as_str().unwrap().to_owned();
    let one = "docker.io/library/one:1";
    for text in ["one:1", one, &id, &id[..12], &format!("one@sha256:{id}")] {
        assert!(server.get(text).await.is_ok(), "{text}");
    }
    let error = server.get("absent").await.unwrap_err();
    assert_eq!(
        (error.kind, error.message().as_str()),
        (Kind::NotFound, "image not found: absent")
    );

    let delete = |name: &str, force| DeleteRequest {
        references: vec![name.into()],
        force,
    };
    let reply = server
        .client
        .delete(delete("one:1", false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.deleted, [one]);
    assert_eq!(reply.reclaimed_bytes, 0, "the other name keeps everything");
    let reply = server
        .client
        .delete(delete("one:1", false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.errors, ["image not found: one:1"]);
    let reply = server
        .client
        .delete(delete("one:1", true))
        .await
        .unwrap()
        .into_inner();
    assert!(reply.errors.is_empty());
    let reply = server
        .client
        .delete(delete("Host.example/two", false))
        .await
        .unwrap()
        .into_inner();
    assert!(reply.reclaimed_bytes > 0);
    assert_eq!(server.files("content/blobs/sha256"), Vec::<String>::new());
}

#[tokio::test]
async fn a_lease_keeps_the_roots_of_a_container() {
    let mut server = Server::start().await;
    for (name, layer) in [("leased", base()), ("second", upper())] {
        server
            .load(&oci::archive(name, &[Layer::gzip(&layer)]))
            .await
            .unwrap();
    }
    let container = server.app_root().join("containers/box-1");
    std::fs::create_dir_all(&container).unwrap();
    let names = ["leased", "second"];
    let roots = server.prepare_all(&names, "box-1").await.unwrap();
    let extents = || roots.iter().flat_map(|root| &root.extents);
    let mut delete = DeleteRequest {
        references: names.map(str::to_owned).to_vec(),
        force: false,
    };
    let usage = |active: &[&str]| DiskUsageRequest {
        active: active.iter().map(|&name| name.to_owned()).collect(),
    };
    // One name is as good as the other, as long as there is one.
    let tag = TagRequest {
        source: "leased".into(),
        target: "other".into(),
    };
    server.client.tag(tag).await.unwrap();
    let asked = usage(&["docker.io/library/leased:latest"]);
    let used = server.client.disk_usage(asked).await.unwrap().into_inner();
    assert_eq!((used.total, used.active, used.reclaimable_bytes), (3, 1, 0));
    assert_eq!((used.views, used.active_views), (2, 2));
    // Rows and their sum: two names of one image have all of it together, and the third has its own.
    let unique: u64 = used
        .images
        .iter()
        .map(|image| image.size_bytes - image.shared_bytes)
        .sum();
    assert_eq!(
        unique + used.shared_bytes + used.unnamed_bytes,
        used.size_bytes
    );
    let shown: Vec<_> = used
        .images
        .iter()
        .map(|image| (image.reference.as_str(), image.shared_bytes > 0))
        .collect();
    assert_eq!(shown.len(), 3);
    for image in &used.images {
        let is_second = image.reference.contains("second");
        assert_eq!(
            image.size_bytes == image.shared_bytes,
            !is_second,
            "{shown:?}"
        );
        assert!(image.apparent_bytes > 0 && image.size_bytes > 0);
    }
    let reply = server
        .client
        .delete(delete.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(reply.deleted, ["docker.io/library/leased:latest"]);
    assert_eq!(
        reply.errors,
        ["conflict: unable to delete image second (must be forced): container box-1 is using it"]
    );
    let pruned = server
        .client
        .prune(PruneRequest { all: true })
        .await
        .unwrap();
    assert_eq!(pruned.into_inner().untagged, Vec::<String>::new());
    delete.references = vec!["other".into(), "second".into()];
    delete.force = true;
    let reply = server.client.delete(delete).await.unwrap().into_inner();
    assert_eq!((reply.deleted.len(), reply.errors.len()), (2, 0));
    // What the container needs takes space that nothing gives back.
    let used = server
        .client
        .disk_usage(usage(&[]))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((used.total, used.reclaimable_bytes), (0, 0));
    assert!(used.size_bytes > 0);
    assert_eq!(roots.len(), 2);
    assert!(extents().all(|extent| std::path::Path::new(&extent.path).exists()));
    std::fs::remove_dir(&container).unwrap();
    server
        .client
        .prune(PruneRequest { all: false })
        .await
        .unwrap();
    assert!(extents().all(|extent| !std::path::Path::new(&extent.path).exists()));
    assert_eq!(server.files("leases"), Vec::<String>::new());
}

#[tokio::test]
async fn a_killed_server_heals() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("kept", &[Layer::gzip(&base())]))
        .await
        .unwrap();
    let app_root = server.app_root();
    std::fs::create_dir_all(app_root.join("content/ingest/left")).unwrap();
    std::fs::write(app_root.join("layers/.writing-x"), "half").unwrap();
    let scratch = server.kill();
    let mut server = Server::start_in(scratch, &[]).await;
    assert_eq!(server.names().await, ["docker.io/library/kept:latest"]);
    assert_eq!(server.files("content/ingest"), Vec::<String>::new());
    assert_eq!(server.files("layers").len(), 1);

    let index = server.app_root().join("content/index.json");
    std::fs::write(&index, "").unwrap();
    let scratch = server.kill();
    let mut server = Server::start_in(scratch, &[]).await;
    // Its copy tells the same.
    assert_eq!(server.names().await, ["docker.io/library/kept:latest"]);
    server
        .client
        .prune(PruneRequest { all: true })
        .await
        .unwrap();
    assert_eq!(server.names().await, Vec::<String>::new());
    assert_eq!(server.files("content/blobs/sha256"), Vec::<String>::new());
    assert_eq!(server.files("layers"), Vec::<String>::new());
}

#[tokio::test]
async fn a_damaged_image_harms_only_itself() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("sound", &[Layer::gzip(&upper())]))
        .await
        .unwrap();
    let blobs = server.app_root().join("content/blobs/sha256");
    let kept = server.files("content/blobs/sha256");
    let hurt = oci::archive("hurt", &[Layer::gzip(&base())]);
    // The manifest, the configuration, the layer.
    let parts = |manifest: &str| {
        let path = |digest: &str| blobs.join(digest.trim_start_matches("sha256:"));
        let text = std::fs::read(path(manifest)).unwrap();
        let document: Value = serde_json::from_slice(&text).unwrap();
        let of = |part: &Value| path(part["digest"].as_str().unwrap());
        [
            path(manifest),
            of(&document["config"]),
            of(&document["layers"][0]),
        ]
    };
    for part in 0..3 {
        for damage in ["missing", "empty", "cut off", "a link"] {
            server.load(&hurt).await.unwrap();
            let digest = server.get("hurt").await.unwrap().manifest_digest;
            let path = &parts(&digest)[part];
            let whole = std::fs::read(path).unwrap();
            std::fs::remove_file(path).unwrap();
            match damage {
                "missing" => {}
                "empty" => std::fs::write(path, "").unwrap(),
                "cut off" => std::fs::write(path, &whole[..whole.len() / 2]).unwrap(),
                _ => std::os::unix::fs::symlink("/etc/hostname", path).unwrap(),
            }
            let what = format!("part {part} is {damage}");
            assert_eq!(server.names().await.len(), 2, "{what}");
            // The unpacked layer is all that a root needs of it.
            assert_eq!(server.get("hurt").await.is_ok(), part == 2, "{what}");
            server.prepare("sound", "lease-1").await.unwrap();
            let delete = DeleteRequest {
                references: vec!["hurt".into()],
                force: false,
            };
            let reply = server.client.delete(delete).await.unwrap().into_inner();
            assert!(reply.errors.is_empty(), "{what}: {reply:?}");
            assert_eq!(server.names().await, ["docker.io/library/sound:latest"]);
            assert_eq!(server.files("content/blobs/sha256"), kept, "{what}");
        }
    }
}
