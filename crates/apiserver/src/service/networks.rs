//! Calls about networks.

use std::sync::Arc;

use container_api::api::networks_server;
use container_api::api::{
    CreateDomainReply, CreateDomainRequest, CreateNetworkReply, CreateNetworkRequest,
    DeleteDomainReply, DeleteDomainRequest, DeleteNetworkReply, DeleteNetworkRequest, JoinReply,
    JoinRequest, LeaveReply, LeaveRequest, ListDomainsReply, ListDomainsRequest, ListNetworksReply,
    ListNetworksRequest, PruneNetworksReply, PruneNetworksRequest,
};
use container_api::call::to_the_end;
use tonic::{Request, Response, Status};

use super::containers::{json, to_json};
use crate::containers::Containers;
use crate::networks::Networks;

/// The calls about networks.
#[derive(Debug)]
pub struct Service {
    /// All networks.
    pub networks: Arc<Networks>,
    /// All containers, which may be put on them.
    pub containers: Arc<Containers>,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl networks_server::Networks for Service {
    async fn create(&self, request: Request<CreateNetworkRequest>) -> Reply<CreateNetworkReply> {
        let configuration = json("network configuration", &request.into_inner().configuration)?;
        let networks = self.networks.clone();
        to_the_end(async move { networks.create(configuration).await }).await?;
        Ok(Response::new(CreateNetworkReply {}))
    }

    async fn delete(&self, request: Request<DeleteNetworkRequest>) -> Reply<DeleteNetworkReply> {
        let name = request.into_inner().name;
        let networks = self.networks.clone();
        to_the_end(async move { networks.delete(&name).await }).await?;
        Ok(Response::new(DeleteNetworkReply {}))
    }

    async fn prune(&self, _: Request<PruneNetworksRequest>) -> Reply<PruneNetworksReply> {
        let networks = self.networks.clone();
        let names = to_the_end(async move { networks.prune().await }).await?;
        Ok(Response::new(PruneNetworksReply { names }))
    }

    async fn list(&self, request: Request<ListNetworksRequest>) -> Reply<ListNetworksReply> {
        let ListNetworksRequest { names, members } = request.into_inner();
        let networks = self.networks.list(&names, members).await;
        Ok(Response::new(ListNetworksReply {
            networks: to_json(&networks)?,
        }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Reply<JoinReply> {
        let JoinRequest {
            container,
            attachment,
        } = request.into_inner();
        let attachment = json("attachment", &attachment)?;
        let containers = self.containers.clone();
        to_the_end(async move { containers.connect(&container, attachment).await }).await?;
        Ok(Response::new(JoinReply {}))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Reply<LeaveReply> {
        let LeaveRequest { container, network } = request.into_inner();
        let containers = self.containers.clone();
        let left = async move { containers.disconnect(&container, &network).await };
        let warnings = to_the_end(left).await?;
        Ok(Response::new(LeaveReply { warnings }))
    }

    async fn create_domain(
        &self,
        request: Request<CreateDomainRequest>,
    ) -> Reply<CreateDomainReply> {
        let domain = json("domain", &request.into_inner().domain)?;
        let networks = self.networks.clone();
        to_the_end(async move { networks.create_domain(domain).await }).await?;
        Ok(Response::new(CreateDomainReply {}))
    }

    async fn delete_domain(
        &self,
        request: Request<DeleteDomainRequest>,
    ) -> Reply<DeleteDomainReply> {
        let name = request.into_inner().domain;
        let networks = self.networks.clone();
        to_the_end(async move { networks.delete_domain(&name).await }).await?;
        Ok(Response::new(DeleteDomainReply {}))
    }

    async fn list_domains(&self, _: Request<ListDomainsRequest>) -> Reply<ListDomainsReply> {
        Ok(Response::new(ListDomainsReply {
            domains: to_json(&self.networks.domains())?,
        }))
    }
}
