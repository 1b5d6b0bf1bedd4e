//! What is asked of the network, over gRPC.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use container_api::descriptors::Descriptors;
use container_api::handover::{self, Tap};
use container_api::network::find_request::Wanted as Sought;
use container_api::network::network_server;
use container_api::network::{
    AllocateReply, AllocateRequest, AskedReply, AskedRequest, AttachReply, AttachRequest,
    DetachReply, DetachRequest, DomainsReply, DomainsRequest, FindReply, FindRequest, InspectReply,
    InspectRequest, ReleaseReply, ReleaseRequest, SpareReply, SpareRequest,
};
use container_api::{Chain, Error, Kind};
use container_resource::dns_domain::{DnsDomain, MAX_DOMAINS};
use container_resource::egress::EgressRule;
use container_resource::publish::MAX_PORTS;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Notify};
use tonic::{Request, Response, Status};

use crate::directory::{Directory, Known};
use crate::leases::Wish;
use crate::network::Network;
use crate::network::attach::AttachOptions;
use crate::ports::published::{Published, Wanted};

type Reply<T> = Result<Response<T>, Status>;

/// How long nobody must have come or gone until rules of those who went are removed: it would be in the way of starts that come one after
/// the other.
const QUIET: Duration = Duration::from_millis(500);
/// The most egress rules of one container.
const MAX_RULES: usize = 256;

/// Serves one network.
#[derive(Debug)]
pub struct Service {
    network: Arc<Mutex<Network>>,
    /// Who is on it, without waiting for what is being changed.
    directory: Directory,
    descriptors: Descriptors,
    /// Held while the host's resolver is told of domains.
    telling: Arc<Mutex<()>>,
    /// Rung when a container comes or goes.
    moved: Arc<Notify>,
}

impl Service {
    /// Serves `network`; `descriptors` is what clients have handed over, `telling` is held while the host's resolver is told something.
    pub fn new(
        network: Arc<Mutex<Network>>,
        directory: Directory,
        descriptors: Descriptors,
        telling: Arc<Mutex<()>>,
    ) -> Self {
        let moved = Arc::new(Notify::new());
        tokio::spawn(sweep(Arc::downgrade(&network), moved.clone()));
        Self {
            network,
            directory,
            descriptors,
            telling,
            moved,
        }
    }

    /// The socket that a client handed over, on which a tap is to come back.
    fn socket(&self, token: &str) -> Result<UnixStream, Error> {
        let missing = || {
            Error::new(
                Kind::InvalidArgument,
                "no socket for the tap was handed over",
            )
        };
        let descriptors = self.descriptors.take(token).ok_or_else(missing)?;
        let descriptor = descriptors.into_iter().next().ok_or_else(missing)?;
        let unusable = |error| Error::caused(Kind::InvalidArgument, error);
        let socket = std::os::unix::net::UnixStream::from(descriptor);
        socket.set_nonblocking(true).map_err(unusable)?;
        UnixStream::from_std(socket).map_err(unusable)
    }
}

/// Has `network` remove what containers that went have left, when for a while nobody has `moved`.
async fn sweep(network: Weak<Mutex<Network>>, moved: Arc<Notify>) {
    loop {
        moved.notified().await;
        while tokio::time::timeout(QUIET, moved.notified()).await.is_ok() {}
        let Some(network) = network.upgrade() else {
            return;
        };
        let swept = network.lock().await.sweep().await;
        if let Err(error) = swept {
            tracing::warn!("{error:#}");
        }
    }
}

/// Gives a tap to whoever asked for it.
async fn hand_over(mut socket: UnixStream, name: String, tap: &OwnedFd) -> Result<(), Error> {
    let sent = handover::send(&mut socket, &Tap { name }, &[tap.as_fd()]).await;
    sent.map_err(|error| Error::caused(Kind::Cancelled, error).context("hand the tap over"))
}

fn attach_options(request: &AttachRequest) -> Result<AttachOptions, Error> {
    if request.ports.len() > MAX_PORTS {
        let text = format!("at most {MAX_PORTS} ports of a container can be published");
        return Err(Error::new(Kind::InvalidArgument, text));
    }
    let ports = request.ports.iter().map(Wanted::parse);
    let ports = ports
        .collect::<Result<_, _>>()
        .map_err(|error| Error::caused(Kind::InvalidArgument, error))?;
    let egress = match &request.egress {
        None => None,
        Some(egress) if egress.allow.len() > MAX_RULES => {
            let text = format!("a container has at most {MAX_RULES} egress rules");
            return Err(Error::new(Kind::InvalidArgument, text));
        }
        Some(egress) => {
            let rules = egress.allow.iter().map(|rule| {
                let rule = rule.parse::<EgressRule>();
                rule.map_err(|error| Error::caused(Kind::InvalidArgument, error))
            });
            Some(rules.collect::<Result<_, _>>()?)
        }
    };
    let spare = Some(request.spare.clone()).filter(|spare| !spare.is_empty());
    Ok(AttachOptions {
        ports,
        egress,
        spare,
    })
}

