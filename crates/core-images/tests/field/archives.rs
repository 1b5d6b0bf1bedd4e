//! Archives of many programs: what lies in them, in which order, and who else wrote into them.

use serde_json::{Value, json};

use crate::support::oci::{self, Layer, Layout};
use crate::support::server::Server;
use crate::support::tarball::{self, Member};

fn config(tar: &[u8]) -> Value {
    json!({
        "architecture": oci::host(),
        "os": "linux",
        "config": { "Cmd": ["true"] },
        "rootfs": { "type": "layers", "diff_ids": [oci::digest(tar)] },
    })
}

fn layer() -> Vec<u8> {
    tarball::archive(&[tarball::file("bin/tool", "tool")])
}

/// An archive as `docker save` has written since version 1.10.
fn docker(manifest: &Value, more: &[Vec<u8>]) -> Vec<u8> {
    let tar = layer();
    let mut members = vec![
        tarball::file("manifest.json", manifest.to_string()),
        tarball::file("c.json", config(&tar).to_string()),
        tarball::file("l/layer.tar", &tar),
    ];
    members.extend_from_slice(more);
    tarball::archive(&members)
}

/// As `docker save` wrote before version 1.10.
fn before_manifests(repositories: Option<Value>) -> Vec<u8> {
    let (base, head) = ("b".repeat(64), "a".repeat(64));
    let top = tarball::archive(&[tarball::file("etc/top", "top")]);
    let mut members = vec![
        tarball::directory(&format!("{head}/")),
        tarball::file(&format!("{head}/VERSION"), "1.0"),
        tarball::file(
            &format!("{head}/json"),
            json!({ "id": head, "parent": base, "os": "linux", "config": { "Cmd": ["sh"] } })
                .to_string(),
        ),
        tarball::file(&format!("{head}/layer.tar"), top),
        tarball::file(&format!("{base}/json"), json!({ "id": base }).to_string()),
        tarball::file(&format!("{base}/layer.tar"), layer()),
    ];
    if let Some(repositories) = repositories {
        members.push(tarball::file("repositories", repositories.to_string()));
    }
    tarball::archive(&members)
}

