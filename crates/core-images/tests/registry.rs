//! Pulling and pushing, with a real registry.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use container_api::Kind;
use container_api::images::{ArchiveFormat, DeleteRequest, GetRequest, Phase, TransferProgress};
use container_resource::label::well_known::PULLED_FROM;
use container_resource::platform::ANY;
use serde_json::{Value, json};
use support::hostile::{Answer, Hostile, answer, lying};
use support::oci::{self, Layer, Layout};
use support::registry::{Registry, make_certificates, skopeo_copy};
use support::server::Server;
use support::tarball;

fn phases(lines: &[TransferProgress], phase: Phase) -> usize {
    lines
        .iter()
        .filter(|line| line.phase() == phase && !line.digest.is_empty())
        .count()
}

#[tokio::test]
async fn an_image_goes_out_and_comes_back() {
    let registry = Registry::start();
    let mut server = Server::start().await;
    let name = format!("{}/a/image:1", registry.address);
    server
        .load(&oci::archive(
            "local",
            &[oci::tool("one"), oci::tool("two")],
        ))
        .await
        .unwrap();
    server.tag("local", &name).await;
    let lines = server.push(&name).await.unwrap();
    assert_eq!(phases(&lines, Phase::Exists), 0);
    let lines = server.push(&name).await.unwrap();
    assert_eq!(
        phases(&lines, Phase::Exists),
        3,
        "the second time nothing is sent: {lines:?}"
    );

    // Another repository of that registry gets the blobs by mounting them.
    let other = format!("{}/b/image:1", registry.address);
    server.tag("local", &other).await;
    let lines = server.push(&other).await.unwrap();
    assert_eq!(phases(&lines, Phase::Exists), 3, "{lines:?}");

    let mut fresh = Server::start().await;
    let lines = fresh.pull(&name).await.unwrap();
    let last = lines.last().unwrap();
    assert_eq!(
        (last.phase(), last.reference.as_str()),
        (Phase::Done, name.as_str())
    );
    let (ours, theirs) = (
        server.get("local").await.unwrap(),
        fresh.get(&name).await.unwrap(),
    );
    assert_eq!(ours.manifest_digest, theirs.manifest_digest);
    assert_eq!(last.result_digest, theirs.manifest_digest);
    assert_eq!(fresh.files("layers").len(), 2, "unpacked while it came in");
    assert_eq!(fresh.files("views").len(), 1);
    let by_digest = format!("{}/a/image@{}", registry.address, last.result_digest);
    fresh.pull(&by_digest).await.unwrap();

    let error = fresh
        .pull(&format!("{}/absent", registry.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
}

#[tokio::test]
async fn short_names_are_of_the_configured_registry() {
    let registry = Registry::start();
    let scratch = tempfile::tempdir().unwrap();
    let configuration = scratch.path().join("app/config/config.toml");
    std::fs::create_dir_all(configuration.parent().unwrap()).unwrap();
    let text = format!("[registry]\ndomain = \"{}\"\n", registry.address);
    std::fs::write(configuration, text).unwrap();
    let mut server = Server::start_in(scratch, &[]).await;
    let full = |name: &str| format!("{}/{name}", registry.address);

    let loaded = server
        .load(&oci::archive("tool", &[oci::tool("one")]))
        .await
        .unwrap();
    assert_eq!(loaded, [full("tool:latest")]);
    let docker = server.save("tool", ArchiveFormat::Docker).await.unwrap();
    assert_eq!(server.load(&docker).await.unwrap(), [full("tool:latest")]);
    server.tag("tool", "a/tool:1").await;
    server.tag("tool", "docker.io/tool").await;
    let mut names = server.names().await;
    names.sort();
    let hub = "docker.io/library/tool:latest".to_owned();
    assert_eq!(names, [full("a/tool:1"), full("tool:latest"), hub]);

    server.push("a/tool:1").await.unwrap();
    let references = vec!["a/tool:1".into()];
    let request = DeleteRequest {
        references,
        force: false,
    };
    let deleted = server.client.delete(request).await.unwrap().into_inner();
    assert_eq!(deleted.deleted, [full("a/tool:1")]);
    let pulled = server.pull("a/tool:1").await.unwrap();
    assert_eq!(pulled.last().unwrap().reference, full("a/tool:1"));
    let found = server.get("a/tool:1").await.unwrap();
    assert_eq!(found.reference, full("a/tool:1"));
    let by_digest = format!("a/tool@{}", found.manifest_digest);
    assert_eq!(
        server.get(&by_digest).await.unwrap().reference,
        found.reference
    );
}

/// An image, and two artifacts that refer to it, in one repository; gives the digest of the image.
fn signed(address: &str) -> (Vec<u8>, String) {
    let mut layout = Layout::default();
    let image = layout.manifest(oci::host(), &[oci::tool("signed")]);
    layout.name(image.clone(), &format!("{address}/a/signed:1"));
    for name in ["first", "second"] {
        let empty = layout.blob("application/vnd.oci.empty.v1+json", b"{}".to_vec());
        let content = layout.blob("text/plain", name.into());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": format!("application/vnd.example.{name}"),
            "config": empty,
            "layers": [content],
            "subject": image,
            "annotations": { "by": name },
        });
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = layout.document(kind, &manifest);
        layout.name(manifest, &format!("{address}/a/signed:{name}"));
    }
    (layout.archive(), image["digest"].as_str().unwrap().into())
}

