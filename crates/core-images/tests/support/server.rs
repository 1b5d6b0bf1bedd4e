//! The real program on a scratch app root.

use std::io::{Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use container_api::images::images_client::ImagesClient;
use container_api::images::{
    ArchiveFormat, GetReply, GetRequest, ImportReply, ImportRequest, ListRequest, LoadProgress,
    LoadRequest, PingRequest, PrepareRootsRequest, PullRequest, PushRequest, Root, SaveRequest,
    Scheme, TagRequest, TransferProgress,
};
use container_api::request::Channel;
use container_api::{Error, descriptors, socket};
use serde_json::Value;

pub struct Server {
    pub scratch: tempfile::TempDir,
    child: Child,
    pub client: ImagesClient<Channel>,
}

/// A client of the server at `path`, which has answered.
async fn greet(path: &Path) -> Result<ImagesClient<Channel>, Box<dyn std::error::Error>> {
    let mut client =
        ImagesClient::new(socket::connect(path)?).max_decoding_message_size(socket::MESSAGE_LIMIT);
    client.ping(PingRequest {}).await?;
    Ok(client)
}

impl Server {
    pub async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), &[]).await
    }

    pub async fn start_in(scratch: tempfile::TempDir, environment: &[(&str, &str)]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_container-core-images"))
            .arg("start")
            .arg("--app-root")
            .arg(scratch.path().join("app"))
            .arg("--runtime-root")
            .arg(scratch.path().join("run"))
            .env("HOME", scratch.path())
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("DOCKER_CONFIG")
            .env_remove("REGISTRY_AUTH_FILE")
            .env_remove("DBUS_SESSION_BUS_ADDRESS")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let socket_path = scratch.path().join("run/images.sock");
        let deadline = Instant::now() + Duration::from_secs(20);
        // It listens before its store is open; and the socket of a server that was killed takes connections as long
        // as a child that it was just making has it open.
        let client = loop {
            match greet(&socket_path).await {
                Ok(client) => break client,
                Err(error) if Instant::now() > deadline => panic!("no server: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        Self {
            scratch,
            child,
            client,
        }
    }

    pub fn app_root(&self) -> PathBuf {
        self.scratch.path().join("app")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends the server without a chance to clean up, and keeps its files.
    pub fn kill(mut self) -> tempfile::TempDir {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let scratch = std::mem::replace(&mut self.scratch, tempfile::tempdir().unwrap());
        drop(self);
        scratch
    }

    pub async fn load_from(
        &mut self,
        descriptor: impl AsFd,
        force: bool,
    ) -> Result<Vec<String>, Error> {
        let last = self.load_telling(descriptor, force).await?;
        assert_eq!(last.errors, Vec::<String>::new());
        Ok(last.references)
    }

    /// With all that is told of it.
    pub async fn load_telling(
        &mut self,
        descriptor: impl AsFd,
        force: bool,
    ) -> Result<LoadProgress, Error> {
        let token = self.hand_over(&descriptor).await;
        drop(descriptor);
        let request = LoadRequest {
            token,
            force,
            ..LoadRequest::default()
        };
        let mut stream = self
            .client
            .load(request)
            .await
            .map_err(Error::from)?
            .into_inner();
        let mut last = LoadProgress::default();
        while let Some(progress) = stream.message().await.map_err(Error::from)? {
            last = progress;
        }
        Ok(last)
    }

    pub async fn load(&mut self, archive: &[u8]) -> Result<Vec<String>, Error> {
        self.load_from(as_file(archive), false).await
    }

    pub async fn import(
        &mut self,
        tar: &[u8],
        reference: &str,
        changes: &[&str],
    ) -> Result<ImportReply, Error> {
        let request = ImportRequest {
            token: self.hand_over(&as_file(tar)).await,
            reference: reference.into(),
            platform: String::new(),
            changes: changes.iter().map(|change| (*change).to_owned()).collect(),
            message: "made by a test".into(),
            ..ImportRequest::default()
        };
        let reply = self.client.import(request).await;
        reply.map(tonic::Response::into_inner).map_err(Error::from)
    }

    /// The root of an image as a directory, extracted by `fsck.erofs` of erofs-utils.
    pub async fn extract(&mut self, reference: &str) -> tempfile::TempDir {
        let root = self.prepare(reference, "lease-1").await.unwrap();
        let scratch = tempfile::tempdir().unwrap();
        let disk = scratch.path().join("disk");
        compose(&root, &disk);
        let tree = tempfile::tempdir().unwrap();
        let output = Command::new("fsck.erofs")
            .arg(format!("--extract={}", tree.path().display()))
            .arg("--overwrite")
            .arg(disk)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        tree
    }

    pub async fn save(&mut self, reference: &str, format: ArchiveFormat) -> Result<Vec<u8>, Error> {
        let mut file = tempfile::tempfile().unwrap();
        let token = self.hand_over(&file).await;
        let request = SaveRequest {
            references: vec![reference.to_owned()],
            platform: String::new(),
            token,
            format: format.into(),
        };
        self.client.save(request).await.map_err(Error::from)?;
        file.rewind().unwrap();
        let mut archive = Vec::new();
        file.read_to_end(&mut archive).unwrap();
        Ok(archive)
    }

    pub async fn pull(&mut self, reference: &str) -> Result<Vec<TransferProgress>, Error> {
        self.pull_with(reference, "").await
    }

    pub async fn pull_with(
        &mut self,
        reference: &str,
        platform: &str,
    ) -> Result<Vec<TransferProgress>, Error> {
        self.pull_by(PullRequest {
            reference: reference.into(),
            platform: platform.into(),
            scheme: Scheme::Default.into(),
            max_concurrent_downloads: 3,
        })
        .await
    }

    /// Without TLS.
    pub async fn pull_plain(&mut self, reference: &str) -> Result<Vec<TransferProgress>, Error> {
        self.pull_by(PullRequest {
            reference: reference.into(),
            platform: String::new(),
            scheme: Scheme::Http.into(),
            max_concurrent_downloads: 3,
        })
        .await
    }

    pub async fn pull_by(&mut self, request: PullRequest) -> Result<Vec<TransferProgress>, Error> {
        collect(
            self.client
                .pull(request)
                .await
                .map_err(Error::from)?
                .into_inner(),
        )
        .await
    }

    pub async fn push(&mut self, reference: &str) -> Result<Vec<TransferProgress>, Error> {
        let request = PushRequest {
            reference: reference.into(),
            platform: String::new(),
            scheme: Scheme::Default.into(),
        };
        collect(
            self.client
                .push(request)
                .await
                .map_err(Error::from)?
                .into_inner(),
        )
        .await
    }

    pub async fn tag(&mut self, source: &str, target: &str) {
        let request = TagRequest {
            source: source.into(),
            target: target.into(),
        };
        self.client.tag(request).await.unwrap();
    }

    /// Hands a descriptor over and gives its token.
    pub async fn hand_over(&self, descriptor: impl AsFd) -> String {
        let path = self.scratch.path().join("run/images-descriptors.sock");
        descriptors::send(&path, &[descriptor.as_fd()])
            .await
            .unwrap()
    }

    pub async fn get(&mut self, reference: &str) -> Result<GetReply, Error> {
        let request = GetRequest {
            reference: reference.into(),
            platform: String::new(),
        };
        Ok(self
            .client
            .get(request)
            .await
            .map_err(Error::from)?
            .into_inner())
    }

    pub async fn list(&mut self) -> Value {
        let reply = self.client.list(ListRequest {}).await.unwrap().into_inner();
        serde_json::from_slice(&reply.images).unwrap()
    }

    pub async fn names(&mut self) -> Vec<String> {
        let images = self.list().await;
        let name = |image: &Value| image["configuration"]["name"].as_str().unwrap().to_owned();
        images.as_array().unwrap().iter().map(name).collect()
    }

    pub async fn prepare(&mut self, reference: &str, lease: &str) -> Result<Root, Error> {
        Ok(self.prepare_all(&[reference], lease).await?.remove(0))
    }

    pub async fn prepare_all(
        &mut self,
        references: &[&str],
        lease: &str,
    ) -> Result<Vec<Root>, Error> {
        let mut manifest_digests = Vec::new();
        for reference in references {
            manifest_digests.push(self.get(reference).await?.manifest_digest);
        }
        let request = PrepareRootsRequest {
            manifest_digests,
            lease: lease.into(),
        };
        let reply = self.client.prepare_roots(request).await;
        Ok(reply.map_err(Error::from)?.into_inner().roots)
    }

    /// Files below the app root, as relative paths, sorted; without the seals beside them.
    pub fn files(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.app_root().join(directory))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension() != Some("seal".as_ref()))
            .collect();
        names.sort();
        names
    }
}

/// A file with this content, at its beginning.
pub fn as_file(content: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(content).unwrap();
    file.rewind().unwrap();
    file
}

async fn collect(
    mut stream: tonic::Streaming<TransferProgress>,
) -> Result<Vec<TransferProgress>, Error> {
    let mut lines = Vec::new();
    while let Some(line) = stream.message().await.map_err(Error::from)? {
        lines.push(line);
    }
    Ok(lines)
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The composed disk as one file.
pub fn compose(root: &Root, disk: &Path) {
    let mut out = std::fs::File::create(disk).unwrap();
    for extent in &root.extents {
        let mut part = std::fs::File::open(&extent.path).unwrap();
        assert_eq!(part.metadata().unwrap().len(), extent.length);
        std::io::copy(&mut part, &mut out).unwrap();
    }
    assert_eq!(out.metadata().unwrap().len(), root.size);
}
