//! Manifests, indexes and artifacts that are not what they should be.

use std::sync::Mutex;

use container_core_images::registry::Scheme;
use serde_json::json;

use super::image::Image;
use super::puller::Puller;
use super::support::hostile::{Answer, Hostile, Request, answer};
use super::support::oci::{self, Layout};

type Respond = Mutex<Box<dyn Fn(&Request) -> Answer + Send>>;

#[tokio::test]
async fn documents_are_bounded_and_checked() {
    let index = "application/vnd.oci.image.index.v1+json";
    let nested = {
        // Each index names the next one.
        let mut layout = Layout::default();
        let image = Image::new();
        layout.blobs.clone_from(&image.layout.blobs);
        let mut child = json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": image.manifest, "size": image.blob(&image.manifest).unwrap().len()});
        for _ in 0..7 {
            let document = json!({"schemaVersion": 2, "mediaType": index, "manifests": [child]});
            child = layout.document(index, &document);
        }
        Image {
            layout,
            manifest: child["digest"].as_str().unwrap().to_owned(),
            layer: image.layer,
        }
    };
    let both = json!({"schemaVersion": 2, "manifests": [], "config": {"mediaType": "m", "digest": "d", "size": 1}, "layers": []}).to_string();
    let huge = " ".repeat(5 << 20);
    let deep = format!(r#"{{"schemaVersion":2,"layers":{}"#, "[".repeat(100_000));
    let evil = json!({"schemaVersion": 2, "config": {"mediaType": "m", "digest": "sha256:../../x", "size": 1}, "layers": []}).to_string();
    let html = "<html>".to_owned();
    let fixed = |body: String| -> Respond {
        Mutex::new(Box::new(move |_| {
            answer("200 OK", "", body.as_bytes()).into()
        }))
    };
    let nested = Mutex::new(Box::new(move |request: &Request| nested.honest(request))
        as Box<dyn Fn(&Request) -> Answer + Send>);
    let liar = Mutex::new(Box::new(|_: &Request| {
        let digest = format!("docker-content-digest: sha256:{}\r\n", "0".repeat(64));
        answer("200 OK", &digest, b"{}").into()
    }) as Box<dyn Fn(&Request) -> Answer + Send>);
    for (what, respond, text) in [
        ("nested indexes", nested, "nested more than 4 deep"),
        ("index and manifest at once", fixed(both), "ambiguous"),
        ("5 MiB", fixed(huge), "larger than"),
        ("deep JSON", fixed(deep), "malformed"),
        ("a digest that is a path", fixed(evil), "64 lower-case"),
        ("no JSON", fixed(html), "malformed"),
        ("a digest of something else", liar, "where sha256:0000"),
    ] {
        let registry =
            Hostile::start("127.0.0.1", move |request| respond.lock().unwrap()(request)).await;
        let error = Puller::new().pull(&registry.address).await.expect_err(what);
        assert!(error.contains(text), "{what}: {error}");
    }
    let registry = Hostile::start("127.0.0.1", |_| answer("200 OK", "", b"{}").into()).await;
    let reference = format!("{}/x@sha256:{}", registry.address, "1".repeat(64));
    let error = Puller::new().pull_reference(&reference).await.unwrap_err();
    assert!(error.contains("was asked for"), "{error}");
}

/// An artifact that refers to the image, with these parts.
fn artifact(image: &mut Image, kind: &str, parts: &[(&str, &str)]) -> serde_json::Value {
    let mut keep = |media_type: &str, bytes: &[u8]| {
        let digest = oci::digest(bytes);
        image.layout.blobs.push((digest.clone(), bytes.to_vec()));
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    };
    let layers: Vec<_> = parts
        .iter()
        .map(|(media_type, text)| keep(media_type, text.as_bytes()))
        .collect();
    let manifest = json!({
        "schemaVersion": 2, "artifactType": kind, "layers": layers,
        "config": keep("application/vnd.oci.empty.v1+json", b"{}"),
    });
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let mut descriptor = keep(manifest_type, manifest.to_string().as_bytes());
    descriptor["artifactType"] = kind.into();
    descriptor
}

#[tokio::test]
async fn what_is_attached_to_an_image_is_read_whole_or_refused() {
    const KIND: &str = "application/vnd.example.settings";
    let mut image = Image::new();
    let other = artifact(&mut image, "application/vnd.example.other", &[("a", "b")]);
    let wanted = artifact(&mut image, KIND, &[("x", "one"), ("y", "two")]);
    let large = "x".repeat((1 << 20) + 1);
    let large = artifact(&mut image, "large", &[("x", &large)]);
    let index = json!({ "schemaVersion": 2, "manifests": [other, wanted, large] }).to_string();
    let subject = image.manifest.clone();
    for way in ["/referrers/", "/manifests/sha256-", "nowhere"] {
        let (served, index) = (image.clone(), index.clone());
        let registry = Hostile::start("127.0.0.1", move |request| {
            if request.path.contains(way) {
                return answer("200 OK", "", index.as_bytes()).into();
            }
            if request.path.contains("/referrers/") {
                return answer("404 Not Found", "", b"").into();
            }
            served.honest(request)
        })
        .await;
        let puller = Puller::new();
        let reference = format!("{}/x", registry.address).parse().unwrap();
        let ask = async |kind: &str| {
            let registries = &puller.pulls.registries;
            let subject = subject.parse().unwrap();
            let found = registries
                .attached(&reference, Scheme::Http, subject, kind)
                .await;
            found.map(|parts| {
                let texts = parts
                    .iter()
                    .map(|part| (part.media_type.clone(), part.bytes.to_vec()));
                texts.collect::<Vec<_>>()
            })
        };
        let parts = ask(KIND).await.unwrap();
        if way == "nowhere" {
            assert_eq!(parts, []);
            continue;
        }
        let part = |kind: &str, text: &str| (kind.to_owned(), text.as_bytes().to_vec());
        assert_eq!(parts, [part("x", "one"), part("y", "two")]);
        assert_eq!(ask("none").await.unwrap(), []);
        assert!(ask("large").await.is_err());
    }
}
