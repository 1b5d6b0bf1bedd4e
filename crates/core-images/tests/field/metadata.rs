//! Manifests, configurations and indexes as programs wrote them over ten years.

use container_api::images::ArchiveFormat;
use serde_json::{Value, json};

use crate::craft::{Image, index, of_platform};
use crate::support::oci::{self, Layout};
use crate::support::server::Server;

/// What is odd about an image.
type Change = Box<dyn FnOnce(&mut Image)>;

/// Each of them becomes a root.
#[tokio::test]
async fn odd_metadata_that_other_tools_take() {
    let nothing = |path: &'static str, value: Value| {
        move |image: &mut Image| *image.config.pointer_mut(path).unwrap() = value
    };
    let cases: Vec<(&str, Change)> = vec![
        (
            "old type",
            Box::new(|image| image.config_type = "application/octet-stream".into()),
        ),
        (
            "html",
            Box::new(|image| image.config_type = "text/html".into()),
        ),
        (
            "no type",
            Box::new(|image| image.config_type = String::new()),
        ),
        (
            "odd type",
            Box::new(|image| image.config_type = "text/plain; charset=utf-8".into()),
        ),
        (
            "no platform",
            Box::new(|image| {
                let config = image.config.as_object_mut().unwrap();
                config.remove("architecture");
                config.remove("os");
            }),
        ),
        ("empty os", Box::new(nothing("/os", json!("")))),
        ("null os", Box::new(nothing("/os", json!(null)))),
        (
            "empty architecture",
            Box::new(nothing("/architecture", json!(""))),
        ),
        ("other spelling", Box::new(nothing("/os", json!("Linux")))),
        (
            "text as a list",
            Box::new(|image| {
                image.config["config"] = json!({ "Cmd": "sh", "Entrypoint": "/init" });
            }),
        ),
        (
            "nulls",
            Box::new(|image| {
                image.config["config"] = json!({ "Cmd": null, "Env": [null], "Labels": { "a": null },
                                             "Healthcheck": null, "User": null });
                image.config["created"] = json!(null);
                image.manifest["annotations"] = json!(null);
                image.manifest["mediaType"] = json!(null);
            }),
        ),
        (
            "null configuration",
            Box::new(|image| image.config["config"] = json!(null)),
        ),
        (
            "odd health",
            Box::new(|image| {
                image.config["config"]["Healthcheck"] = json!({ "Test": "NONE", "Interval": -1,
                "Timeout": 3e10, "StartPeriod": 1.5, "Retries": "3" });
            }),
        ),
    ];
    let mut server = Server::start().await;
    for (number, (what, change)) in cases.into_iter().enumerate() {
        let name = format!("odd:{number}");
        let archive = Image::odd(change).archive(&name);
        let loaded = server.load(&archive).await;
        assert!(loaded.is_ok(), "{what}: {loaded:?}");
        let prepared = server.prepare(&name, "lease-1").await;
        assert!(prepared.is_ok(), "{what}: {prepared:?}");
        let image = server.get(&name).await.unwrap();
        let image: Value = serde_json::from_slice(&image.image).unwrap();
        let platform = &image["variants"][0]["platform"];
        assert_eq!(platform["os"], "linux", "{what}");
        assert_eq!(platform["architecture"], oci::host(), "{what}");
    }
}

/// Each of them is refused when it is loaded, with the reason, and not when a container is wanted.
#[tokio::test]
async fn what_no_container_can_be_made_of_is_refused_at_once() {
    let cases: Vec<(&str, Change)> = vec![
        (
            "no container can be made",
            Box::new(|image| image.config["config"] = json!({ "Cmd": 7 })),
        ),
        (
            "no container can be made",
            Box::new(|image| image.config["config"] = json!({ "Env": { "A": "b" } })),
        ),
        (
            "no layers",
            Box::new(|image| {
                image.manifest["layers"] = json!(null);
            }),
        ),
        (
            "another number of layers",
            Box::new(|image| {
                image.config["rootfs"]["diff_ids"] = json!(null);
            }),
        ),
        (
            "malformed",
            Box::new(|image| image.config["rootfs"] = json!(null)),
        ),
        (
            "malformed",
            Box::new(|image| image.config["architecture"] = json!(7)),
        ),
    ];
    let mut server = Server::start().await;
    for (number, (text, change)) in cases.into_iter().enumerate() {
        let error = server.load(&Image::odd(change).archive("bad")).await;
        let error = error.unwrap_err();
        assert!(error.message().contains(text), "{number}: {error}");
    }
    assert_eq!(server.names().await, Vec::<String>::new());
    assert_eq!(server.files("content/blobs/sha256"), Vec::<String>::new());
}

#[tokio::test]
async fn one_manifest_may_be_for_several_platforms() {
    let mut server = Server::start().await;
    let mut layout = Layout::default();
    let manifest = Image::odd(|_| {}).store(&mut layout);
    let manifests = ["riscv64", oci::host(), "s390x"]
        .map(|architecture| of_platform(manifest.clone(), "linux", architecture));
    let index = index(&mut layout, &manifests);
    layout.name(index, "everywhere");
    server.load(&layout.archive()).await.unwrap();
    server.prepare("everywhere", "lease-1").await.unwrap();
    let image = &server.list().await[0];
    let platforms: Vec<&str> = image["variants"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variant| variant["platform"]["architecture"].as_str().unwrap())
        .collect();
    assert_eq!(platforms, ["riscv64", oci::host(), "s390x"]);
}

#[tokio::test]
async fn a_later_cpu_takes_an_image_for_an_earlier_one() {
    let mut server = Server::start().await;
    server
        .load(&oci::archive("plain", &[oci::tool("tool")]))
        .await
        .unwrap();
    let version = if oci::host() == "arm64" { "v9" } else { "v3" };
    let request = container_api::images::GetRequest {
        reference: "plain".into(),
        platform: format!("linux/{}/{version}", oci::host()),
    };
    server.client.get(request).await.unwrap();
}

/// An artifact is kept and can be passed on; that it cannot run is told at once.
#[tokio::test]
async fn an_artifact_is_no_image() {
    let mut server = Server::start().await;
    let archive = Image::odd(|image| {
        image.config_type = "application/vnd.oci.empty.v1+json".into();
        image.config = json!({});
    })
    .archive("chart");
    let file = crate::support::server::as_file(&archive);
    let told = server.load_telling(file, false).await.unwrap();
    assert_eq!(told.references, ["docker.io/library/chart:latest"]);
    assert!(
        told.warnings[0].contains("not an image that can run"),
        "{told:?}"
    );
    server.save("chart", ArchiveFormat::Oci).await.unwrap();
}
