//! The gRPC service: requests in, answers out; the work is done elsewhere.

mod archives;
mod fault;
mod logins;
mod names;
mod queries;
mod roots;
mod transfers;

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use container_api::descriptors::Descriptors;
use container_api::images::images_server::Images;
use container_api::images::{
    AttachedReply, AttachedRequest, DeleteReply, DeleteRequest, DiskUsageReply, DiskUsageRequest,
    DropLeasesReply, DropLeasesRequest, FetchRequest, GetReply, GetRequest, ImportReply,
    ImportRequest, ListReply, ListRequest, LoadProgress, LoadRequest, LoginReply, LoginRequest,
    LoginsReply, LoginsRequest, LogoutReply, LogoutRequest, PingReply, PingRequest,
    PrepareRootsReply, PrepareRootsRequest, PruneReply, PruneRequest, PullRequest, PushRequest,
    SaveReply, SaveRequest, TagReply, TagRequest, TransferProgress,
};
use container_api::{Error, Kind};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::archive::LoadOptions;
use crate::keyed::KeyedLocks;
use crate::layer::unpack::Unpacker;
use crate::registry::Registries;
use crate::registry::credentials::CredentialStore;
use crate::registry::pull::Pulls;
use crate::store::Store;

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One server's state.
#[derive(Debug)]
pub struct Service {
    store: Arc<Store>,
    unpacker: Arc<Unpacker>,
    pulls: Arc<Pulls>,
    descriptors: Descriptors,
}

impl Service {
    /// Over an open store.
    /// `insecure` are registries that may be spoken to without TLS.
    pub fn new(
        store: Arc<Store>,
        unpacker: Unpacker,
        descriptors: Descriptors,
        insecure: Vec<String>,
    ) -> Self {
        let unpacker = Arc::new(unpacker);
        let credentials = CredentialStore::from_environment(store.paths().credentials());
        let pulls = Arc::new(Pulls {
            store: Arc::clone(&store),
            unpacker: Arc::clone(&unpacker),
            registries: Arc::new(Registries::new(credentials).with_insecure(insecure)),
            blobs: KeyedLocks::default(),
        });
        Self {
            store,
            unpacker,
            pulls,
            descriptors,
        }
    }

    /// Runs blocking work on the store.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Status> {
        let store = Arc::clone(&self.store);
        let result = tokio::task::spawn_blocking(move || work(&store)).await;
        result
            .unwrap_or_else(|_| Err(Error::new(Kind::Internal, "the work was given up")))
            .map_err(Status::from)
    }

    /// The one descriptor that came under `token`.
    fn descriptor(&self, token: &str) -> Result<OwnedFd, Error> {
        let taken = self.descriptors.take(token).unwrap_or_default();
        let mut taken = taken.into_iter();
        match (taken.next(), taken.next()) {
            (Some(descriptor), None) => Ok(descriptor),
            _ => Err(Error::new(
                Kind::InvalidArgument,
                "the request needs one file descriptor",
            )),
        }
    }
}

