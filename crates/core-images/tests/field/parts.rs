//! One bad part of an archive or an index spoils that part, and no other.

use container_api::images::ArchiveFormat;
use serde_json::{Value, json};

use crate::craft::{Image, index, of_platform};
use crate::support::oci::{self, Layer, Layout};
use crate::support::server::{Server, as_file};
use crate::support::tarball;

fn image(content: &str) -> Image {
    Image::new(&[oci::tool(content)])
}

/// A layer that cannot be unpacked.
fn bad_layer() -> Layer {
    Layer::gzip(&tarball::archive(&[tarball::file("../x", "")]))
}

/// What each archive loads, beside an image that is whole, and what is told of the rest.
#[tokio::test]
async fn a_bad_image_spoils_no_other() {
    type Spoil = Box<dyn FnOnce(&mut Layout)>;
    let cases: Vec<(&str, Spoil, &str)> = vec![
        (
            "a blob is missing",
            Box::new(|layout| {
                let config = layout.blobs.len();
                let manifest = image("other").store(layout);
                layout.blobs.remove(config);
                layout.name(manifest, "bad");
            }),
            "missing",
        ),
        (
            "a layer is refused",
            Box::new(|layout| {
                let manifest = Image::new(&[bad_layer()]).store(layout);
                layout.name(manifest, "bad");
            }),
            "leads upwards",
        ),
        (
            "no container can be made",
            Box::new(|layout| {
                let mut odd = image("other");
                odd.config["config"] = json!({ "Cmd": 7 });
                let manifest = odd.store(layout);
                layout.name(manifest, "bad");
            }),
            "no container can be made",
        ),
        (
            "an entry is invalid",
            Box::new(|layout| layout.manifests.push(json!({ "size": 1 }))),
            "entry 2",
        ),
        (
            "an entry is of another kind",
            Box::new(|layout| layout.manifests.push(json!("x"))),
            "entry 2",
        ),
        (
            "an unknown digest",
            Box::new(|layout| {
                layout.name(json!({ "digest": "sha512:00", "size": 1 }), "bad");
            }),
            "sha512:00",
        ),
    ];
    for (what, spoil, text) in cases {
        let mut server = Server::start().await;
        let mut layout = Layout::default();
        let manifest = image("good").store(&mut layout);
        layout.name(manifest, "good");
        spoil(&mut layout);
        let told = server.load_telling(as_file(&layout.archive()), false).await;
        let told = told.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(told.references, ["docker.io/library/good:latest"], "{what}");
        assert_eq!(told.errors.len(), 1, "{what}: {told:?}");
        assert!(told.errors[0].contains(text), "{what}: {told:?}");
        server.prepare("good", "lease-1").await.unwrap();
        assert_eq!(server.files("content/blobs/sha256").len(), 3, "{what}");
    }
}

#[tokio::test]
async fn a_bad_image_of_docker_save_spoils_no_other() {
    let mut server = Server::start().await;
    let tar = tarball::archive(&[tarball::file("bin/tool", "tool")]);
    let config = json!({ "rootfs": { "type": "layers", "diff_ids": [oci::digest(&tar)] } });
    let manifest = json!([
        { "Config": "c.json", "RepoTags": ["null:1"], "Layers": null },
        { "Config": "absent.json", "RepoTags": ["absent:1"], "Layers": ["l.tar"] },
        { "Config": 7 },
        { "Config": "c.json", "RepoTags": ["good:1", "RC1"], "Layers": ["l.tar"] },
    ]);
    let archive = tarball::archive(&[
        tarball::file("manifest.json", manifest.to_string()),
        tarball::file("c.json", config.to_string()),
        tarball::file("l.tar", &tar),
    ]);
    let told = server.load_telling(as_file(&archive), false).await.unwrap();
    assert_eq!(told.references, ["docker.io/library/good:1"]);
    assert_eq!(told.errors.len(), 3, "{told:?}");
    for (text, place) in [("absent.json", 0), ("entry 3", 1), ("no layers", 2)] {
        assert!(told.errors[place].contains(text), "{told:?}");
    }
    assert!(told.warnings[0].contains("RC1"), "{told:?}");
}

