//! The networks of the system: one directory and, while somebody needs it, one process each.

mod asked;
mod attach;
mod builtin;
mod change;
mod default_route;
mod departure;
mod domains;
mod joining;
mod patience;
mod ports;
mod process;
mod refusals;
mod routes;
mod show;
mod spare;
mod store;
mod subnet;
mod taps;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use container_api::roots::Roots;
use container_api::{Error, Kind};
use container_resource::dns_domain::DnsDomain;
use container_resource::network::{DEFAULT, DEFAULT_PLUGIN, NetworkConfiguration};
use container_resource::settings::NetworkSettings;
use tokio::sync::{mpsc, watch};

pub use attach::Attached;
pub use joining::Joining;
pub use spare::Spare;

use crate::events::Events;
use crate::trouble::Trouble;
use process::NetworkProcess;
use refusals::Limited;
use store::Found;
use subnet::Taken;

/// The networks of a system.
#[derive(Debug)]
pub struct Networks {
    roots: Roots,
    debug: bool,
    settings: NetworkSettings,
    /// Why the builtin network is not as the settings ask.
    builtin: Mutex<Option<String>>,
    /// Tells this system from others on the host; absent: the user's default one.
    system: Option<PathBuf>,
    entries: Mutex<BTreeMap<String, Arc<Network>>>,
    /// Which networks each container is on, running or not.
    members: Mutex<BTreeMap<String, BTreeSet<String>>>,
    /// Held while a network is made or deleted.
    changing: tokio::sync::Mutex<()>,
    /// Who may be refused something, and how much was told of.
    limited: Mutex<Limited>,
    /// Who is told of it.
    events: OnceLock<Events>,
    /// Containers whose place on their networks is being given back, and how often.
    leaving: watch::Sender<BTreeMap<String, usize>>,
    /// Under which the host finds containers.
    domains: watch::Sender<Vec<DnsDomain>>,
    /// Networks whose processes were started anew for containers that are on them, and who follows that.
    anew: (
        mpsc::UnboundedSender<String>,
        Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    ),
}

/// One network.
#[derive(Debug)]
struct Network {
    name: String,
    /// What was asked for, or why that cannot be read.
    configuration: Result<NetworkConfiguration, String>,
    process: Arc<NetworkProcess>,
    /// Its leases may be of containers that are gone.
    stale: AtomicBool,
    /// What its process has asked containers, as it is known.
    asked: Mutex<BTreeMap<String, asked::Known>>,
}

impl Network {
    /// What was asked for.
    ///
    /// # Errors
    /// When the network is damaged.
    fn configuration(&self) -> Result<&NetworkConfiguration, Error> {
        self.configuration.as_ref().map_err(|reason| {
            let text = format!("network {} cannot be read: {reason}", self.name);
            Error::new(Kind::InvalidState, text)
        })
    }

    fn is_builtin(&self) -> bool {
        self.name == DEFAULT
    }
}

impl Networks {
    /// None yet: see [`Self::load`].
    pub fn new(roots: &Roots, settings: NetworkSettings, debug: bool) -> Arc<Self> {
        let (anew, followed) = mpsc::unbounded_channel();
        Arc::new(Self {
            anew: (anew, Mutex::new(Some(followed))),
            roots: roots.clone(),
            debug,
            settings,
            builtin: Mutex::default(),
            system: (!roots.is_default()).then(|| roots.app.clone()),
            entries: Mutex::default(),
            members: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            limited: Mutex::default(),
            events: OnceLock::new(),
            leaving: watch::Sender::default(),
            domains: watch::Sender::default(),
        })
    }

    /// Finds the networks that there are. The builtin one may be missing: see [`Self::settle_builtin`].
    ///
    /// # Errors
    /// When their directory cannot be read.
    pub fn load(&self) -> std::io::Result<()> {
        self.domains.send_replace(domains::load(&self.roots)?);
        for found in store::scan(&self.roots)? {
            let (name, configuration) = match found {
                Found::Network(configuration) => (configuration.name.clone(), Ok(*configuration)),
                Found::Damaged(name, reason) => {
                    tracing::warn!("network {name} is damaged: {reason}");
                    (name, Err(reason))
                }
            };
            self.insert(name, configuration);
        }
        Ok(())
    }

