//! Registries as they are: what they refuse, how they want to be asked, and where they are not.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use container_api::Kind;
use container_api::images::{PullRequest, Scheme};
use serde_json::json;

use crate::craft::{Image, index, of_platform};
use crate::support::hostile::{Answer, Hostile, Request, answer};
use crate::support::oci::{self, Layout};
use crate::support::registry::{Registry, make_certificates};
use crate::support::server::Server;

/// A server whose home has these files.
async fn server_with(files: &[(&str, &str)], environment: &[(&str, &str)]) -> Server {
    let scratch = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = scratch.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    Server::start_in(scratch, environment).await
}

/// The configuration of a registry's hosts below the home.
fn hosts_toml(domain: &str) -> String {
    format!(".config/container/certs.d/{domain}/hosts.toml")
}

/// Answers pulls of one small image, under every name.
fn image() -> impl Fn(&Request) -> Answer + Send + Sync + 'static {
    let mut layout = Layout::default();
    let manifest = Image::odd(|_| {}).store(&mut layout);
    let manifest = manifest["digest"].as_str().unwrap().to_owned();
    let blobs: HashMap<String, Vec<u8>> = layout.blobs.into_iter().collect();
    move |request| {
        let last = request.path.rsplit('/').next().unwrap_or_default();
        let digest = if last == "latest" { &manifest } else { last };
        match blobs.get(digest) {
            Some(bytes) => answer("200 OK", "", bytes).into(),
            None => answer("404 Not Found", "", b"").into(),
        }
    }
}

/// A mount is an attempt: whatever a registry says to it, the blob is uploaded.
#[tokio::test]
async fn a_refused_mount_is_an_upload() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("local", &[oci::tool("tool")]))
        .await
        .unwrap();
    for status in [
        "202 Accepted",
        "400 Bad Request",
        "401 Unauthorized",
        "403 Forbidden",
        "404 Not Found",
        "405 Method Not Allowed",
        "416 Range Not Satisfiable",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "503 Service Unavailable",
    ] {
        let registry = Hostile::start("127.0.0.1", move |request| {
            let there = "location: /v2/b/y/blobs/uploads/1\r\n";
            match request.method.as_str() {
                "POST" if request.path.contains("mount=") => answer(status, "", b"").into(),
                "POST" => answer("202 Accepted", there, b"").into(),
                "PUT" => answer("201 Created", "", b"").into(),
                _ => answer("404 Not Found", "", b"").into(),
            }
        })
        .await;
        let name = |repository: &str| format!("{}/{repository}:1", registry.address);
        server.tag("local", &name("a/x")).await;
        server.tag("local", &name("b/y")).await;
        let begun = Instant::now();
        let pushed = server.push(&name("b/y")).await;
        assert!(pushed.is_ok(), "{status}: {pushed:?}");
        assert!(begun.elapsed() < Duration::from_secs(4), "{status}");
        let requests = registry.requests.lock().unwrap();
        let count = |part: &str| {
            requests
                .iter()
                .filter(|request| request.path.contains(part))
                .count()
        };
        assert_eq!(count("mount="), 2, "{status}");
        assert_eq!(count("uploads/1?digest="), 2, "{status}");
    }
}

/// Of several entries that fit, the one with the longest path is shown; whoever starts the system may name the file.
#[tokio::test]
async fn each_repository_has_its_own_credentials() {
    let basic = |user: &str| STANDARD.encode(format!("{user}:secret"));
    let honest = image();
    let registry = Hostile::start("127.0.0.1", move |request| {
        let user = match request.path.split('/').nth(2) {
            Some("a") => "of-a",
            Some("b") => "of-b",
            _ => "of-all",
        };
        let expected = format!("Basic {}", STANDARD.encode(format!("{user}:secret")));
        if request.headers.get("authorization") == Some(&expected) {
            honest(request)
        } else {
            answer(
                "401 Unauthorized",
                "www-authenticate: Basic realm=x\r\n",
                b"",
            )
            .into()
        }
    })
    .await;
    let address = &registry.address;
    let auths = json!({ "auths": {
        address: { "auth": basic("of-all") },
        format!("{address}/a"): { "auth": basic("of-a") },
        format!("{address}/b"): { "auth": basic("of-b") },
    } })
    .to_string();
    for (file, variable) in [
        (".docker/config.json", None),
        ("mine.json", Some("REGISTRY_AUTH_FILE")),
    ] {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &auths).unwrap();
        let path = path.display().to_string();
        let environment: Vec<(&str, &str)> = variable
            .map(|name| (name, path.as_str()))
            .into_iter()
            .collect();
        let mut server = Server::start_in(scratch, &environment).await;
        for repository in ["a/x", "b/x", "c/x", "a/y"] {
            let pulled = server.pull(&format!("{address}/{repository}")).await;
            assert!(pulled.is_ok(), "{file}: {repository}: {pulled:?}");
        }
    }
    let given = [
        ("CONTAINER_REGISTRY_HOST", address.as_str()),
        ("CONTAINER_REGISTRY_USER", "of-b"),
        ("CONTAINER_REGISTRY_TOKEN", "secret"),
    ];
    let mut server = server_with(&[], &given).await;
    server.pull(&format!("{address}/b/x")).await.unwrap();
    assert!(server.pull(&format!("{address}/a/x")).await.is_err());
}