#[tonic::async_trait]
impl network_server::Network for Service {
    async fn inspect(&self, _: Request<InspectRequest>) -> Reply<InspectReply> {
        let network = self.network.lock().await;
        Ok(Response::new(network.inspect().await?))
    }

    async fn asked(&self, request: Request<AskedRequest>) -> Reply<AskedReply> {
        let counters = self
            .network
            .lock()
            .await
            .asked(&request.into_inner().container);
        Ok(Response::new(AskedReply {
            counters: Some(counters),
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
            also: request.also,
        };
        let mut network = self.network.lock().await;
        let addresses = Some(
            network
                .allocate(&request.container, &wish, &request.spare)
                .await?,
        );
        Ok(Response::new(AllocateReply { addresses }))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Reply<ReleaseReply> {
        let container = request.into_inner().container;
        self.network.lock().await.release(&container).await?;
        self.moved.notify_one();
        Ok(Response::new(ReleaseReply {}))
    }

    async fn attach(&self, request: Request<AttachRequest>) -> Reply<AttachReply> {
        let request = request.into_inner();
        let options = attach_options(&request)?;
        let socket = match &options.spare {
            Some(_) => None,
            None => Some(self.socket(&request.token)?),
        };
        self.moved.notify_one();
        let network = self.network.clone();
        // A caller that goes away leaves nothing half done.
        let work = tokio::spawn(async move {
            let mut network = network.lock().await;
            let place = network.attach(&request.container, options).await?;
            if let (Some(socket), Some((name, tap))) = (socket, place.tap) {
                if let Err(error) = hand_over(socket, name, &tap).await {
                    network.detach(&request.container).await?;
                    return Err(error);
                }
            }
            Ok::<_, Error>(AttachReply {
                addresses: Some(place.addresses),
                ports: place.ports.iter().map(Published::message).collect(),
            })
        });
        Ok(Response::new(joined(work.await)?))
    }

    async fn detach(&self, request: Request<DetachRequest>) -> Reply<DetachReply> {
        let container = request.into_inner().container;
        let network = self.network.clone();
        let work = tokio::spawn(async move { network.lock().await.detach(&container).await });
        joined(work.await)?;
        self.moved.notify_one();
        Ok(Response::new(DetachReply {}))
    }

    async fn find(&self, request: Request<FindRequest>) -> Reply<FindReply> {
        let FindRequest { wanted, container } = request.into_inner();
        let client = self.directory.entry(&container);
        let is_withheld = |name: &str| {
            let client = client.as_ref();
            client.is_some_and(|client| self.directory.withholds(name, client))
        };
        let reply = match wanted {
            Some(Sought::Name(name)) if is_withheld(&name) => None,
            Some(Sought::Name(name)) => {
                self.directory.addresses(&name).map(|addresses| FindReply {
                    addresses: addresses.iter().map(ToString::to_string).collect(),
                    name: String::new(),
                })
            }
            Some(Sought::Address(address)) => {
                let address = address.parse().ok();
                match address.map(|address| self.directory.name(address)) {
                    Some(Known::Name(name)) => Some(FindReply {
                        addresses: Vec::new(),
                        name,
                    }),
                    _ => None,
                }
            }
            None => None,
        };
        Ok(Response::new(reply.unwrap_or_default()))
    }

    async fn domains(&self, request: Request<DomainsRequest>) -> Reply<DomainsReply> {
        let domains: Vec<DnsDomain> = serde_json::from_slice(&request.into_inner().domains)
            .map_err(|error| Error::caused(Kind::InvalidArgument, error).context("domains"))?;
        if domains.len() > MAX_DOMAINS {
            let text = format!("there are at most {MAX_DOMAINS} domains");
            return Err(Error::new(Kind::InvalidArgument, text).into());
        }
        let (network, telling) = (self.network.clone(), self.telling.clone());
        let work = tokio::spawn(async move {
            // In the order of the requests; containers come and go meanwhile, however long the host's resolver takes.
            let _telling = telling.lock().await;
            let lead = network.lock().await.set_domains(domains).await;
            let told = match lead {
                Ok(None) => Ok(()),
                Ok(Some(lead)) => lead.tell().await.map_err(|error| Chain(&error).to_string()),
                Err(problem) => Err(problem),
            };
            Ok::<_, Error>(DomainsReply {
                problem: told.err().unwrap_or_default(),
            })
        });
        Ok(Response::new(joined(work.await)?))
    }

    async fn spare(&self, request: Request<SpareRequest>) -> Reply<SpareReply> {
        let socket = self.socket(&request.into_inner().token)?;
        let (name, tap) = self.network.lock().await.spare().await?;
        hand_over(socket, name.clone(), &tap).await?;
        Ok(Response::new(SpareReply { tap: name }))
    }
}

fn joined<T>(outcome: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    outcome.unwrap_or_else(|error| Err(Error::caused(Kind::Internal, error)))
}