    /// Takes away what networks whose processes were all killed have left in the host: rules that lead its ports nowhere.
    pub async fn clean(&self) {
        let networks: Vec<_> = self.entries().values().cloned().collect();
        // One that was never used has left nothing.
        let used = |network: &&Arc<Network>| {
            let state = self.roots.network(&network.name);
            network.configuration.is_ok() && state.join("leases.json").exists()
        };
        let used = networks.iter().filter(used);
        futures::future::join_all(used.map(|network| network.process.clean())).await;
    }

    /// Gives `configuration` free addresses.
    fn settle(&self, configuration: &mut NetworkConfiguration) -> Result<(), Error> {
        let present: Vec<Arc<Network>> = self.entries().values().cloned().collect();
        let others: Vec<&NetworkConfiguration> = present
            .iter()
            .filter_map(|network| network.configuration.as_ref().ok())
            .filter(|other| other.name != configuration.name)
            .collect();
        let routes = routes::all();
        let taken = Taken {
            networks: &others,
            routes: &routes,
        };
        subnet::choose(configuration, &taken, self.system.as_deref())
    }

    /// Names of networks whose processes were started anew for containers that are on them; for one who follows that.
    pub fn started_anew(&self) -> Option<mpsc::UnboundedReceiver<String>> {
        let mut followed = self.anew.1.lock().unwrap_or_else(PoisonError::into_inner);
        followed.take()
    }

    fn insert(&self, name: String, configuration: Result<NetworkConfiguration, String>) {
        let plugin = configuration
            .as_ref()
            .map_or(DEFAULT_PLUGIN, |configuration| &configuration.plugin);
        let process = NetworkProcess::new(
            &self.roots,
            &name,
            plugin,
            self.domains.subscribe(),
            self.anew.0.clone(),
            self.debug,
        );
        let network = Network {
            stale: AtomicBool::new(true),
            asked: Mutex::default(),
            name: name.clone(),
            configuration,
            process,
        };
        self.entries().insert(name, Arc::new(network));
    }

    /// The network `name`.
    fn find(&self, name: &str) -> Result<Arc<Network>, Error> {
        self.entries().get(name).cloned().ok_or_else(|| {
            let hint = match name {
                "bridge" => "What docker calls `bridge` is the network `default` here.",
                "pasta" | "private" | "slirp4netns" => {
                    "What podman calls so is the network `default` here."
                }
                _ => "`container network list` shows all networks.",
            };
            Error::new(Kind::NotFound, format!("network not found: {name}")).with_hint(hint)
        })
    }

    /// Why some addresses of `network` are reached elsewhere, where they are.
    fn astray(&self, network: &str) -> Option<String> {
        let network = self.find(network).ok()?;
        let configuration = network.configuration.as_ref().ok()?;
        let clash = subnet::astray(configuration, &routes::all())?;
        Some(format!("network {}: {clash}", network.name))
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Network>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<String, BTreeSet<String>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Networks whose processes end again and again, though containers are on them, and what is wrong with the builtin one.
    pub fn troubles(&self) -> Vec<(String, Trouble)> {
        let networks = self.entries();
        let trouble = |network: &Arc<Network>| {
            let trouble = network.process.trouble()?;
            Some((format!("network {}", network.name), trouble))
        };
        let ended = networks.values().filter_map(trouble);
        ended.chain(self.builtin_trouble()).collect()
    }

    /// Containers on `network`, running or not.
    fn members_of(&self, network: &str) -> Vec<String> {
        containers_on(&self.members(), network)
    }

    /// Takes every network down.
    pub async fn stop(&self) -> Vec<String> {
        let networks: Vec<Arc<Network>> = self.entries().values().cloned().collect();
        let stops = networks.iter().map(|network| async {
            let stopped = network.process.stop().await;
            stopped
                .err()
                .map(|error| format!("stop network {}: {error:#}", network.name))
        });
        futures::future::join_all(stops)
            .await
            .into_iter()
            .flatten()
            .collect()
    }
}

/// An address of a text that a network's process gave.
fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next().and_then(|text| text.parse().ok())
}

/// Those of `members`, by container, that are on `network`.
fn containers_on(members: &BTreeMap<String, BTreeSet<String>>, network: &str) -> Vec<String> {
    let on_it = members.iter().filter(|(_, on)| on.contains(network));
    on_it.map(|(container, _)| container.clone()).collect()
}