#[tonic::async_trait]
impl Images for Service {
    type LoadStream = ReplyStream<LoadProgress>;
    type PullStream = ReplyStream<TransferProgress>;
    type PushStream = ReplyStream<TransferProgress>;
    type FetchStream = ReplyStream<TransferProgress>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<ListReply>, Status> {
        self.with_store(queries::list).await.map(Response::new)
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetReply>, Status> {
        let request = request.into_inner();
        self.with_store(move |store| queries::get(store, &request))
            .await
            .map(Response::new)
    }

    async fn disk_usage(
        &self,
        request: Request<DiskUsageRequest>,
    ) -> Result<Response<DiskUsageReply>, Status> {
        let request = request.into_inner();
        self.with_store(move |store| names::disk_usage(store, &request))
            .await
            .map(Response::new)
    }

    async fn tag(&self, request: Request<TagRequest>) -> Result<Response<TagReply>, Status> {
        let request = request.into_inner();
        self.with_store(move |store| names::tag(store, &request))
            .await
            .map(Response::new)
    }

    async fn delete(
        &self,
        request: Request<DeleteRequest>,
    ) -> Result<Response<DeleteReply>, Status> {
        let request = request.into_inner();
        self.with_store(move |store| names::delete(store, &request))
            .await
            .map(Response::new)
    }

    async fn prune(&self, request: Request<PruneRequest>) -> Result<Response<PruneReply>, Status> {
        let all = request.into_inner().all;
        self.with_store(move |store| names::prune(store, all))
            .await
            .map(Response::new)
    }

    async fn load(
        &self,
        request: Request<LoadRequest>,
    ) -> Result<Response<Self::LoadStream>, Status> {
        let request = request.into_inner();
        let descriptor = self.descriptor(&request.token)?;
        let (store, unpacker) = (Arc::clone(&self.store), Arc::clone(&self.unpacker));
        let names = request.names.iter().map(|name| store.normalise(name));
        let names: Result<Vec<_>, _> = names.collect();
        let options = LoadOptions {
            force: request.force,
            names: names.map_err(|error| Error::caused(Kind::InvalidArgument, error))?,
        };
        Ok(Response::new(archives::load(
            store, unpacker, descriptor, options,
        )))
    }

    async fn prepare_roots(
        &self,
        request: Request<PrepareRootsRequest>,
    ) -> Result<Response<PrepareRootsReply>, Status> {
        let request = request.into_inner();
        Ok(Response::new(
            roots::prepare(&self.store, &self.unpacker, &request).await?,
        ))
    }

    async fn drop_leases(
        &self,
        _: Request<DropLeasesRequest>,
    ) -> Result<Response<DropLeasesReply>, Status> {
        self.with_store(|store| {
            store.leases().drop_departed(&store.lock());
            Ok(Response::new(DropLeasesReply {}))
        })
        .await
    }

    async fn ping(&self, _: Request<PingRequest>) -> Result<Response<PingReply>, Status> {
        Ok(Response::new(PingReply {}))
    }

    async fn save(&self, request: Request<SaveRequest>) -> Result<Response<SaveReply>, Status> {
        let request = request.into_inner();
        let descriptor = self.descriptor(&request.token)?;
        self.with_store(move |store| archives::save(store, &request, descriptor))
            .await
            .map(Response::new)
    }

    async fn import(
        &self,
        request: Request<ImportRequest>,
    ) -> Result<Response<ImportReply>, Status> {
        let request = request.into_inner();
        let descriptor = self.descriptor(&request.token)?;
        let (store, unpacker) = (Arc::clone(&self.store), Arc::clone(&self.unpacker));
        let reply = archives::import(store, unpacker, request, descriptor).await?;
        Ok(Response::new(reply))
    }

    async fn pull(
        &self,
        request: Request<PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let pulls = Arc::clone(&self.pulls);
        Ok(Response::new(transfers::pull(
            pulls,
            &request.into_inner(),
        )?))
    }

    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<Self::FetchStream>, Status> {
        let FetchRequest { url, token } = request.into_inner();
        let file = self.descriptor(&token)?.into();
        let registries = Arc::clone(&self.pulls.registries);
        Ok(Response::new(transfers::fetch(registries, url, file)))
    }

    async fn push(
        &self,
        request: Request<PushRequest>,
    ) -> Result<Response<Self::PushStream>, Status> {
        let pulls = Arc::clone(&self.pulls);
        Ok(Response::new(transfers::push(
            pulls,
            &request.into_inner(),
        )?))
    }

    async fn attached(
        &self,
        request: Request<AttachedRequest>,
    ) -> Result<Response<AttachedReply>, Status> {
        let reply = transfers::attached(&self.pulls, &request.into_inner()).await?;
        Ok(Response::new(reply))
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginReply>, Status> {
        logins::login(&self.pulls.registries, &request.into_inner()).await?;
        Ok(Response::new(LoginReply {}))
    }

    async fn logout(
        &self,
        request: Request<LogoutRequest>,
    ) -> Result<Response<LogoutReply>, Status> {
        logins::logout(&self.pulls.registries, &request.into_inner()).await?;
        Ok(Response::new(LogoutReply {}))
    }

    async fn logins(&self, _: Request<LoginsRequest>) -> Result<Response<LoginsReply>, Status> {
        Ok(Response::new(logins::list(&self.pulls.registries).await?))
    }
}