#[tokio::test]
async fn a_registry_without_referrers_gets_them_under_a_tag() {
    let registry = Registry::start();
    let mut server = Server::start().await;
    let (archive, digest) = signed(&registry.address);
    server.load(&archive).await.unwrap();
    for name in ["1", "first", "second", "first"] {
        let name = format!("{}/a/signed:{name}", registry.address);
        server.push(&name).await.unwrap();
    }
    let tag = digest.replace(':', "-");
    let seen = std::process::Command::new("skopeo")
        .args(["inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{}/a/signed:{tag}", registry.address))
        .output()
        .unwrap();
    let index: Value = serde_json::from_slice(&seen.stdout).unwrap();
    let of = |key: &str| -> Vec<&Value> {
        let manifests = index["manifests"].as_array().unwrap();
        manifests.iter().map(|manifest| &manifest[key]).collect()
    };
    let kinds = [
        "application/vnd.example.first",
        "application/vnd.example.second",
    ];
    assert_eq!(of("artifactType"), kinds);
    assert_eq!(
        of("annotations"),
        [&json!({"by": "first"}), &json!({"by": "second"})]
    );
    // Nobody who pulls the image is bothered.
    let mut fresh = Server::start().await;
    let name = format!("{}/a/signed:1", registry.address);
    fresh.pull(&name).await.unwrap();
    assert_eq!(fresh.names().await, [name]);
}