/// Every value of a header in `hosts.toml` is sent; a key that nobody knows is told.
#[tokio::test]
async fn hosts_are_configured_as_containerd_s_are() {
    let honest = image();
    let registry = Hostile::start("127.0.0.1", move |request| {
        match request.headers.get("x-key").map(String::as_str) {
            Some("one, two") => honest(request),
            _ => answer("403 Forbidden", "", b"").into(),
        }
    })
    .await;
    let address = &registry.address;
    let path = hosts_toml(address);
    let text = format!("[host.\"http://{address}\".header]\nx-key = [\"one\", \"two\"]\n");
    let mut server = server_with(&[(&path, &text)], &[]).await;
    server.pull(&format!("{address}/x")).await.unwrap();
    for (text, says) in [
        ("skip_verfy = true", "unknown key \"skip_verfy\""),
        ("[host.\"http://a\".header]\nx = 1", "header"),
        ("client = [\"a\", \"b\"]", "2 client certificates"),
        (
            "client = \"absent.pem\"\nserver = \"https://127.0.0.1:1\"",
            "absent.pem",
        ),
    ] {
        let mut server = server_with(&[(&path, text)], &[]).await;
        let error = server.pull(&format!("{address}/x")).await.unwrap_err();
        assert!(error.message().contains(says), "{text}: {error}");
        assert!(
            error.message().contains("hosts.toml") || error.message().contains("absent.pem"),
            "{error}"
        );
    }
}

/// A registry that lets in only whom its authority vouches for (mutual TLS): both ways to say who we are.
#[tokio::test]
async fn a_client_s_certificate_is_shown() {
    let scratch = tempfile::tempdir().unwrap();
    make_certificates(scratch.path());
    let read = |name: &str| std::fs::read_to_string(scratch.path().join(name)).unwrap();
    let [authority, certificate, key] = ["ca.crt", "server.crt", "server.key"].map(read);
    let tls = "  tls:\n    certificate: {}/server.crt\n    key: {}/server.key\n    clientcas:\n      - {}/ca.crt\n";
    let registry = Registry::start_in(scratch, tls, "");
    let address = &registry.address;
    let name = format!("{address}/x:1");
    let file = |name: &str| format!(".config/container/certs.d/{address}/{name}");
    let both = format!("{certificate}{key}");
    let pair = format!(
        "server = \"https://{address}\"\nca = \"ca.pem\"\nclient = [[\"me.pem\", \"me.key\"]]\n"
    );
    let one = format!("server = \"https://{address}\"\nca = \"ca.pem\"\nclient = \"both.pem\"\n");
    let ways: [Vec<(String, &str)>; 3] = [
        vec![
            (file("ca.pem"), &authority),
            (file("me.pem"), &certificate),
            (file("me.key"), &key),
            (file("hosts.toml"), &pair),
        ],
        vec![
            (file("ca.pem"), &authority),
            (file("both.pem"), &both),
            (file("hosts.toml"), &one),
        ],
        // As Docker has it.
        vec![
            (file("ca.crt"), &authority),
            (file("client.cert"), &certificate),
            (file("client.key"), &key),
        ],
    ];
    for (number, files) in ways.iter().enumerate() {
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, text)| (path.as_str(), *text))
            .collect();
        let mut server = server_with(&files, &[]).await;
        server
            .load(&oci::archive(&name, &[oci::tool("tool")]))
            .await
            .unwrap();
        let pushed = server.push(&name).await;
        assert!(pushed.is_ok(), "{number}: {pushed:?}");
    }
    let mut server = server_with(&[(&file("ca.crt"), &authority)], &[]).await;
    let error = server.pull(&name).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_name_that_means_nothing_is_one_short_error() {
    // A label has 63 octets at most (RFC 1035, 2.3.4): these mean nothing without a question to the host's name servers, of which a
    // test knows nothing.
    let label = "n".repeat(64);
    let (nowhere, mirrored) = (format!("{label}.invalid"), format!("m{label}.invalid"));
    let mirror = hosts_toml(&mirrored);
    // A port of our own at which nobody listens.
    let refusing = tokio::net::TcpSocket::new_v4().unwrap();
    refusing.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = refusing.local_addr().unwrap();
    let text = format!("[host.\"http://{address}\"]\n");
    let mut server = server_with(&[(&mirror, &text)], &[]).await;
    for (domain, says) in [
        (&nowhere, format!("{nowhere} cannot be resolved")),
        (&mirrored, format!("{address} cannot be reached")),
    ] {
        let begun = Instant::now();
        let error = server.pull(&format!("{domain}/x")).await.unwrap_err();
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        assert_eq!(error.kind, Kind::Unavailable);
        assert!(error.message().contains(&says), "{error}");
        assert!(error.message().contains("cannot be resolved"), "{error}");
        assert!(error.message().len() < 400, "{error}");
    }
}