/// An index of two images, an attestation, and something odd.
struct Index {
    layout: Layout,
    manifests: Vec<Value>,
}

impl Index {
    fn new() -> Self {
        let mut layout = Layout::default();
        let own = image("own").store(&mut layout);
        let own = of_platform(own, "linux", oci::host());
        let manifests = vec![own];
        Self { layout, manifests }
    }

    /// Adds a manifest of which only these of its blobs are there: configuration, layer, manifest.
    fn partial(mut self, architecture: &str, here: [bool; 3]) -> Self {
        let os = if architecture == "unknown" {
            "unknown"
        } else {
            "linux"
        };
        let at = self.layout.blobs.len();
        let mut other = image(architecture);
        other.config["architecture"] = json!(architecture);
        other.config["os"] = json!(os);
        let manifest = other.store(&mut self.layout);
        for place in (0..3).rev().filter(|place| !here[*place]) {
            self.layout.blobs.remove(at + place);
        }
        self.manifests.push(of_platform(manifest, os, architecture));
        self
    }

    fn archive(mut self) -> Vec<u8> {
        let descriptor = index(&mut self.layout, &self.manifests);
        self.layout.name(descriptor, "multi");
        self.layout.archive()
    }
}

/// Platforms that were not brought along, and attestations without their statements, are no fault.
#[tokio::test]
async fn what_was_not_brought_along_is_no_fault() {
    for (what, architecture, here, variants) in [
        ("no manifest", "riscv64", [false, false, false], 1),
        ("the manifest alone", "riscv64", [false, false, true], 1),
        ("no layer", "riscv64", [true, false, true], 1),
        ("no configuration", "riscv64", [false, true, true], 1),
        ("all of it", "riscv64", [true, true, true], 2),
        ("an attestation", "unknown", [true, true, true], 1),
        (
            "an attestation without its statement",
            "unknown",
            [true, false, true],
            1,
        ),
        (
            "an attestation's manifest alone",
            "unknown",
            [false, false, true],
            1,
        ),
    ] {
        let mut server = Server::start().await;
        let loaded = server
            .load(&Index::new().partial(architecture, here).archive())
            .await;
        assert!(loaded.is_ok(), "{what}: {loaded:?}");
        server.prepare("multi", "lease-1").await.unwrap();
        let image = &server.list().await[0];
        assert_eq!(
            image["variants"].as_array().unwrap().len(),
            variants,
            "{what}"
        );
        // What is here can be passed on.
        let archive = server.save("multi", ArchiveFormat::Oci).await.unwrap();
        let mut other = Server::start().await;
        other.load(&archive).await.unwrap();
        other.prepare("multi", "lease-1").await.unwrap();
    }
}

/// What this machine would run is missing: the rest is loaded, and the loss is told.
#[tokio::test]
async fn a_part_for_this_machine_is_missed() {
    let mut server = Server::start().await;
    let mut whole = Index::new();
    // The own layer.
    whole.layout.blobs.remove(1);
    let archive = whole.partial("riscv64", [true, true, true]).archive();
    let told = server.load_telling(as_file(&archive), false).await.unwrap();
    assert_eq!(told.references, ["docker.io/library/multi:latest"]);
    assert!(
        told.errors[0].contains("a part of the archive's image"),
        "{told:?}"
    );
    assert!(told.errors[0].contains("missing"), "{told:?}");

    // Another, which has nothing of it yet.
    let mut server = Server::start().await;
    let mut alone = Index::new();
    alone.layout.blobs.remove(1);
    let error = server.load(&alone.archive()).await.unwrap_err();
    assert!(error.message().contains("missing"), "{error}");
    let error = server
        .load(
            &Index {
                manifests: Vec::new(),
                ..Index::new()
            }
            .partial("riscv64", [false; 3])
            .archive(),
        )
        .await;
    assert!(error.unwrap_err().message().contains("incomplete"));
}
