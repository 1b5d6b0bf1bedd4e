//! Who is on the network, for those who answer questions while it changes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, PoisonError, RwLock};

use container_resource::dns_domain::DnsDomain;
use container_resource::egress::{Destination, EgressRule};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::configuration::Configuration;
use crate::leases::{HOST, Leases, is_host};

/// Ends of conversations that are kept for those who have not heard of them yet.
const ENDS: usize = 64;

/// Shared by all who ask.
#[derive(Clone, Debug)]
pub struct Directory {
    subnets: Arc<[IpNet]>,
    /// The host's addresses.
    host: Arc<[IpAddr]>,
    /// There is a way out, to the host and beyond.
    leads_out: bool,
    /// The network's name, in lower case: what stands before it and a dot is one of the network's names, too.
    network: Arc<str>,
    entries: Arc<RwLock<Vec<Entry>>>,
    domains: Arc<RwLock<Vec<DnsDomain>>>,
    /// Hears of addresses whose conversations have ended.
    ended: broadcast::Sender<Vec<IpAddr>>,
}

/// What is known about a network, whoever is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its name.
    pub network: String,
    /// Its subnets.
    pub subnets: Vec<IpNet>,
    /// The host's addresses in them.
    pub host: Vec<IpAddr>,
    /// There is a way out, to the host and beyond.
    pub leads_out: bool,
}

/// A container that is on the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its id.
    #[serde(default)]
    pub container: String,
    /// Its names, in lower case.
    pub names: Vec<String>,
    /// Its address, if it has one of the family.
    pub ipv4: Option<Ipv4Addr>,
    /// The same.
    pub ipv6: Option<Ipv6Addr>,
    /// The other address of IPv6 that it may send from.
    pub link_local: Ipv6Addr,
    /// Its tap.
    pub tap: String,
    /// What it may reach; none: everything.
    pub egress: Option<Vec<EgressRule>>,
    /// What its network allows, where it has rules of its own: both must.
    #[serde(default)]
    pub within: Option<Vec<EgressRule>>,
    /// Other networks that it is on.
    pub also: Vec<String>,
}

/// Who asks something of the network.
#[derive(Clone, Debug)]
pub enum Client {
    /// The host.
    Host,
    /// A container.
    Container(Entry),
    /// Somebody who is not on the network.
    Stranger,
}

impl Client {
    /// By which its questions are counted: a container is the same whichever of its addresses it sends from.
    pub fn key(&self) -> &str {
        match self {
            Self::Host => "host",
            Self::Container(entry) => &entry.tap,
            Self::Stranger => "",
        }
    }
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// It has this name.
    Name(String),
    /// It is of the network, and nobody's.
    Nobody,
    /// It is not of the network.
    Elsewhere,
}

impl Entry {
    /// Whether its rules let it ask for `name`, which is of the outside.
    pub fn may_ask(&self, name: &str) -> bool {
        let covers =
            |rules: &Vec<EgressRule>| rules.iter().any(|rule| rule.destination.covers(name));
        self.egress.as_ref().is_none_or(covers) && self.within.as_ref().is_none_or(covers)
    }

    /// All its rules: its own, then its network's. The place of a rule is its number.
    pub fn rules(&self) -> impl Iterator<Item = &EgressRule> {
        self.egress.iter().chain(&self.within).flatten()
    }

    /// Whether its rules let it reach the host, one of whose addresses are `host`.
    fn reaches(&self, host: &[IpAddr]) -> bool {
        let leads = |rule: &EgressRule| match &rule.destination {
            Destination::Name(name) => is_host(name),
            other => other.covers(HOST) || host.iter().any(|address| other.has(*address)),
        };
        let lead = |rules: &Vec<EgressRule>| rules.iter().any(leads);
        self.egress.as_ref().is_none_or(lead) && self.within.as_ref().is_none_or(lead)
    }

    fn has(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => self.ipv4 == Some(address),
            IpAddr::V6(address) => self.ipv6 == Some(address) || self.link_local == address,
        }
    }
}

impl Directory {
    /// Of a network with nobody on it.
    pub fn new(configuration: &Configuration) -> Self {
        let families = configuration.families();
        let host = families.iter().map(|family| family.host);
        let subnets = families.iter().map(|family| family.subnet);
        Self::of(About {
            network: configuration.asked.name.clone(),
            subnets: subnets.collect(),
            host: host.collect(),
            leads_out: !configuration.is_internal(),
        })
    }

    /// The same of a network that this is known about.
    pub fn of(about: About) -> Self {
        Self {
            subnets: about.subnets.into(),
            host: about.host.into(),
            leads_out: about.leads_out,
            network: about.network.to_ascii_lowercase().into(),
            entries: Arc::default(),
            domains: Arc::default(),
            ended: broadcast::Sender::new(ENDS),
        }
    }

    /// What is known about the network itself.
    pub fn about(&self) -> About {
        About {
            network: self.network.to_string(),
            subnets: self.subnets.to_vec(),
            host: self.host.to_vec(),
            leads_out: self.leads_out,
        }
    }