/// Credentials stay with their registry, and what comes of that is told.
#[tokio::test]
async fn a_stranger_s_token_is_asked_for_without_credentials() {
    let tokens = Hostile::start("127.0.0.2", |_| {
        answer("200 OK", "", br#"{"token": "anonymous"}"#).into()
    })
    .await;
    let realm = format!(
        "www-authenticate: Bearer realm=\"http://{}/token\"\r\n",
        tokens.address
    );
    let registry = Hostile::start("127.0.0.1", move |_| {
        answer("401 Unauthorized", &realm, b"").into()
    })
    .await;
    let auths = json!({ "auths": { &registry.address: { "auth": STANDARD.encode("me:secret") } } })
        .to_string();
    let mut server = server_with(&[(".docker/config.json", &auths)], &[]).await;
    let error = server
        .pull(&format!("{}/x", registry.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::PermissionDenied);
    let says = format!("not shown to its token service {}", tokens.address);
    assert!(error.message().contains(&says), "{error}");
    let requests = tokens.requests.lock().unwrap();
    assert!(
        !requests.is_empty()
            && requests
                .iter()
                .all(|request| !request.headers.contains_key("authorization"))
    );
}

/// TLS is not given up where it was asked for.
#[tokio::test]
async fn plain_http_has_to_be_asked_for() {
    let registry = Arc::new(Hostile::start("127.0.0.1", image()).await);
    let mut server = Server::start().await;
    let request = |scheme: Scheme| PullRequest {
        reference: format!("{}/x", registry.address),
        platform: String::new(),
        scheme: scheme.into(),
        max_concurrent_downloads: 1,
    };
    for (scheme, works) in [
        (Scheme::Default, true),
        (Scheme::Http, true),
        (Scheme::Https, false),
    ] {
        let pulled = match server.client.pull(request(scheme)).await {
            Ok(stream) => {
                let mut stream = stream.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break Ok(()),
                        Err(error) => break Err(error),
                    }
                }
            }
            Err(error) => Err(error),
        };
        assert_eq!(pulled.is_ok(), works, "{scheme:?}: {pulled:?}");
    }
}

/// Of an index whose other platforms are not here, the error says how to push what is.
#[tokio::test]
async fn a_part_of_an_index_is_pushed_by_its_platform() {
    let registry = Registry::start();
    let mut server = Server::start().await;
    let mut layout = Layout::default();
    let own = Image::odd(|_| {}).store(&mut layout);
    let absent = json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json",
                         "digest": oci::digest(b"elsewhere"), "size": 9 });
    let manifests = [
        of_platform(own, "linux", oci::host()),
        of_platform(absent, "linux", "riscv64"),
    ];
    let index = index(&mut layout, &manifests);
    let name = format!("{}/part:1", registry.address);
    layout.name(index, &name);
    server.load(&layout.archive()).await.unwrap();
    let error = server.push(&name).await.unwrap_err();
    assert!(error.hint.unwrap().contains("--platform"));
    let request = container_api::images::PushRequest {
        reference: name.clone(),
        platform: format!("linux/{}", oci::host()),
        scheme: Scheme::Default.into(),
    };
    let mut stream = server.client.push(request).await.unwrap().into_inner();
    while stream.message().await.unwrap().is_some() {}
    let mut fresh = Server::start().await;
    fresh.pull(&name).await.unwrap();
    assert!(Path::new(&fresh.app_root()).join("views").is_dir());
}
