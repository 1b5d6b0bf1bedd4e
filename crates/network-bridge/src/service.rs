//! What is asked of the network, over gRPC.

use container_api::network::network_server::Network;
use container_api::network::{
    Addresses, AllocateReply, AllocateRequest, AttachReply, AttachRequest, DetachReply,
    DetachRequest, InspectReply, InspectRequest, Member, ReleaseReply, ReleaseRequest, SpareReply,
    SpareRequest,
};
use container_api::{Error, Kind};
use tokio::sync::Mutex;
use tonic::{Request, Response, Status};

use crate::configuration::Configuration;
use crate::leases::lease::Lease;
use crate::leases::subnet::AddressError;
use crate::leases::{LeaseError, Leases, Wish};
use crate::ports::published::Published;

type Reply<T> = Result<Response<T>, Status>;

/// Serves one network.
#[derive(Debug)]
pub struct Service {
    configuration: Configuration,
    leases: Mutex<Leases>,
}

impl Service {
    /// For the network of `configuration`, with what its containers have.
    pub fn new(configuration: Configuration, leases: Leases) -> Self {
        Self {
            configuration,
            leases: Mutex::new(leases),
        }
    }

    fn addresses(&self, lease: &Lease) -> Addresses {
        let gateway = self
            .configuration
            .ipv4
            .map(|subnet| subnet.gateway().to_string());
        let gateway6 = self
            .configuration
            .ipv6
            .map(|subnet| subnet.gateway().to_string());
        Addresses {
            resolvers: gateway.iter().chain(&gateway6).cloned().collect(),
            gateway: gateway.unwrap_or_default(),
            gateway6: gateway6.unwrap_or_default(),
            ..lease.addresses(self.configuration.prefixes())
        }
    }
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        let kind = match &error {
            LeaseError::Unavailable(AddressError::Taken(_)) | LeaseError::MacTaken(_) => {
                Kind::Exists
            }
            LeaseError::Unavailable(AddressError::Exhausted(_)) | LeaseError::Full => {
                Kind::Exhausted
            }
            LeaseError::InUse => Kind::InvalidState,
            LeaseError::Random(_) | LeaseError::Write(_) => Kind::Internal,
            _ => Kind::InvalidArgument,
        };
        Self::chain(kind, &error)
    }
}

#[tonic::async_trait]
impl Network for Service {
    async fn inspect(&self, _: Request<InspectRequest>) -> Reply<InspectReply> {
        let asked = &self.configuration.asked;
        let leases = self.leases.lock().await;
        let member = |(container, lease): (&String, &Lease)| Member {
            container: container.clone(),
            addresses: Some(self.addresses(lease)),
            names: lease.names.clone(),
            attached: lease.attached.is_some(),
            ports: lease
                .attached
                .iter()
                .flat_map(|attached| attached.ports.iter().map(Published::message))
                .collect(),
            ..Member::default()
        };
        let text = |text: Option<String>| text.unwrap_or_default();
        Ok(Response::new(InspectReply {
            subnet: text(asked.ipv4_subnet.map(|net| net.to_string())),
            gateway: text(self.configuration.ipv4.map(|net| net.gateway().to_string())),
            subnet6: text(asked.ipv6_subnet.map(|net| net.to_string())),
            gateway6: text(self.configuration.ipv6.map(|net| net.gateway().to_string())),
            host: text(self.configuration.ipv4.map(|net| net.host().to_string())),
            host6: text(self.configuration.ipv6.map(|net| net.host().to_string())),
            uplink: "none".to_owned(),
            members: leases.all().iter().map(member).collect(),
        }))
    }

    async fn allocate(&self, request: Request<AllocateRequest>) -> Reply<AllocateReply> {
        let request = request.into_inner();
        let wish = Wish {
            names: request.names,
            ipv4: request.ipv4,
            ipv6: request.ipv6,
            mac: request.mac,
            mtu: request.mtu,
        };
        let mut leases = self.leases.lock().await;
        let lease = leases
            .allocate(&request.container, &wish)
            .map_err(Error::from)?;
        Ok(Response::new(AllocateReply {
            addresses: Some(self.addresses(&lease)),
        }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Reply<ReleaseReply> {
        let container = request.into_inner().container;
        let mut leases = self.leases.lock().await;
        leases.release(&container).map_err(Error::from)?;
        Ok(Response::new(ReleaseReply {}))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        for port in &request.into_inner().ports {
            Published::parse(port).map_err(|error| Error::chain(Kind::InvalidArgument, &error))?;
        }
        Err(Error::new(Kind::Unsupported, "this network has no bridge yet").into())
    }

    async fn detach(&self, _: Request<DetachRequest>) -> Reply<DetachReply> {
        Ok(Response::new(DetachReply {}))
    }

    async fn spare(&self, _: Request<SpareRequest>) -> Reply<SpareReply> {
        Err(Error::new(Kind::Unsupported, "this network has no bridge yet").into())
    }
}
