//! The gRPC service: requests in, answers out; the work is done elsewhere.

mod archives;
mod fault;
mod names;
mod queries;
mod roots;

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;

use container_api::descriptors::Descriptors;
use container_api::images::images_server::Images;
use container_api::images::{
    DeleteReply, DeleteRequest, DiskUsageReply, DiskUsageRequest, GetReply, GetRequest,
    ImportReply, ImportRequest, ListReply, ListRequest, LoadProgress, LoadRequest, LoginReply,
    LoginRequest, LoginsReply, LoginsRequest, LogoutReply, LogoutRequest, PrepareRootReply,
    PrepareRootRequest, PruneReply, PruneRequest, PullRequest, PushRequest, SaveReply, SaveRequest,
    TagReply, TagRequest, TransferProgress,
};
use container_api::{Error, Kind};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::layer::unpack::Unpacker;
use crate::store::Store;

type ReplyStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// One server's state.
#[derive(Debug)]
pub struct Service {
    store: Arc<Store>,
    unpacker: Arc<Unpacker>,
    descriptors: Descriptors,
}

impl Service {
    /// Over an open store.
    pub fn new(store: Arc<Store>, unpacker: Unpacker, descriptors: Descriptors) -> Self {
        Self {
            store,
            unpacker: Arc::new(unpacker),
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
        self.with_store(move |store| queries::disk_usage(store, &request))
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
        let store = Arc::clone(&self.store);
        Ok(Response::new(archives::load(
            store,
            descriptor,
            request.force,
        )))
    }

    async fn prepare_root(
        &self,
        request: Request<PrepareRootRequest>,
    ) -> Result<Response<PrepareRootReply>, Status> {
        let request = request.into_inner();
        Ok(Response::new(
            roots::prepare(&self.store, &self.unpacker, &request).await?,
        ))
    }

    type PullStream = ReplyStream<TransferProgress>;
    type PushStream = ReplyStream<TransferProgress>;

    async fn save(&self, _: Request<SaveRequest>) -> Result<Response<SaveReply>, Status> {
        Err(unsupported())
    }

    async fn import(&self, _: Request<ImportRequest>) -> Result<Response<ImportReply>, Status> {
        Err(unsupported())
    }

    async fn pull(&self, _: Request<PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        Err(unsupported())
    }

    async fn push(&self, _: Request<PushRequest>) -> Result<Response<Self::PushStream>, Status> {
        Err(unsupported())
    }

    async fn login(&self, _: Request<LoginRequest>) -> Result<Response<LoginReply>, Status> {
        Err(unsupported())
    }

    async fn logout(&self, _: Request<LogoutRequest>) -> Result<Response<LogoutReply>, Status> {
        Err(unsupported())
    }

    async fn logins(&self, _: Request<LoginsRequest>) -> Result<Response<LoginsReply>, Status> {
        Err(unsupported())
    }
}

fn unsupported() -> Status {
    Error::new(
        Kind::Unsupported,
        "this version does not talk to registries",
    )
    .into()
}
