//! Saving, loading what others save, importing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::process::Command;

use container_api::images::ArchiveFormat;
use container_api::{Error, Kind};
use serde_json::{Value, json};
use support::oci::{self, Layout};
use support::registry::skopeo_inspect;
use support::schema;
use support::server::Server;
use support::tarball;

/// Fails unless the layout in `directory` is written as the image specification says.
fn validate(directory: &Path) {
    let json =
        |path: &Path| -> Value { serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap() };
    let blob = |descriptor: &Value| {
        let digest = descriptor["digest"].as_str().unwrap().replace(':', "/");
        directory.join("blobs").join(digest)
    };
    schema::validate("image-layout-schema", &directory.join("oci-layout"));
    let index = directory.join("index.json");
    schema::validate("image-index-schema", &index);
    for descriptor in json(&index)["manifests"].as_array().unwrap() {
        let manifest = blob(descriptor);
        schema::validate("image-manifest-schema", &manifest);
        schema::validate("config-schema", &blob(&json(&manifest)["config"]));
    }
}

/// What skopeo says of an archive.
fn skopeo(transport: &str, archive: &Path) -> Value {
    skopeo_inspect(&format!("{transport}:{}", archive.display()))
}

#[tokio::test]
async fn what_is_saved_others_read_and_so_do_we() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("saved:1", &[oci::tool("tool")]))
        .await
        .unwrap();
    let scratch = tempfile::tempdir().unwrap();
    for (format, transport) in [
        (ArchiveFormat::Oci, "oci-archive"),
        (ArchiveFormat::Docker, "docker-archive"),
    ] {
        let archive = server.save("saved:1", format).await.unwrap();
        assert!(archive.ends_with(&tarball::end()));
        let path = scratch.path().join(transport);
        std::fs::write(&path, &archive).unwrap();
        assert_eq!(skopeo(transport, &path)["Architecture"], oci::host());
        let mut other = Server::start().await;
        assert_eq!(
            other.load(&archive).await.unwrap(),
            ["docker.io/library/saved:1"]
        );
        let (ours, theirs) = (
            server.get("saved:1").await.unwrap(),
            other.get("saved:1").await.unwrap(),
        );
        assert_eq!(ours.manifest_digest, theirs.manifest_digest);
    }
    let error = server.save("absent", ArchiveFormat::Oci).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn the_store_is_a_layout_that_skopeo_and_umoci_read() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("plain", &[oci::tool("tool")]))
        .await
        .unwrap();
    let image = format!(
        "{}:docker.io/library/plain:latest",
        server.app_root().join("content").display()
    );
    let inspected = Command::new("skopeo")
        .args(["inspect", &format!("oci:{image}")])
        .status()
        .unwrap();
    assert!(inspected.success());
    let scratch = tempfile::tempdir().unwrap();
    let bundle = scratch.path().join("bundle");
    let unpacked = Command::new("umoci")
        .args(["unpack", "--rootless", "--image", &image])
        .arg(&bundle)
        .status()
        .unwrap();
    assert!(unpacked.success());
    assert_eq!(
        std::fs::read(bundle.join("rootfs/bin/tool")).unwrap(),
        b"tool"
    );
}

/// As Docker wrote before version 25: a directory per layer, equal layers as links, everything uncompressed.
fn docker_archive() -> Vec<u8> {
    let tar = tarball::archive(&[tarball::file("a", "a")]);
    let config = json!({
        "architecture": oci::host(),
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [oci::digest(&tar), oci::digest(&tar)] },
    });
    let manifest = json!([{
        "Config": "c0ffee.json",
        "RepoTags": ["old/image:1", "old/image:2"],
        "Layers": ["one/layer.tar", "two/layer.tar"],
    }]);
    tarball::archive(&[
        tarball::file("c0ffee.json", config.to_string()),
        tarball::directory("one/"),
        tarball::file("one/layer.tar", &tar),
        tarball::directory("two/"),
        tarball::symlink("two/layer.tar", "../one/layer.tar"),
        tarball::file("manifest.json", manifest.to_string()),
    ])
}

#[tokio::test]
async fn archives_of_docker_save_are_loaded() {
    let mut server = Server::start().await;
    let loaded = server.load(&docker_archive()).await.unwrap();
    assert_eq!(loaded, ["docker.io/old/image:1", "docker.io/old/image:2"]);
    server.prepare("old/image:1", "lease-1").await.unwrap();
}

