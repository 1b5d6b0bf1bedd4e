//! Redirects and challenges that lead elsewhere: to metadata services, to other hosts, to tokens for strangers.

use super::image::Image;
use super::puller::Puller;
use super::support::hostile::{Hostile, answer};

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
