//! How containers leave their networks: at the end of a run, and for good.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_api::network::{DetachRequest, ReleaseRequest};
use container_api::{Error, Kind};

use super::{Network, Networks};

/// How long a container waits for what another one of its name gives back.
const LEAVING_LIMIT: Duration = Duration::from_secs(10);

impl Networks {
    /// Ends a run's part: ports are closed, names are taken back. What fails is told of: the network forgets the container
    /// when it is deleted.
    pub async fn detach(&self, id: &str) {
        self.each_present(id, |network| detach_one(id, network))
            .await;
        self.idle();
    }

    /// As [`Self::detach`], of one network.
    pub async fn detach_from(&self, id: &str, network: &str) {
        if let Ok(network) = self.find(network) {
            ask_present(id, network, |network| detach_one(id, network)).await;
        }
    }

    /// Takes a container that is gone off its networks, behind everything else.
    pub fn leave(self: &Arc<Self>, id: &str) {
        if self.members().get(id).is_none_or(BTreeSet::is_empty) {
            self.members().remove(id);
            return;
        }
        self.leaves(id);
        let (networks, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            networks.tell_last_refusals(&id).await;
            networks.detach(&id).await;
            networks.release(&id).await;
            networks.members().remove(&id);
            networks.idle();
            networks.left(&id);
        });
    }

    /// As [`Self::detach`], behind everything else.
    pub fn ends(self: &Arc<Self>, id: &str) {
        if self.members().get(id).is_none_or(BTreeSet::is_empty) {
            return;
        }
        self.leaves(id);
        let (networks, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            networks.tell_last_refusals(&id).await;
            networks.detach(&id).await;
            networks.left(&id);
        });
    }

    fn leaves(&self, id: &str) {
        self.leaving
            .send_modify(|leaving| *leaving.entry(id.to_owned()).or_default() += 1);
    }

    fn left(&self, id: &str) {
        self.leaving.send_modify(|leaving| {
            if let Some(times) = leaving.get_mut(id).filter(|times| **times > 1) {
                *times -= 1;
            } else {
                leaving.remove(id);
            }
        });
    }

    /// Takes the container `id` off one network, and gives back what it has there.
    pub async fn part(&self, id: &str, network: &str) {
        if let Ok(network) = self.find(network) {
            ask_present(id, network, |network| release_one(id, network)).await;
        }
        if let Some(on) = self.members().get_mut(id) {
            on.remove(network);
        }
        self.idle();
    }

    /// Gives back the addresses of a container that does not run.
    pub async fn release(&self, id: &str) {
        self.each_present(id, |network| release_one(id, network))
            .await;
    }

    /// Waits until all that left has been given back.
    pub async fn settled(&self) {
        let mut leaving = self.leaving.subscribe();
        let empty = leaving.wait_for(BTreeMap::is_empty);
        let _ = tokio::time::timeout(LEAVING_LIMIT, empty).await;
    }

    pub(super) async fn has_left(&self, id: &str) {
        let mut leaving = self.leaving.subscribe();
        let left = leaving.wait_for(|leaving| !leaving.contains_key(id));
        let _ = tokio::time::timeout(LEAVING_LIMIT, left).await;
    }

    /// Asks each network of the container `id` whose process runs. What others keep for it on disk is released before somebody
    /// gets an address there: see [`Self::release_stale`].
    async fn each_present<F>(&self, id: &str, ask: impl Fn(Arc<Network>) -> F)
    where
        F: Future<Output = Result<(), Error>>,
    {
        let names = self.members().get(id).cloned().unwrap_or_default();
        let networks: Vec<_> = names
            .iter()
            .filter_map(|name| self.find(name).ok())
            .collect();
        for network in networks {
            ask_present(id, network, &ask).await;
        }
    }

    /// A network whose process has nobody left need not be there when that dies.
    fn idle(&self) {
        let networks: Vec<_> = self.entries().values().cloned().collect();
        for network in networks {
            if self.members_of(&network.name).is_empty() {
                network.process.want(false);
            }
        }
    }
}

/// Asks `network` about the container `id`, if its process runs.
async fn ask_present<F>(id: &str, network: Arc<Network>, ask: impl Fn(Arc<Network>) -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    if network.process.present().await.is_none() {
        network.stale.store(true, Ordering::Relaxed);
        return;
    }
    let name = network.name.clone();
    if let Err(error) = ask(network).await {
        if error.kind != Kind::NotFound {
            tracing::warn!("container {id}, network {name}: {error:#}");
        }
    }
}

async fn release_one(id: &str, network: Arc<Network>) -> Result<(), Error> {
    let request = ReleaseRequest {
        container: id.to_owned(),
    };
    let released = network.process.call(|mut client| {
        let request = request.clone();
        async move { client.release(request).await }
    });
    released.await.map(drop)
}

async fn detach_one(id: &str, network: Arc<Network>) -> Result<(), Error> {
    network.forget_asked(id);
    let request = DetachRequest {
        container: id.to_owned(),
    };
    let detached = network.process.call(|mut client| {
        let request = request.clone();
        async move { client.detach(request).await }
    });
    detached.await.map(drop)
}