#[tokio::test]
async fn referrers_of_a_registry_that_misbehaves() {
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let kind = "content-type: application/vnd.oci.image.index.v1+json\r\netag: \"one\"\r\n";
    let huge = " ".repeat(5 << 20);
    let (_, digest) = signed("registry.example");
    // What is under the tag, how often it may not be changed, whether the registry has taken note; what comes.
    for (what, body, refusals, noted, expected, puts) in [
        ("noted", "<html>", 0, true, Ok(()), 0),
        ("an empty index", index, 0, false, Ok(()), 1),
        ("changed meanwhile", index, 2, false, Ok(()), 3),
        (
            "changed always",
            index,
            99,
            false,
            Err("change all the time"),
            5,
        ),
        ("no index", "<html>", 0, false, Err("no image index"), 0),
        ("5 MiB", huge.as_str(), 0, false, Err("larger than"), 0),
    ] {
        let body = body.to_owned();
        let subject = format!("oci-subject: {digest}\r\n");
        let registry = Hostile::start("127.0.0.1", move |request| {
            let is_tag = request.path.contains("/manifests/sha256-");
            match (request.method.as_str(), is_tag) {
                ("GET", true) => answer("200 OK", kind, body.as_bytes()),
                ("PUT", true) if request.before < refusals => {
                    assert_eq!(request.headers["if-match"], "\"one\"");
                    answer("412 Precondition Failed", "", b"")
                }
                ("PUT", false) if noted => answer("201 Created", &subject, b""),
                ("PUT", _) => answer("201 Created", "", b""),
                _ => answer("200 OK", "", b""),
            }
            .into()
        })
        .await;
        let mut server = Server::start().await;
        let (archive, _) = signed(&registry.address);
        server.load(&archive).await.unwrap();
        let name = format!("{}/a/signed:first", registry.address);
        let pushed = server.push(&name).await;
        match (pushed, expected) {
            (Ok(_), Ok(())) => {}
            (Err(error), Err(text)) => assert!(error.message().contains(text), "{what}: {error}"),
            (pushed, _) => panic!("{what}: {pushed:?}"),
        }
        let tag = format!("/v2/a/signed/manifests/{}", digest.replace(':', "-"));
        let requests = registry.requests.lock().unwrap();
        let put = requests
            .iter()
            .filter(|it| it.method == "PUT" && it.path == tag);
        assert_eq!(put.count(), puts, "{what}");
    }
}

#[tokio::test]
async fn a_large_layer_goes_in_chunks() {
    let registry = Registry::start();
    let mut server = Server::start().await;
    let noise = tarball::noise(20 << 20);
    let big = Layer::plain(&tarball::archive(&[tarball::file("noise", &noise)]));
    server.load(&oci::archive("big", &[big])).await.unwrap();
    let name = format!("{}/big:1", registry.address);
    server.tag("big", &name).await;
    let lines = server.push(&name).await.unwrap();
    assert!(phases(&lines, Phase::Uploading) >= 3);
    let mut fresh = Server::start().await;
    fresh.pull(&name).await.unwrap();
}

#[tokio::test]
async fn what_skopeo_pushes_is_pulled_by_platform() {
    let registry = Registry::start();
    let mut layout = Layout::default();
    let mut manifests = Vec::new();
    for (architecture, content) in [("riscv64", "other"), (oci::host(), "own")] {
        let mut manifest = layout.manifest(architecture, &[oci::tool(content)]);
        manifest["platform"] = json!({"os": "linux", "architecture": architecture});
        manifests.push(manifest);
    }
    let media_type = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": manifests});
    let index = layout.document(media_type, &index);
    layout.name(index, "x");
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("multi.tar");
    std::fs::write(&archive, layout.archive()).unwrap();
    let name = format!("{}/multi:1", registry.address);
    skopeo_copy(&["--all"], &archive, &name);

    let mut server = Server::start().await;
    server.pull(&name).await.unwrap();
    let variants = |images: &Value| images[0]["variants"].as_array().unwrap().len();
    assert_eq!(variants(&server.list().await), 1, "only what runs here");
    let error = server.push(&name).await.unwrap_err();
    assert!(error.hint.unwrap().contains("--platform"));
    let error = server.pull_with(&name, "linux/s390x").await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    server.pull_with(&name, "all").await.unwrap();
    assert_eq!(variants(&server.list().await), 2);
    assert_eq!(
        server.files("layers").len(),
        1,
        "a foreign platform's layers stay packed"
    );
    server.push(&name).await.unwrap();
    let error = server.pull_with(&name, "nonsense").await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidArgument);
    // One that does not run here can be looked at.
    let mut other = Server::start().await;
    other.pull_with(&name, "linux/riscv64").await.unwrap();
    let error = other.get(&name).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unsupported);
    let any = GetRequest {
        reference: name,
        platform: ANY.into(),
    };
    other.client.get(any).await.unwrap();
}

