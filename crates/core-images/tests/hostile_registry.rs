//! Registries that lie, break, redirect and fish: each with its answer.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use container_api::Chain;
use container_core_images::keyed::KeyedLocks;
use container_core_images::layer::bounds::Bounds;
use container_core_images::layer::unpack::Unpacker;
use container_core_images::registry::credentials::CredentialStore;
use container_core_images::registry::pull::{Choice, Pulls};
use container_core_images::registry::{Lookup, Progress, Registries, Retry, Scheme};
use container_core_images::store::{Paths, Store};
use container_resource::platform::Platform;
use container_resource::reference::DEFAULT_DOMAIN;
use serde_json::json;
use support::hostile::{Answer, Hostile, Request, answer, lying};
use support::oci::{self, Layer, Layout};
use support::tarball;

/// An image in memory, to be served.
#[derive(Clone)]
struct Image {
    layout: Layout,
    manifest: String,
    layer: String,
}

impl Image {
    fn new() -> Self {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state.to_be_bytes()[0]
        })
        .take(300_000)
        .collect();
        let layer = Layer::gzip(&tarball::archive(&[tarball::file("noise", noise)]));
        let mut layout = Layout::default();
        let layer_digest = oci::digest(&layer.blob);
        let manifest = layout.manifest(oci::host(), &[layer]);
        let manifest = manifest["digest"].as_str().unwrap().to_owned();
        Self {
            layout,
            manifest,
            layer: layer_digest,
        }
    }

    fn blob(&self, digest: &str) -> Option<&[u8]> {
        let found = self.layout.blobs.iter().find(|(known, _)| known == digest);
        found.map(|(_, bytes)| bytes.as_slice())
    }

    fn layer_bytes(&self) -> &[u8] {
        self.blob(&self.layer).unwrap()
    }

    /// What an honest registry answers.
    fn honest(&self, request: &Request) -> Answer {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let digest = if last == "latest" {
            &self.manifest
        } else {
            last
        };
        let Some(bytes) = self.blob(digest) else {
            return answer("404 Not Found", "", b"").into();
        };
        if request.path.contains("/manifests/") {
            return answer("200 OK", "", bytes).into();
        }
        match request.range_start() {
            None => answer("200 OK", "", bytes).into(),
            Some(start) => {
                let range = format!(
                    "content-range: bytes {start}-{}/{}\r\n",
                    bytes.len() - 1,
                    bytes.len()
                );
                answer("206 Partial Content", &range, &bytes[start..]).into()
            }
        }
    }
}

struct Puller {
    scratch: tempfile::TempDir,
    pulls: Pulls,
}