#[tokio::test]
async fn an_index_keeps_its_platforms() {
    let mut server = Server::start().await;
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    for (architecture, platform) in [
        (
            oci::host(),
            json!({"os": "linux", "architecture": oci::host()}),
        ),
        ("riscv64", json!({"os": "linux", "architecture": "riscv64"})),
    ] {
        let mut manifest = layout.manifest(architecture, &[oci::tool("tool")]);
        manifest["platform"] = platform;
        manifests.push(manifest);
    }
    // One that was not brought along.
    manifests.push(json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": oci::digest(b"elsewhere"),
        "size": 9,
        "platform": {"os": "linux", "architecture": "s390x"},
    }));
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let index = layout.document(media_type, &index);
    layout.name(index, "multi");
    server.load(&layout.archive()).await.unwrap();
    let image = &server.list().await[0];
    assert_eq!(image["variants"].as_array().unwrap().len(), 2);
    let request = container_api::images::GetRequest {
        reference: "multi".into(),
        platform: "linux/s390x".into(),
    };
    let error = Error::from(server.client.get(request).await.unwrap_err());
    let text = format!(
        "no content for platform linux/s390x, available platforms: linux/{}, linux/riscv64",
        oci::host()
    );
    assert!(error.message().contains(&text), "{error}");
}

#[tokio::test]
async fn a_root_file_system_is_imported() {
    let mut server = Server::start().await;
    let tar = oci::gzip(&tarball::archive(&[tarball::file("bin/tool", "tool")]));
    let changes = ["CMD [\"tool\"]", "ENV A=b"];
    let reply = server.import(&tar, "imported", &changes).await.unwrap();
    assert_eq!(reply.reference, "docker.io/library/imported:latest");
    let untagged = server.import(&tar, "", &[]).await.unwrap();
    assert!(untagged.reference.starts_with("untagged@sha256:"));
    let blobs = server.files("content/blobs/sha256").len();
    let dangling = tarball::archive(&[tarball::hard_link("l", "../../etc/shadow")]);
    for (tar, changes) in [
        (dangling.as_slice(), [].as_slice()),
        (&tar, &["RUN x"]),
        (&tar[..50], &[]),
        (&[], &[]),
    ] {
        let error = server.import(tar, "x", changes).await.unwrap_err();
        assert_eq!(error.kind, Kind::InvalidArgument);
        assert_eq!(server.files("content/blobs/sha256").len(), blobs, "{error}");
    }
    let config = server.get("imported").await.unwrap().config;
    let config: Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["config"], json!({"Cmd": ["tool"], "Env": ["A=b"]}));
    server.prepare("imported", "lease-1").await.unwrap();
}

#[tokio::test]
async fn who_takes_the_wrong_command_is_told_of_the_right_one() {
    let mut server = Server::start().await;
    let root = tarball::archive(&[tarball::file("bin/tool", "tool")]);
    let error = server.load(&root).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidArgument);
    assert!(error.hint.unwrap().contains("container image import"));
    let imported = server.import(&root, "imported:1", &[]).await.unwrap();
    assert_eq!(imported.warnings, Vec::<String>::new());
    for format in [ArchiveFormat::Oci, ArchiveFormat::Docker] {
        let archive = server.save("imported:1", format).await.unwrap();
        for archive in [&archive, &oci::gzip(&archive)] {
            let reply = server.import(archive, "wrong:1", &[]).await.unwrap();
            assert!(
                reply.warnings[0].contains("container image load"),
                "{reply:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_is_written_is_as_the_schemas_say() {
    let mut server = Server::start().await;
    let tar = tarball::archive(&[tarball::file("bin/tool", "tool")]);
    let changes = ["CMD [\"tool\"]", "ENV A=b", "WORKDIR /srv", "USER 1:1"];
    server.import(&tar, "imported:1", &changes).await.unwrap();
    validate(&server.app_root().join("content"));
    let archive = server.save("imported:1", ArchiveFormat::Oci).await.unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("archive");
    std::fs::write(&path, archive).unwrap();
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&path)
        .arg("-C")
        .arg(scratch.path())
        .status();
    assert!(status.unwrap().success());
    validate(scratch.path());
}