#[tokio::test]
async fn docker_manifests_are_pulled() {
    let registry = Registry::start();
    let scratch = tempfile::tempdir().unwrap();
    let archive = scratch.path().join("image.tar");
    std::fs::write(&archive, oci::archive("x", &[oci::tool("x")])).unwrap();
    let name = format!("{}/docker:1", registry.address);
    skopeo_copy(&["--format=v2s2"], &archive, &name);
    let mut server = Server::start().await;
    server.pull(&name).await.unwrap();
    server.prepare(&name, "lease-1").await.unwrap();
    // Where it came from is known of it, whatever it is called here.
    server.tag(&name, "mine:1").await;
    let mine = server.get("mine:1").await.unwrap().descriptor;
    let mine: Value = serde_json::from_slice(&mine).unwrap();
    assert_eq!(mine["annotations"][PULLED_FROM], json!(name));
    let archive = server.save("mine:1", ArchiveFormat::Oci).await.unwrap();
    assert!(!String::from_utf8_lossy(&archive).contains(PULLED_FROM));
}

#[tokio::test]
async fn two_pulls_share_the_work_while_others_prune() {
    let registry = Registry::start();
    let mut source = Server::start().await;
    let name = format!("{}/shared:1", registry.address);
    let layers: Vec<Layer> = (0..5)
        .map(|n| oci::tool(&n.to_string().repeat(100_000)))
        .collect();
    source.load(&oci::archive("shared", &layers)).await.unwrap();
    source.tag("shared", &name).await;
    source.push(&name).await.unwrap();

    let mut server = Server::start().await;
    let mut pruner = server.client.clone();
    let pruning = tokio::spawn(async move {
        loop {
            pruner
                .prune(container_api::images::PruneRequest { all: false })
                .await
                .unwrap();
            tokio::task::yield_now().await;
        }
    });
    let pull = async |mut client: container_api::images::images_client::ImagesClient<_>| {
        let request = container_api::images::PullRequest {
            reference: name.clone(),
            ..Default::default()
        };
        let mut stream = client.pull(request).await.unwrap().into_inner();
        while stream.message().await.unwrap().is_some() {}
    };
    let (one, two) = (server.client.clone(), server.client.clone());
    tokio::join!(pull(one), pull(two));
    pruning.abort();
    server.prepare(&name, "lease-1").await.unwrap();
    assert_eq!(server.files("layers").len(), 5);
    let delete = DeleteRequest {
        references: vec![name],
        force: false,
    };
    server.client.delete(delete).await.unwrap();
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_it_is_configured() {
    let scratch = tempfile::tempdir().unwrap();
    make_certificates(scratch.path());
    let authority = std::fs::read(scratch.path().join("ca.crt")).unwrap();
    let tls = "  tls:\n    certificate: {}/server.crt\n    key: {}/server.key\n";
    let registry = Registry::start_in(scratch, tls, "");
    let home = tempfile::tempdir().unwrap();
    let directory = home
        .path()
        .join(".config/container/certs.d")
        .join(&registry.address);
    std::fs::create_dir_all(&directory).unwrap();
    let mut server = Server::start_in(home, &[]).await;
    server
        .load(&oci::archive("local", &[oci::tool("x")]))
        .await
        .unwrap();
    let name = format!("{}/tls:1", registry.address);
    server.tag("local", &name).await;
    let error = server.push(&name).await.unwrap_err();
    assert_eq!(error.kind, Kind::Unavailable, "{error}");
    std::fs::write(directory.join("ca.crt"), authority).unwrap();
    server.push(&name).await.unwrap();
    server.pull(&name).await.unwrap();
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_a_dead_one_is_skipped() {
    let registry = Registry::start();
    let mut source = Server::start().await;
    source
        .load(&oci::archive("local", &[oci::tool("x")]))
        .await
        .unwrap();
    let name = format!("{}/mirrored:1", registry.address);
    source.tag("local", &name).await;
    source.push(&name).await.unwrap();

    let home = tempfile::tempdir().unwrap();
    let directory = home
        .path()
        .join(".config/container/certs.d/unreachable.invalid");
    std::fs::create_dir_all(&directory).unwrap();
    // Port 9 (discard) refuses connections.
    let hosts = format!(
        "[host.\"http://127.0.0.1:9\"]\ncapabilities = [\"push\"]\n[host.\"http://{}\"]\n",
        registry.address
    );
    std::fs::write(directory.join("hosts.toml"), hosts).unwrap();
    let mut server = Server::start_in(home, &[]).await;
    server.pull("unreachable.invalid/mirrored:1").await.unwrap();
    assert_eq!(server.names().await, ["unreachable.invalid/mirrored:1"]);
}

#[tokio::test]
async fn proxies_of_the_environment_are_used_but_not_for_loopback() {
    let proxy = Hostile::start("127.0.0.1", |_| answer("418 I'm a teapot", "", b"").into()).await;
    let address = format!("http://{}", proxy.address);
    let home = tempfile::tempdir().unwrap();
    let mut server = Server::start_in(home, &[("http_proxy", &address)]).await;
    let error = server.pull_plain("10.255.255.1/x:1").await.unwrap_err();
    assert!(error.message().contains("418"), "{error}");
    assert_eq!(proxy.count("http://10.255.255.1/v2/x/manifests/1"), 1);
    let registry = Registry::start();
    let error = server
        .pull(&format!("{}/x:1", registry.address))
        .await
        .unwrap_err();
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn a_pull_that_was_killed_leaves_a_store_that_heals() {
    let registry = Registry::start();
    let mut source = Server::start().await;
    source
        .load(&oci::archive("local", &[oci::tool("x")]))
        .await
        .unwrap();
    let name = format!("{}/image:1", registry.address);
    source.tag("local", &name).await;
    source.push(&name).await.unwrap();
    let manifest = source.get(&name).await.unwrap().manifest_digest;
    let blobs = source.app_root().join("content/blobs/sha256");
    let read =
        |digest: &str| std::fs::read(blobs.join(digest.trim_start_matches("sha256:"))).unwrap();
    let document: Value = serde_json::from_slice(&read(&manifest)).unwrap();
    let held = document["layers"][0]["digest"].as_str().unwrap().to_owned();
    let answers: std::collections::HashMap<String, Vec<u8>> = [
        &manifest,
        document["config"]["digest"].as_str().unwrap(),
        &held,
    ]
    .into_iter()
    .map(|digest| (digest.to_owned(), read(digest)))
    .collect();
    // Serves everything but the layer's end.
    let stalling = Hostile::start("127.0.0.1", move |request| {
        let last = request.path.rsplit('/').next().unwrap();
        let digest = if last == "1" { &manifest } else { last };
        let body = &answers[digest];
        let sent = if *digest == *held {
            &body[..body.len() / 2]
        } else {
            body
        };
        Answer {
            bytes: lying("200 OK", "", body.len(), sent),
            stall: true,
        }
    })
    .await;
    let server = Server::start().await;
    let mut client = server.client.clone();
    let request = container_api::images::PullRequest {
        reference: format!("{}/image:1", stalling.address),
        ..Default::default()
    };
    let pulling = tokio::spawn(async move {
        let mut stream = client.pull(request).await.unwrap().into_inner();
        while let Ok(Some(_)) = stream.message().await {}
    });
    while server.files("layers").is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let scratch = server.kill();
    pulling.await.unwrap();
    let mut server = Server::start_in(scratch, &[]).await;
    assert_eq!(server.names().await, Vec::<String>::new());
    assert_eq!(server.files("layers"), Vec::<String>::new());
    assert_eq!(server.files("content/ingest"), Vec::<String>::new());
    server.pull(&name).await.unwrap();
    server.prepare(&name, "lease-1").await.unwrap();
}