impl Puller {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let store = Arc::new(
            Store::open(Paths::new(scratch.path().to_path_buf()), DEFAULT_DOMAIN).unwrap(),
        );
        let program = PathBuf::from(env!("CARGO_BIN_EXE_container-core-images"));
        let credentials = CredentialStore::from_environment(scratch.path().join("auth.json"));
        let retry = Retry {
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(20),
            stall: Duration::from_millis(300),
            ..Retry::default()
        };
        let pulls = Pulls {
            store,
            unpacker: Arc::new(Unpacker::new(program, Bounds::default())),
            registries: Arc::new(Registries::new(credentials).with_retry(retry)),
            blobs: KeyedLocks::default(),
        };
        Self { scratch, pulls }
    }

    async fn pull(&self, address: &str) -> Result<(), String> {
        self.pull_reference(&format!("{address}/x")).await
    }

    async fn pull_reference(&self, reference: &str) -> Result<(), String> {
        let choice = Choice::One(Platform::host());
        let report = Arc::new(|_: Progress| {});
        let reference = reference.parse().unwrap();
        let pulled = self
            .pulls
            .pull(reference, Scheme::Http, &choice, 3, report)
            .await;
        pulled.map(drop).map_err(|error| Chain(&error).to_string())
    }

    fn layers(&self) -> usize {
        std::fs::read_dir(self.scratch.path().join("layers"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension() == Some("erofs".as_ref()))
            .count()
    }

    /// The same with these addresses of names.
    fn with_names(mut self, names: &[(&'static str, &str)]) -> Self {
        let names = names
            .iter()
            .map(|(name, address)| (*name, address.parse().unwrap()));
        let names = Arc::new(Names(names.collect()));
        let credentials = CredentialStore::from_environment(self.scratch.path().join("auth.json"));
        let retry = Retry {
            first_wait: Duration::from_millis(1),
            ..Retry::default()
        };
        let registries = Registries::new(credentials).with_retry(retry);
        self.pulls.registries = Arc::new(registries.with_lookup(names));
        self
    }
}

/// A resolver that does what it likes.
#[derive(Debug)]
struct Names(Vec<(&'static str, std::net::IpAddr)>);

impl Lookup for Names {
    fn lookup(
        &self,
        host: &str,
    ) -> futures::future::BoxFuture<'static, std::io::Result<Vec<std::net::SocketAddr>>> {
        let found = self.0.iter().filter(|(name, _)| *name == host);
        let found = found.map(|(_, address)| std::net::SocketAddr::new(*address, 0));
        let found: Vec<_> = found.collect();
        Box::pin(async move { Ok(found) })
    }
}

#[tokio::test]
async fn names_that_mean_metadata_services_are_not_asked() {
    let names = [
        ("registry.test", "127.0.0.1"),
        ("here.test", "127.0.0.1"),
        ("metadata.test", "169.254.169.254"),
        ("other-cloud.test", "fd00:ec2::254"),
    ];
    for target in ["http://metadata.test/", "http://other-cloud.test/latest"] {
        let location = format!("location: {target}\r\n");
        let redirecting = Hostile::start("127.0.0.1", move |_| {
            answer("307 Temporary Redirect", &location, b"").into()
        })
        .await;
        let challenge = format!("www-authenticate: Bearer realm=\"{target}\"\r\n");
        let fishing = Hostile::start("127.0.0.1", move |_| {
            answer("401 Unauthorized", &challenge, b"").into()
        })
        .await;
        for registry in [&redirecting, &fishing] {
            let port = registry.address.rsplit(':').next().unwrap();
            let puller = Puller::new().with_names(&names);
            let reference = format!("registry.test:{port}/x");
            let error = puller.pull_reference(&reference).await.unwrap_err();
            assert!(error.contains("is not asked"), "{error}");
            assert!(
                error.contains("address of this machine or its link"),
                "{error}"
            );
            // It is not asked again, either.
            assert_eq!(registry.requests.lock().unwrap().len(), 1);
        }
    }
    // A registry on this machine may lead to it, by name, too.
    let image = Image::new();
    let other = Hostile::start("127.0.0.1", move |request| image.honest(request)).await;
    let port = other.address.rsplit(':').next().unwrap().to_owned();
    let registry = Hostile::start("127.0.0.1", move |request| {
        let location = format!("location: http://here.test:{port}{}\r\n", request.path);
        answer("307 Temporary Redirect", &location, b"").into()
    })
    .await;
    let port = registry.address.rsplit(':').next().unwrap();
    let puller = Puller::new().with_names(&names);
    let pulled = puller
        .pull_reference(&format!("registry.test:{port}/x"))
        .await;
    assert_eq!(pulled, Ok(()));
}

/// Pulls from a registry that answers requests for the layer in its own way.
async fn pull_with_layer(
    misbehave: impl Fn(&Image, &Request) -> Option<Answer> + Send + Sync + 'static,
) -> (Result<(), String>, usize, Puller) {
    let image = Image::new();
    let path = format!("/v2/x/blobs/{}", image.layer);
    let served = path.clone();
    let registry = Hostile::start("127.0.0.1", move |request| {
        let own = if request.path == served {
            misbehave(&image, request)
        } else {
            None
        };
        own.unwrap_or_else(|| image.honest(request))
    })
    .await;
    let puller = Puller::new();
    let result = puller.pull(&registry.address).await;
    (result, registry.count(&path), puller)
}

#[tokio::test]
async fn broken_downloads_are_resumed() {
    let cut = |image: &Image| {
        lying(
            "200 OK",
            "",
            image.layer_bytes().len(),
            &image.layer_bytes()[..290_000],
        )
    };
    // Cut off near the end, then resumed by range.
    let (result, asked, _) =
        pull_with_layer(move |image, request| (request.before == 0).then(|| cut(image).into()))
            .await;
    assert_eq!((result, asked), (Ok(()), 2));
    // The range is ignored: what is known already is skipped.
    let (result, asked, _) = pull_with_layer(move |image, request| {
        Some(
            if request.before == 0 {
                cut(image)
            } else {
                answer("200 OK", "", image.layer_bytes())
            }
            .into(),
        )
    })
    .await;
    assert_eq!((result, asked), (Ok(()), 2));
    // It stalls, then goes on.
    let (result, asked, _) = pull_with_layer(move |image, request| {
        (request.before == 0).then(|| Answer {
            bytes: cut(image),
            stall: true,
        })
    })
    .await;
    assert_eq!((result, asked), (Ok(()), 2));
    // A few bytes each time are progress, but not for ever.
    let (result, asked, puller) = pull_with_layer(|image, request| {
        let start = request.range_start().unwrap_or(0);
        let bytes = image.layer_bytes();
        let range = format!(
            "content-range: bytes {start}-{}/{}\r\n",
            bytes.len() - 1,
            bytes.len()
        );
        let status = if start == 0 {
            "200 OK"
        } else {
            "206 Partial Content"
        };
        Some(
            lying(
                status,
                &range,
                bytes.len() - start,
                &bytes[start..start + 10],
            )
            .into(),
        )
    })
    .await;
    assert!(result.unwrap_err().contains("given up"));
    assert!((10..100).contains(&asked), "{asked}");
    assert_eq!(puller.layers(), 0);
}

#[tokio::test]
async fn passing_failures_are_repeated_a_few_times() {
    let busy = || answer("503 Service Unavailable", "retry-after: 0\r\n", b"");
    let (result, asked, _) =
        pull_with_layer(move |_, request| (request.before < 2).then(|| busy().into())).await;
    assert_eq!((result, asked), (Ok(()), 3));
    let limit = || answer("429 Too Many Requests", "retry-after: 86400\r\n", b"");
    let (result, asked, _) = pull_with_layer(move |_, _| Some(limit().into())).await;
    assert!(result.unwrap_err().contains("429"));
    assert_eq!(asked, 5);
    let (result, asked, _) =
        pull_with_layer(|_, _| Some(answer("403 Forbidden", "", b"").into())).await;
    assert!(result.unwrap_err().contains("denies access"));
    assert_eq!(asked, 1, "a refusal is final");
}

#[tokio::test]
async fn wrong_content_is_refused_and_not_kept() {
    type Misbehave = Box<dyn Fn(&Image, &Request) -> Vec<u8> + Send + Sync>;
    let cases: Vec<(&str, Misbehave, &str)> = vec![
        (
            "flipped bit",
            Box::new(|image, _| {
                let mut bytes = image.layer_bytes().to_vec();
                bytes[200_000] ^= 1;
                answer("200 OK", "", &bytes)
            }),
            "",
        ),
        (
            "longer than announced by the manifest",
            Box::new(|image, _| answer("200 OK", "", &[image.layer_bytes(), b"more"].concat())),
            "another length",
        ),
        (
            "longer, without a length",
            Box::new(|image, _| {
                let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
                [head.as_slice(), image.layer_bytes(), b"more"].concat()
            }),
            "is longer than",
        ),
        (
            "another range",
            Box::new(|image, request| match request.range_start() {
                None => lying(
                    "200 OK",
                    "",
                    image.layer_bytes().len(),
                    &image.layer_bytes()[..1000],
                ),
                Some(_) => answer(
                    "206 Partial Content",
                    "content-range: bytes 5000-9999/10000\r\n",
                    &[0; 5000],
                ),
            }),
            "another range",
        ),
    ];
    for (what, misbehave, text) in cases {
        let (result, _, puller) =
            pull_with_layer(move |image, request| Some(misbehave(image, request).into())).await;
        let error = result.expect_err(what);
        assert!(error.contains(text), "{what}: {error}");
        assert_eq!(puller.layers(), 0, "{what}");
        let names = puller.pulls.store.names().unwrap();
        assert_eq!(names.iter().count(), 0, "{what}");
        let guard = puller.pulls.store.lock();
        puller.pulls.store.collect(&guard).unwrap();
        let blobs = puller.scratch.path().join("content/blobs/sha256");
        assert_eq!(std::fs::read_dir(blobs).unwrap().count(), 0, "{what}");
    }
}

#[tokio::test]
async fn redirects_lead_nowhere_bad() {
    for (target, text) in [
        ("/v2/x/manifests/latest", "circles"),
        ("file:///etc/passwd", "no HTTP address"),
        (
            "http://169.254.169.254/latest/meta-data",
            "address of this machine or its link",
        ),
        ("http://user:secret@127.0.0.1/", "holds credentials"),
        ("", "circles"),
    ] {
        let location = format!("location: {target}\r\n");
        let registry = Hostile::start("127.0.0.1", move |_| {
            answer("307 Temporary Redirect", &location, b"").into()
        })
        .await;
        let error = Puller::new().pull(&registry.address).await.unwrap_err();
        assert!(error.contains(text), "{target}: {error}");
        assert!(!error.contains("secret"), "{error}");
    }
    // To another host, without what was meant for the first.
    let image = Image::new();
    let other = Hostile::start("127.0.0.2", move |request| image.honest(request)).await;
    let location = format!("location: http://{}", other.address);
    let registry = Hostile::start("127.0.0.1", move |request| {
        let location = format!("{location}{}\r\n", request.path);
        answer("307 Temporary Redirect", &location, b"").into()
    })
    .await;
    let puller = Puller::new();
    log_in(&puller, &registry.address).await;
    puller.pull(&registry.address).await.unwrap();
    let requests = other.requests.lock().unwrap();
    assert!(
        requests
            .iter()
            .all(|request| !request.headers.contains_key("authorization"))
    );
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

async fn log_in(puller: &Puller, server: &str) {
    puller
        .pulls
        .registries
        .credentials()
        .store(server, "me", "secret")
        .await
        .unwrap();
}

#[tokio::test]
async fn credentials_go_to_the_registrys_own_token_service_only() {
    for (host, shown) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let tokens = Hostile::start(host, |_| {
            answer("200 OK", "", br#"{"token": "t0ken"}"#).into()
        })
        .await;
        let realm = format!(
            "www-authenticate: Bearer realm=\"http://{}/token\"\r\n",
            tokens.address
        );
        let image = Image::new();
        let registry = Hostile::start("127.0.0.1", move |request| {
            match request.headers.get("authorization").map(String::as_str) {
                Some("Bearer t0ken") => image.honest(request),
                _ => answer("401 Unauthorized", &realm, b"").into(),
            }
        })
        .await;
        let puller = Puller::new();
        log_in(&puller, &registry.address).await;
        puller.pull(&registry.address).await.unwrap();
        let requests = tokens.requests.lock().unwrap();
        let seen = requests
            .iter()
            .any(|request| request.headers.contains_key("authorization"));
        assert_eq!(seen, shown, "{host}");
        assert!(
            requests[0].path.contains("scope=repository%3Ax%3Apull"),
            "{}",
            requests[0].path
        );
    }
    // A challenge that is never satisfied ends.
    let registry = Hostile::start("127.0.0.1", |_| {
        answer(
            "401 Unauthorized",
            "www-authenticate: Basic realm=x\r\n",
            b"",
        )
        .into()
    })
    .await;
    let puller = Puller::new();
    log_in(&puller, &registry.address).await;
    let error = puller.pull(&registry.address).await.unwrap_err();
    assert!(
        error.contains("denies access") && !error.contains("secret"),
        "{error}"
    );
    assert!(registry.count("/v2/x/manifests/latest") <= 2);
}

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