    /// Who is on the network.
    pub fn entries(&self) -> Vec<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.clone()
    }

    /// Who is on the network from now on.
    pub fn set(&self, entries: Vec<Entry>) {
        *self.entries.write().unwrap_or_else(PoisonError::into_inner) = entries;
    }

    /// Domains under which names of the network are known, too.
    pub fn domains(&self) -> Vec<DnsDomain> {
        let domains = self.domains.read().unwrap_or_else(PoisonError::into_inner);
        domains.clone()
    }

    /// Those from now on.
    pub fn set_domains(&self, domains: Vec<DnsDomain>) {
        *self.domains.write().unwrap_or_else(PoisonError::into_inner) = domains;
    }

    /// The domain that `name` is, or is below.
    pub fn domain(&self, name: &str) -> Option<DnsDomain> {
        let domains = self.domains.read().unwrap_or_else(PoisonError::into_inner);
        let covering = domains.iter().filter(|domain| domain.covers(name));
        // The closest one.
        covering.max_by_key(|domain| domain.domain.len()).cloned()
    }

    /// Tells those who carry conversations of `addresses` that these are over.
    pub fn end(&self, addresses: Vec<IpAddr>) {
        // Nobody carries any where nothing leads out.
        let _ = self.ended.send(addresses);
    }

    /// Hears of it. Who is too slow misses some.
    pub fn ends(&self) -> broadcast::Receiver<Vec<IpAddr>> {
        self.ended.subscribe()
    }

    /// The container behind `tap`.
    pub fn behind(&self, tap: &str) -> Option<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|entry| entry.tap == tap).cloned()
    }

    /// Takes over who is on the network now.
    pub fn update(&self, leases: &Leases) {
        // The name of a container is nobody else's, whatever aliases others have: while it is stopped, too.
        let ids = leases.all().keys();
        let own: BTreeSet<String> = ids.map(|id| id.to_ascii_lowercase()).collect();
        let entry = |(id, lease): (&String, &crate::leases::lease::Lease)| {
            let attached = lease.attached.as_ref()?;
            let names = lease.names.iter();
            let names = names.filter(|name| !own.contains(*name) || name.eq_ignore_ascii_case(id));
            Some(Entry {
                container: id.clone(),
                names: names.cloned().collect(),
                ipv4: lease.ipv4,
                ipv6: lease.ipv6,
                link_local: lease.mac.link_local(),
                tap: attached.tap.clone(),
                egress: attached.egress.clone(),
                within: attached.within.clone(),
                also: lease.also.clone(),
            })
        };
        self.set(leases.all().iter().filter_map(entry).collect());
    }

    /// The container that has `address`.
    pub fn owner(&self, address: IpAddr) -> Option<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|entry| entry.has(address)).cloned()
    }

    /// Who sends from `address`.
    pub fn client(&self, address: IpAddr) -> Client {
        if self.host.contains(&address) {
            return Client::Host;
        }
        self.owner(address)
            .map_or(Client::Stranger, Client::Container)
    }

    /// Whether `name` stands for the host, which the rules of `client` keep it from.
    pub fn withholds(&self, name: &str, client: &Entry) -> bool {
        let of_host = || {
            let domain = self.domain(name);
            is_host(name) || domain.is_some_and(|domain| domain.is_loopback(name))
        };
        !client.reaches(&self.host) && of_host()
    }

    /// The container with that id.
    pub fn entry(&self, container: &str) -> Option<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries
            .iter()
            .find(|entry| entry.container == container)
            .cloned()
    }

    /// The addresses of a name, in lower case and without a dot at its end; nothing when nobody has it.
    pub fn addresses(&self, name: &str) -> Option<Vec<IpAddr>> {
        // Whatever domains there are, containers find their host.
        let domain = self.domain(name).filter(|_| !is_host(name));
        let name = match &domain {
            Some(domain) if domain.is_loopback(name) => HOST,
            Some(domain) if domain.localhost.is_none() => domain.strip(name).unwrap_or(name),
            _ => name,
        };
        if is_host(name) {
            return self.leads_out.then(|| self.host.to_vec());
        }
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        let named = |name: &str| -> Vec<&Entry> {
            let has = |entry: &&Entry| entry.names.iter().any(|known| known == name);
            entries.iter().filter(has).collect()
        };
        let mut found = named(name);
        if found.is_empty() {
            // As docker has it.
            let short = name.strip_suffix(&*self.network);
            let short = short.and_then(|short| short.strip_suffix('.'));
            found = short.map_or_else(Vec::new, named);
        }
        let addresses = |entry: &&Entry| {
            let ipv4 = entry.ipv4.map(IpAddr::from);
            ipv4.into_iter().chain(entry.ipv6.map(IpAddr::from))
        };
        (!found.is_empty()).then(|| found.iter().flat_map(addresses).collect())
    }

    /// What is known of an address.
    pub fn name(&self, address: IpAddr) -> Known {
        if self.leads_out && self.host.contains(&address) {
            return Known::Name(HOST.to_owned());
        }
        if !self.contains(address) {
            return Known::Elsewhere;
        }
        let name = self
            .owner(address)
            .and_then(|entry| entry.names.first().cloned());
        name.map_or(Known::Nobody, Known::Name)
    }

    /// Whether an address is of the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(&address))
    }

    /// Whether the network leads nowhere.
    pub fn is_internal(&self) -> bool {
        !self.leads_out
    }
}
