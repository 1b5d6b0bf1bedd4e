//! Which name an image has: in what is loaded, in what is saved, and for others who read that.

use std::path::Path;
use std::process::Command;

use container_api::images::ArchiveFormat;
use container_resource::label::well_known::PULLED_FROM;
use serde_json::{Value, json};

use crate::craft::Image;
use crate::support::oci::{self, Layout};
use crate::support::registry::skopeo_inspect;
use crate::support::server::{Server, as_file};
use crate::support::tarball;

const APPLE: &str = "com.apple.containerization.image.name";
const CONTAINERD: &str = "io.containerd.image.name";
const SPECIFICATION: &str = "org.opencontainers.image.ref.name";

/// An archive of one image with these annotations.
fn annotated(annotations: &Value) -> Vec<u8> {
    let mut layout = Layout::default();
    let mut manifest = Image::odd(|_| {}).store(&mut layout);
    manifest["annotations"] = annotations.clone();
    layout.manifests.push(manifest);
    layout.archive()
}

/// The annotations of the only entry of an archive's index.
fn annotations(archive: &[u8]) -> Value {
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("a.tar"), archive).unwrap();
    let output = Command::new("tar")
        .args(["-xOf", "a.tar", "index.json"])
        .current_dir(scratch.path())
        .output()
        .unwrap();
    let index: Value = serde_json::from_slice(&output.stdout).unwrap();
    index["manifests"][0]["annotations"].clone()
}

#[tokio::test]
async fn the_first_annotation_that_is_a_reference_counts() {
    let mut server = Server::start().await;
    for (annotations, name, warns) in [
        (
            json!({ APPLE: "a:1", CONTAINERD: "c:1", SPECIFICATION: "s:1" }),
            "a:1",
            false,
        ),
        (
            json!({ CONTAINERD: "c:1", SPECIFICATION: "1" }),
            "c:1",
            false,
        ),
        (json!({ APPLE: "", SPECIFICATION: "s:1" }), "s:1", false),
        (
            json!({ APPLE: "NOT A NAME", CONTAINERD: "c:1" }),
            "c:1",
            false,
        ),
        (
            json!({ APPLE: null, SPECIFICATION: "docker.io/library/s:1" }),
            "s:1",
            false,
        ),
        (json!({ SPECIFICATION: "v1" }), "v1:latest", false),
        // What skopeo writes for a tag that could be no name.
        (json!({ SPECIFICATION: "RC1" }), "", true),
        (json!({ SPECIFICATION: "1.2.3+build5" }), "", true),
        (json!({ SPECIFICATION: "../../x" }), "", true),
        (json!({}), "", false),
        (json!(null), "", false),
    ] {
        let told = server
            .load_telling(as_file(&annotated(&annotations)), false)
            .await;
        let told = told.unwrap_or_else(|error| panic!("{annotations}: {error}"));
        let reference = &told.references[0];
        if name.is_empty() {
            assert!(
                reference.starts_with("untagged@sha256:"),
                "{annotations}: {told:?}"
            );
        } else {
            assert_eq!(
                *reference,
                format!("docker.io/library/{name}"),
                "{annotations}"
            );
        }
        assert_eq!(!told.warnings.is_empty(), warns, "{annotations}: {told:?}");
        assert!(told.errors.is_empty());
    }
}

/// Of several images that claim a name, the one that runs here gets it.
#[tokio::test]
async fn a_name_is_one_image_s() {
    for order in [[0, 1], [1, 0]] {
        let mut server = Server::start().await;
        let mut layout = Layout::default();
        let own = Image::odd(|_| {}).store(&mut layout);
        let other = Image::odd(|image| image.config["architecture"] = json!("riscv64"));
        let other = other.store(&mut layout);
        for place in order {
            layout.name([&own, &other][place].clone(), "same:1");
        }
        let told = server
            .load_telling(as_file(&layout.archive()), false)
            .await
            .unwrap();
        assert_eq!(told.references.len(), 2);
        assert!(told.warnings[0].contains("several images"), "{told:?}");
        assert!(server.prepare("same:1", "lease-1").await.is_ok());
    }
}

/// A tag is saved under its own name, whatever the image was called before; `skopeo` finds it by that name too.
#[tokio::test]
async fn what_is_saved_has_the_saved_name_only() {
    let mut server = Server::start().await;
    let mut stale = json!({ APPLE: "old/apple:1", CONTAINERD: "old/containerd:2", SPECIFICATION: "old", "kept": "yes" });
    // Nor is it believed that it was pulled.
    stale[PULLED_FROM] = json!("old/apple:1");
    server.load(&annotated(&stale)).await.unwrap();
    let loaded = server.get("old/apple:1").await.unwrap().descriptor;
    assert!(!String::from_utf8_lossy(&loaded).contains(PULLED_FROM));
    server.tag("old/apple:1", "new.example/x:2").await;
    for format in [ArchiveFormat::Oci, ArchiveFormat::Docker] {
        let archive = server.save("new.example/x:2", format).await.unwrap();
        let found = annotations(&archive);
        let name = "new.example/x:2";
        let expected = json!({ APPLE: name, CONTAINERD: name, SPECIFICATION: name, "kept": "yes" });
        assert_eq!(found, expected, "{format:?}");
        let mut other = Server::start().await;
        assert_eq!(other.load(&archive).await.unwrap(), [name], "{format:?}");
        assert_eq!(other.names().await, [name]);
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a.tar");
        std::fs::write(&path, &archive).unwrap();
        assert_eq!(
            skopeo_inspect(&format!("oci-archive:{}:{name}", path.display()))["Os"],
            "linux"
        );
        assert_eq!(skopeo_copies(&path, scratch.path()).await, [name]);
    }
    // One without a name gets none from what it was.
    let id = server.list().await[0]["id"].as_str().unwrap().to_owned();
    let untagged = format!("untagged@sha256:{id}");
    server
        .load(&annotated(&json!({ SPECIFICATION: "NO NAME" })))
        .await
        .unwrap();
    let archive = server.save(&untagged, ArchiveFormat::Oci).await.unwrap();
    assert_eq!(annotations(&archive), json!(null));
}

/// The names under which an archive loads that skopeo has copied.
async fn skopeo_copies(archive: &Path, scratch: &Path) -> Vec<String> {
    let copy = scratch.join("copy.tar");
    let name = "new.example/x:2";
    let status = Command::new("skopeo")
        .args(["copy", "--quiet", "--insecure-policy"])
        .arg(format!("oci-archive:{}:{name}", archive.display()))
        .arg(format!("oci-archive:{}:{name}", copy.display()))
        .status()
        .unwrap();
    assert!(status.success());
    let mut server = Server::start().await;
    server.load(&std::fs::read(copy).unwrap()).await.unwrap()
}

#[tokio::test]
async fn an_archive_of_several_images_keeps_all_names() {
    let mut server = Server::start().await;
    let tar = tarball::archive(&[tarball::file("a", "a")]);
    for name in ["one:1", "two:2"] {
        server
            .load(&oci::archive(name, &[oci::Layer::gzip(&tar)]))
            .await
            .unwrap();
    }
    let archive = server.save("one:1", ArchiveFormat::Oci).await.unwrap();
    let mut other = Server::start().await;
    assert_eq!(
        other.load(&archive).await.unwrap(),
        ["docker.io/library/one:1"]
    );
}