/// Names that they load under; one that ends in `@` stands for any digest.
#[tokio::test]
async fn archives_of_many_programs() {
    let tar = layer();
    let one = json!({ "Config": "c.json", "RepoTags": ["one:1"], "Layers": ["l/layer.tar"] });
    let mut layout = Layout::default();
    let manifest = layout.manifest(oci::host(), &[Layer::plain(&tar)]);
    layout.name(manifest.clone(), "laid:1");
    let with = |more: &[Vec<u8>]| tarball::archive(&[layout.members(), more.to_vec()].concat());
    let mut reversed = layout.members();
    reversed.reverse();
    let apple_double = Member {
        data: b"Mac OS X".to_vec(),
        ..Member::new(b'0', format!("blobs/sha256/._{}", &oci::digest(b"x")[7..]))
    };
    let mut twice = layout.clone();
    twice.manifests.push(twice.manifests[0].clone());
    let mut untagged_too = layout.clone();
    untagged_too.manifests.insert(0, manifest.clone());
    let mut unnamed = layout.clone();
    unnamed.manifests = vec![manifest.clone()];
    let config_path = format!("blobs/{}", layout.blobs[0].0.replace(':', "/"));
    let beside = json!([{ "Config": config_path, "RepoTags": ["beside:1"], "Layers": [] }]);
    let mut both = unnamed.members();
    both.insert(0, tarball::file("manifest.json", beside.to_string()));
    let gzipped = oci::gzip(&tar);
    let crane = [
        tarball::file("sha256:c", config(&tar).to_string()),
        tarball::file("l.tar.gz", &gzipped),
        tarball::file(
            "manifest.json",
            json!([{ "Config": "sha256:c", "RepoTags": ["crane:1"], "Layers": ["l.tar.gz"] }])
                .to_string(),
        ),
    ];
    let xz_layer = {
        use std::io::Write;
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&tar).unwrap();
        encoder.finish().unwrap()
    };
    let packed = [
        tarball::file("c.json", config(&tar).to_string()),
        tarball::file("l.tar.bz2", xz_layer),
        tarball::file(
            "manifest.json",
            json!([{ "Config": "c.json", "RepoTags": ["packed:1"], "Layers": ["l.tar.bz2"] }])
                .to_string(),
        ),
    ];
    let head = "a".repeat(64);
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "macOS's files",
            with(&[
                apple_double.bytes(),
                tarball::file("blobs/sha256/.DS_Store", "x"),
                tarball::file("blobs/.DS_Store", "x"),
                tarball::file("._index.json", "x"),
                tarball::file("__MACOSX/x", "x"),
            ]),
            &["laid:1"],
        ),
        (
            "another digest",
            with(&[tarball::file(
                &format!("blobs/sha512/{}", "0".repeat(128)),
                "x",
            )]),
            &["laid:1"],
        ),
        ("the index first", tarball::archive(&reversed), &["laid:1"]),
        ("each member twice", with(&layout.members()), &["laid:1"]),
        ("an entry twice", twice.archive(), &["laid:1"]),
        ("an untagged entry too", untagged_too.archive(), &["laid:1"]),
        ("nothing named", unnamed.archive(), &["untagged@"]),
        (
            "named by manifest.json",
            tarball::archive(&both),
            &["beside:1"],
        ),
        (
            "an empty index",
            with_index(&docker(&json!([one]), &[]), &json!({ "manifests": null })),
            &["one:1"],
        ),
        (
            "manifest.json alone",
            docker(&json!([one]), &[]),
            &["one:1"],
        ),
        (
            "with repositories",
            docker(&json!([one]), &[tarball::file("repositories", "{}")]),
            &["one:1"],
        ),
        (
            "no tags",
            docker(
                &json!([{ "Config": "c.json", "RepoTags": null, "Layers": ["l/layer.tar"] }]),
                &[],
            ),
            &["untagged@"],
        ),
        (
            "go-containerregistry",
            tarball::archive(&crane),
            &["crane:1"],
        ),
        ("a layer in bzip2", tarball::archive(&packed), &["packed:1"]),
        (
            "before manifests",
            before_manifests(Some(json!({ "old/one": { "1": head, "2": head } }))),
            &["old/one:1", "old/one:2"],
        ),
        (
            "before manifests, no names",
            before_manifests(None),
            &["untagged@"],
        ),
    ];
    for (what, archive, names) in cases {
        let mut server = Server::start().await;
        let loaded = server.load(&archive).await;
        let loaded = loaded.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(loaded.len(), names.len(), "{what}: {loaded:?}");
        for (loaded, name) in loaded.iter().zip(names) {
            let full = match name.split_once('@') {
                Some(_) => loaded.starts_with("untagged@sha256:"),
                None if name.contains('/') => *loaded == format!("docker.io/{name}"),
                None => *loaded == format!("docker.io/library/{name}"),
            };
            assert!(full, "{what}: {loaded}");
            server.prepare(loaded, "lease-1").await.unwrap();
        }
    }
}

/// The same archive with another `index.json`.
fn with_index(archive: &[u8], index: &Value) -> Vec<u8> {
    [
        tarball::file("index.json", index.to_string()),
        archive.to_vec(),
    ]
    .concat()
}

/// A blob with a hole, as `tar -S` stores an image layout.
#[tokio::test]
async fn blobs_may_be_sparse() {
    let mut server = Server::start().await;
    let mut layout = Layout::default();
    let tar = tarball::archive(&[tarball::file("zeros", vec![0; 1 << 20])]);
    let manifest = layout.manifest(oci::host(), &[Layer::plain(&tar)]);
    layout.name(manifest, "sparse");
    let scratch = tempfile::tempdir().unwrap();
    for (digest, bytes) in &layout.blobs {
        let path = scratch.path().join("blobs").join(digest.replace(':', "/"));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    std::fs::write(scratch.path().join("index.json"), layout.index()).unwrap();
    let holes = scratch.path().join("holes");
    std::fs::create_dir(&holes).unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-r", "--sparse=always", "blobs", "index.json", "holes"])
        .current_dir(scratch.path())
        .status();
    assert!(copied.unwrap().success());
    for format in ["gnu", "pax"] {
        let output = std::process::Command::new("tar")
            .args(["--sparse", "--format", format, "-c", "."])
            .current_dir(&holes)
            .output()
            .unwrap();
        assert!(output.status.success() && output.stdout.len() < 1 << 19);
        let loaded = server.load(&output.stdout).await.unwrap();
        assert_eq!(loaded, ["docker.io/library/sparse:latest"], "{format}");
    }
}
