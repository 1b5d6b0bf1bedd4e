//! Every compression, in every place where one may come: made by the programs that people use.

use std::io::Write;
use std::process::{Command, Stdio};

use container_api::images::ArchiveFormat;

use crate::craft::Image;
use crate::support::oci::{self, Layer};
use crate::support::server::Server;
use crate::support::tarball;

/// What `program` makes of `bytes`.
fn filter(program: &[&str], bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program[0])
        .args(&program[1..])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// `bytes` compressed in each of the ways that are understood.
fn all(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let zstd = filter(&["zstd", "-qc"], bytes);
    let skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".as_slice();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let xz = |part: &[u8]| filter(&["xz", "-c"], part);
    let bzip2 = |part: &[u8]| filter(&["bzip2", "-c"], part);
    vec![
        ("none", bytes.to_vec()),
        ("gzip", oci::gzip(bytes)),
        (
            "gzip, two members",
            [oci::gzip(first), oci::gzip(second)].concat(),
        ),
        ("zstd", zstd.clone()),
        (
            "zstd, skippable first",
            [skippable, zstd.as_slice()].concat(),
        ),
        (
            "zstd, skippable between",
            [oci::zstd(first), skippable.to_vec(), oci::zstd(second)].concat(),
        ),
        ("xz", xz(bytes)),
        (
            "xz -9 with checks",
            filter(&["xz", "-9", "--check=sha256", "-c"], bytes),
        ),
        ("xz, two streams", [xz(first), xz(second)].concat()),
        ("bzip2", bzip2(bytes)),
        ("bzip2, two streams", [bzip2(first), bzip2(second)].concat()),
    ]
}

#[tokio::test]
async fn archives_layers_and_imports_may_be_compressed() {
    let mut server = Server::start().await;
    let tar = tarball::archive(&[tarball::file("bin/tool", "x".repeat(5000))]);
    let whole = oci::archive("archived", &[Layer::plain(&tar)]);
    for (what, archive) in all(&whole) {
        let loaded = server.load(&archive).await;
        assert!(loaded.is_ok(), "archive, {what}: {loaded:?}");
    }
    for (number, (what, blob)) in all(&tar).into_iter().enumerate() {
        let layer = Layer {
            blob: blob.clone(),
            ..Layer::plain(&tar)
        };
        let name = format!("layered:{number}");
        let loaded = server.load(&Image::new(&[layer]).archive(&name)).await;
        assert!(loaded.is_ok(), "layer, {what}: {loaded:?}");
        let name = format!("imported:{number}");
        let imported = server.import(&blob, &name, &[]).await;
        assert!(imported.is_ok(), "import, {what}: {imported:?}");
        // Whatever came, everybody can read what we pass on.
        let archive = server.save(&name, ArchiveFormat::Oci).await.unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("archive");
        std::fs::write(&path, archive).unwrap();
        let inspected = Command::new("skopeo")
            .args([
                "inspect",
                "--raw",
                &format!("oci-archive:{}", path.display()),
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&inspected.stdout).into_owned();
        assert!(text.contains("image.layer.v1.tar"), "{what}: {inspected:?}");
        assert!(
            !text.contains("xz") && !text.contains("bzip2"),
            "{what}: {text}"
        );
    }
    // All of them are one layer.
    assert_eq!(server.files("layers").len(), 1);
}

#[tokio::test]
async fn what_is_not_understood_or_damaged_is_called_so() {
    let mut server = Server::start().await;
    let tar = tarball::archive(&[tarball::file("bin/tool", "x".repeat(5000))]);
    let whole = oci::archive("x", &[Layer::plain(&tar)]);
    let xz = filter(&["xz", "-c"], &tar);
    let bzip2 = filter(&["bzip2", "-c"], &tar);
    let with_end = |mut bytes: Vec<u8>, end: &[u8]| {
        bytes.extend_from_slice(end);
        bytes
    };
    let huge = filter(&["xz", "--lzma2=dict=1GiB", "-c"], &tar);
    for (what, blob, text) in [
        ("lz4", filter(&["lz4", "-qc"], &tar), "compressed with lz4"),
        ("xz, cut off", xz[..xz.len() / 2].to_vec(), "decompressed"),
        (
            "xz, garbage behind",
            with_end(xz.clone(), b"garbage"),
            "decompressed",
        ),
        ("xz, much memory", huge, "memory"),
        (
            "bzip2, cut off",
            bzip2[..bzip2.len() / 2].to_vec(),
            "decompressed",
        ),
        (
            "bzip2, garbage behind",
            with_end(bzip2.clone(), b"garbage"),
            "decompressed",
        ),
    ] {
        let layer = Layer {
            blob: blob.clone(),
            ..Layer::plain(&tar)
        };
        let error = server.load(&Image::new(&[layer]).archive("x")).await;
        let error = error.unwrap_err();
        assert!(error.message().contains(text), "{what}: {error}");
        let error = server.import(&blob, "x", &[]).await.unwrap_err();
        assert_ne!(error.kind, container_api::Kind::Internal, "{what}: {error}");
    }
    let error = server.load(&filter(&["lz4", "-qc"], &whole)).await;
    let error = error.unwrap_err();
    assert!(error.message().contains("compressed with lz4"), "{error}");
    assert_eq!(server.files("layers"), Vec::<String>::new());
    assert_eq!(server.files("content/blobs/sha256"), Vec::<String>::new());
}
