//! The network: its namespace, its way out and who is on it.

pub mod attach;
mod holders;
pub mod host_side;
mod inspect;
mod left;
pub mod open;
pub mod remains;
pub mod way_out;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use container_api::network::Addresses;
use container_api::{Error, Kind};
use container_resource::dns_domain::DnsDomain;
use ipnet::IpNet;

use self::left::Left;
use self::way_out::WayOut;
use crate::configuration::{Configuration, conversations_of_all};
use crate::directory::Directory;
use crate::filter;
use crate::filter::host::{Forward, Table};
use crate::forwarding;
use crate::leases::lease::Lease;
use crate::leases::{LeaseError, Leases, Wish};
use crate::links::Links;
use crate::names::Names;
use crate::namespace::holder;
use crate::namespace::inside::Inside;
use crate::refused_names::RefusedNames;
use crate::relay::published::{Open, Target};
use crate::resolved::Lead;
use crate::uplink::{Uplink, keeper};

/// A network that is there.
#[derive(Debug)]
pub struct Network {
    configuration: Configuration,
    /// Directory of its state.
    state: PathBuf,
    /// Name of its interface and its table on the host.
    host_name: String,
    uplink: Uplink,
    /// Why there is no way out, though there should be one.
    problem: Option<String>,
    /// What is known of that of a user.
    way_out: WayOut,
    inside: Arc<Inside>,
    /// The host's interfaces.
    host: Links,
    leases: Leases,
    /// Open ports of the host, by container.
    ports: BTreeMap<String, Vec<Open>>,
    directory: Directory,
    names: Names,
    /// Containers that went, whose rules are still there.
    left: Vec<Left>,
    /// Names that containers with egress rules were refused.
    refused: Arc<RefusedNames>,
}

impl Network {
    /// Gives a container its addresses, or those that it has. The tap `spare` it is to have when it is attached, if one is given.
    ///
    /// # Errors
    /// When they can't be had, or there is no such tap that is nobody's.
    pub async fn allocate(
        &mut self,
        container: &str,
        wish: &Wish,
        spare: &str,
    ) -> Result<Addresses, Error> {
        if !spare.is_empty() {
            self.check_spare(spare).await?;
        }
        let before = self.leases.get(container).cloned();
        let lease = self.leases.allocate(container, wish)?;
        if before.as_ref() != Some(&lease) {
            self.tell().await;
        }
        Ok(self.addresses(&lease))
    }

    /// Who is on the network, now and later.
    pub fn directory(&self) -> Directory {
        self.directory.clone()
    }

    /// Lets names be found under these domains, too; gives what the host's resolver is to be told, which takes its time.
    ///
    /// # Errors
    /// When the host does not reach the network.
    pub async fn set_domains(&mut self, domains: Vec<DnsDomain>) -> Result<Option<Lead>, String> {
        let before = self.directory.domains();
        self.directory.set_domains(domains.clone());
        self.tell().await;
        if !self.uplink.is_pair() {
            let name = &self.configuration.asked.name;
            return Err(format!("the host does not reach network {name}"));
        }
        let is_told = !(domains.is_empty() && before.is_empty());
        Ok(is_told.then(|| Lead {
            link: self.host_name.clone(),
            servers: self.configuration.gateways(),
            domains,
        }))
    }

    /// Tells those who answer questions who is on the network now.
    async fn tell(&self) {
        self.directory.update(&self.leases);
        self.names.tell(&self.directory).await;
    }

    /// Takes everything from a container.
    ///
    /// # Errors
    /// When rules or leases can't be changed.
    pub async fn release(&mut self, container: &str) -> Result<(), Error> {
        self.detach(container).await?;
        // One that was not attached had a name, too.
        if self.leases.release(container)?.is_some() {
            self.tell().await;
        }
        Ok(())
    }

    /// Removes all that was made, unless somebody is on the network: then it stays, for the next process.
    pub async fn close(&mut self) -> io::Result<()> {
        let taps = self.taps().await?;
        // A tap that is nobody's yet, in a machine that waits or a template, keeps nothing.
        let mut attached = self.leases.attached();
        if attached.any(|attached| taps.contains(&attached.tap)) {
            tracing::info!("machines are on the network: it stays");
            return Ok(());
        }
        // As much as can be.
        let mut outcome = Ok(());
        if self.uplink.is_pair() {
            let removed = remains::remove(&self.host, &self.host_name).await;
            let released = forwarding::release(&self.host).await;
            outcome = outcome.and(removed).and(released);
        }
        if self.uplink.is_users() {
            outcome = outcome.and(keeper::end(&self.state).await);
        }
        outcome.and(holder::end(&self.state).await)
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

    /// Where connections to a container's ports go.
    fn target(&self, lease: &Lease) -> Target {
        let ipv4 = lease.ipv4.map(IpAddr::from);
        Target {
            addresses: ipv4
                .into_iter()
                .chain(lease.ipv6.map(IpAddr::from))
                .collect(),
            inside: self.inside.clone(),
            link: (self.uplink == Uplink::Veth).then(|| self.host_name.clone()),
        }
    }

    /// Names of the taps that are there.
    async fn taps(&self) -> io::Result<Vec<String>> {
        let links = self.inside.links().await?;
        let names = links.into_iter().map(|link| link.name);
        Ok(names
            .filter(|name| name.starts_with(crate::links::tap::PREFIX))
            .collect())
    }

    /// The host's addresses in the network that containers may reach; none where there is no way out.
    fn host_addresses(&self) -> Vec<IpAddr> {
        if !self.uplink.leads_out() {
            return Vec::new();
        }
        let families = self.configuration.families();
        families.iter().map(|family| family.host).collect()
    }

    /// Writes the host's table, with the ports of everybody who is attached.
    async fn write_host_table(&self) -> io::Result<()> {
        if !self.uplink.is_pair() {
            return Ok(());
        }
        let subnet = |family: &crate::configuration::Family| (family.subnet, family.host);
        let subnets: Vec<(IpNet, IpAddr)> =
            self.configuration.families().iter().map(subnet).collect();
        let mut forwards = Vec::new();
        // Into an internal network the process carries them.
        let led = self.ports.iter().filter(|_| self.uplink.leads_out());
        for (container, open) in led {
            let Some(lease) = self.leases.get(container) else {
                continue;
            };
            let ipv4 = lease.ipv4.map(IpAddr::from);
            for address in ipv4.into_iter().chain(lease.ipv6.map(IpAddr::from)) {
                forwards.extend(open.iter().map(|open| Forward {
                    container,
                    port: open.port,
                    address,
                }));
            }
        }
        let table = Table {
            name: &self.host_name,
            network: &self.configuration.asked.name,
            subnets: &subnets,
            leads_out: self.uplink.leads_out(),
            forwards: &forwards,
        };
        let script = filter::host::table(&table) + &filter::host::together(conversations_of_all());
        filter::run::apply(&script).await
    }
}

/// A step that the system refused.
fn failed(step: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |error| Error::caused(Kind::Internal, error).context(step)
}

impl From<LeaseError> for Error {
    fn from(error: LeaseError) -> Self {
        use crate::leases::subnet::AddressError;
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
        Self::caused(kind, error)
    }
}
