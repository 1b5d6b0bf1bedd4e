//! Logins: kept, used, listed and forgotten, in the keyring and in a file.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use container_api::images::{LoginRequest, LoginsRequest, LogoutRequest};
use container_api::{Error, Kind};
use serde_json::Value;
use support::keyring::Keyring;
use support::oci;
use support::registry::Registry;
use support::server::Server;

/// Where the desktop's services are.
const BUS: &str = "DBUS_SESSION_BUS_ADDRESS";

/// A registry that wants to see "me" or "other" with the password "secret".
fn guarded() -> Registry {
    let scratch = tempfile::tempdir().unwrap();
    // As htpasswd makes it (bcrypt).
    let hash = "$2y$05$BZC3Yq1bGBV8wx2W2AfEIOjDD4nZGSyg7Gf2mjzUc8pOVgDuV4QFu";
    let line = format!("me:{hash}\nother:{hash}\n");
    std::fs::write(scratch.path().join("htpasswd"), line).unwrap();
    let auth = "auth:\n  htpasswd:\n    realm: test\n    path: {}/htpasswd\n";
    Registry::start_in(scratch, "", auth)
}

/// An image that `server` has under a name of `registry`.
async fn private(server: &mut Server, registry: &Registry) -> String {
    let name = format!("{}/private:1", registry.address);
    let archive = oci::archive(&name, &[oci::tool("x")]);
    server.load(&archive).await.unwrap();
    name
}

fn login(registry: &Registry, password: &str) -> LoginRequest {
    LoginRequest {
        server: registry.address.clone(),
        username: "me".into(),
        password: password.into(),
        scheme: 0,
    }
}

#[tokio::test]
async fn a_login_is_kept_in_the_keyring_where_there_is_one() {
    let registry = guarded();
    let keyring = Keyring::start();
    let environment = [(BUS, keyring.address.as_str())];
    let mut server = Server::start_in(tempfile::tempdir().unwrap(), &environment).await;
    let name = private(&mut server, &registry).await;
    let login = login(&registry, "secret");
    // The last takes the place of the others.
    let other = LoginRequest {
        username: "other".into(),
        ..login.clone()
    };
    for login in [login.clone(), other, login] {
        server.client.login(login).await.unwrap();
    }
    let file = server.app_root().join("auth.json");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&registry.address), "{text}");
    let scratch = server.kill();
    let mut server = Server::start_in(scratch, &environment).await;
    server.push(&name).await.unwrap();
    let list = |reply: container_api::images::LoginsReply| -> Value {
        serde_json::from_slice(&reply.logins).unwrap()
    };
    let reply = server.client.logins(LoginsRequest {}).await.unwrap();
    let logins = list(reply.into_inner());
    assert_eq!(logins.as_array().unwrap().len(), 1);
    assert_eq!(logins[0]["name"], registry.address.as_str());
    assert_eq!(logins[0]["username"], "me");
    keyring.lock();
    let begun = std::time::Instant::now();
    assert!(server.push(&name).await.is_err());
    assert!(
        begun.elapsed() < std::time::Duration::from_secs(4),
        "a push waits for nobody"
    );
    let locked = LogoutRequest {
        server: registry.address.clone(),
    };
    let error = Error::from(server.client.logout(locked).await.unwrap_err());
    assert!(error.message().contains("keyring is locked"), "{error}");
    drop(keyring);
}

#[tokio::test]
async fn a_login_in_the_keyring_is_forgotten() {
    let registry = guarded();
    let keyring = Keyring::start();
    let environment = [(BUS, keyring.address.as_str())];
    let mut server = Server::start_in(tempfile::tempdir().unwrap(), &environment).await;
    let name = private(&mut server, &registry).await;
    let login = login(&registry, "secret");
    server.client.login(login).await.unwrap();
    server.push(&name).await.unwrap();
    let logout = LogoutRequest {
        server: registry.address.clone(),
    };
    server.client.logout(logout.clone()).await.unwrap();
    assert!(server.client.logout(logout).await.is_err());
    assert!(server.push(&name).await.is_err());
}

#[tokio::test]
async fn users_log_in_and_out() {
    let registry = guarded();
    // A bus that nobody serves is as good as none.
    let environment = [(BUS, "unix:path=/nowhere")];
    let mut server = Server::start_in(tempfile::tempdir().unwrap(), &environment).await;
    let name = private(&mut server, &registry).await;
    assert_eq!(
        server.push(&name).await.unwrap_err().kind,
        Kind::PermissionDenied
    );
    let login = |password| login(&registry, password);
    let error = Error::from(server.client.login(login("wrong")).await.unwrap_err());
    assert_eq!(error.kind, Kind::PermissionDenied);
    assert!(!error.message().contains("wrong"), "{error}");
    server.client.login(login("secret")).await.unwrap();
    server.push(&name).await.unwrap();
    let logins = server
        .client
        .logins(LoginsRequest {})
        .await
        .unwrap()
        .into_inner()
        .logins;
    let logins: Value = serde_json::from_slice(&logins).unwrap();
    assert_eq!(
        (logins[0]["name"].as_str(), logins[0]["username"].as_str()),
        (Some(registry.address.as_str()), Some("me"))
    );
    let logout = LogoutRequest {
        server: registry.address.clone(),
    };
    server.client.logout(logout.clone()).await.unwrap();
    assert!(server.client.logout(logout).await.is_err());
    assert_eq!(
        server.pull(&name).await.unwrap_err().kind,
        Kind::PermissionDenied
    );
}
