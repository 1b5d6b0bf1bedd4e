//! Who pulls: a store of its own, short waits, and names that lead where a test wants.

use std::path::PathBuf;
use std::sync::Arc;
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

pub struct Puller {
    pub scratch: tempfile::TempDir,
    pub pulls: Pulls,
}

impl Puller {
    pub fn new() -> Self {
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

    pub async fn pull(&self, address: &str) -> Result<(), String> {
        self.pull_reference(&format!("{address}/x")).await
    }

    pub async fn pull_reference(&self, reference: &str) -> Result<(), String> {
        let choice = Choice::One(Platform::host());
        let report = Arc::new(|_: Progress| {});
        let reference = reference.parse().unwrap();
        let pulled = self
            .pulls
            .pull(reference, Scheme::Http, &choice, 3, report)
            .await;
        pulled.map(drop).map_err(|error| Chain(&error).to_string())
    }

    pub fn layers(&self) -> usize {
        std::fs::read_dir(self.scratch.path().join("layers"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension() == Some("erofs".as_ref()))
            .count()
    }

    /// The same with these addresses of names.
    pub fn with_names(mut self, names: &[(&'static str, &str)]) -> Self {
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
