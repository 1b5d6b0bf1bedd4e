//! Making the network, or taking over what a process before this one has left.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use container_api::Chain;
use ipnet::IpNet;

use super::way_out::WayOut;
use super::{Network, remains};
use crate::configuration::Configuration;
use crate::conversations::Meant;
use crate::directory::Directory;
use crate::filter::member::Member;
use crate::filter::run::Family;
use crate::filter::{TABLE, frames, packets};
use crate::forwarding;
use crate::leases::Leases;
use crate::links::veth::{HOST_END, HostFamily, HostSide, NETWORK_END};
use crate::links::{Links, sysctl, tap};
use crate::names::{Names, Outside, Silent, Ways};
use crate::namespace::holder::{self, Kept};
use crate::namespace::inside::{self, Inside, Request};
use crate::ports::bind;
use crate::relay::{self, published};
use crate::resolver::resolv_conf::ResolvConf;
use crate::turn;
use crate::uplink::user::Program;
use crate::uplink::{self, Uplink, keeper};

/// Where each machine gives itself an address (RFC 4291 section 2.5.6).
const LINK_LOCAL: &str = "fe80::/10";

impl Network {
    /// Makes the network whose state is in `state`, or takes over what is there of it.
    pub async fn open(
        configuration: Configuration,
        leases: Leases,
        state: &Path,
    ) -> anyhow::Result<Self> {
        let state = state
            .canonicalize()
            .context("cannot find the network's directory")?;
        let mut uplink = Uplink::choose(configuration.is_internal());
        let mut problem = None;
        if uplink.is_users() {
            match Program::find() {
                Ok(program) => uplink = Uplink::User(Some(program)),
                // Without it the containers have each other, names and ports all the same.
                Err(error) => {
                    let why = Chain(&error).to_string();
                    tracing::warn!("nothing leaves the network: {why}");
                    problem = Some(why);
                }
            }
        }
        let host = Links::open()?;
        let found = holder::find(&state)?;
        if uplink::may_administer() {
            if found.is_none() {
                let left = remains::remove(&host, &remains::host_name(&state)).await;
                left.context("cannot remove what is left of the network on the host")?;
            }
            if let Err(error) = remains::sweep(&host).await {
                tracing::warn!(
                    "remove what networks that are gone have left: {}",
                    Chain(&error)
                );
            }
        }
        let holder = match found {
            Some(holder) => holder,
            None if uplink::may_administer() => holder::start(&state, Kept::New).await?,
            None => holder::start(&state, Kept::NewOfUser).await?,
        };
        if found.is_none() {
            // One of before leads out of a namespace that is gone.
            keeper::kill(&state).await?;
        }
        let inside = Inside::start(holder).context("cannot enter the network's namespace")?;
        let inside = Arc::new(inside);
        let directory = Directory::new(&configuration);
        let mut network = Self {
            host_name: remains::host_name(&state),
            state,
            uplink,
            problem,
            way_out: WayOut::new(),
            inside,
            host,
            leases,
            ports: BTreeMap::new(),
            directory,
            names: Names::new(),
            left: Vec::new(),
            refused: Arc::default(),
            configuration,
        };
        if let Err(error) = network.make(holder).await {
            // What was begun here is of no use to anybody.
            if found.is_none() {
                if let Err(error) = network.close().await {
                    tracing::warn!("take the network back: {}", Chain(&error));
                }
            }
            return Err(error);
        }
        Ok(network)
    }

    /// Has the namespace kept by another holder: the one before was killed.
    ///
    /// # Errors
    /// When there is none to be had.
    pub async fn keep(&mut self) -> io::Result<()> {
        let kept = Kept::Present(self.inside.namespaces());
        let holder = holder::start(&self.state, kept).await?;
        if let Uplink::User(Some(program)) = self.uplink {
            // The way out was the other one's.
            keeper::kill(&self.state).await?;
            keeper::start(program, &self.state, holder, self.configuration.asked.mtu).await?;
        }
        Ok(())
    }

    async fn make(&mut self, holder: rustix::process::Pid) -> anyhow::Result<()> {
        self.make_bridge().await.context("cannot make the bridge")?;
        self.make_uplink(holder)
            .await
            .context("cannot make the way out")
    }

    /// Answers questions for names, and takes connections to the host.
    /// The host's resolvers are those in the file `resolv_conf`, the sockets of other networks in the directory `runtime`.
    pub async fn listen(&self, resolv_conf: &Path, runtime: &Path) -> anyhow::Result<()> {
        let gateways = self.configuration.gateways();
        let outside = Outside {
            directory: self.directory.clone(),
            servers: ResolvConf::new(resolv_conf.to_owned()),
            inside: self.inside.clone(),
            host: self.host.clone(),
            runtime: runtime.to_owned(),
            ways: Ways::default(),
            refused: self.refused.clone(),
            silent: Silent::default(),
        };
        self.names
            .listen(&gateways, outside)
            .await
            .context("cannot answer questions for names")?;
        if self.uplink.leads_out() {
            let families = self.configuration.families();
            let is_alone = self.uplink.is_users();
            relay::host::listen(&self.directory, &self.inside, &families, is_alone)
                .await
                .context("cannot take connections to the host")?;
        }
        Ok(())
    }

    /// Sets the rules, and takes over the containers that are on the network.
    pub async fn adopt(&mut self) -> anyhow::Result<()> {
        let taps = self.taps().await?;
        let known = self.inside.rules(Family::Bridge, TABLE).await?.chains;
        let mut script = String::new();
        let mut gone = Vec::new();
        let mut present = Vec::new();
        if !known.is_empty() {
            // Whoever is there is told below.
            script.push_str(&packets::forget_members());
        }
        for (container, lease) in self.leases.all() {
            let Some(member) = Member::of(container, lease) else {
                continue;
            };
            if !taps.iter().any(|tap| tap == member.tap) {
                gone.push(container.clone());
            } else if known.iter().any(|chain| chain == member.tap) {
                script.push_str(&packets::enlist(&member));
                script.push_str(&packets::lead(&member));
                present.push(member.tap);
            } else {
                script.push_str(&frames::admit(&member));
                script.push_str(&packets::admit(&member, &self.host_addresses()));
            }
        }
        if !known.is_empty() {
            // What a process before this one has not removed.
            let rules = self.inside.rules(Family::Inet, TABLE).await?;
            let is_present = |tap: &str| present.contains(&tap);
            script.insert_str(0, &packets::forget(&rules, is_present));
            let of_taps = known.iter().filter(|chain| chain.starts_with(tap::PREFIX));
            for chain in of_taps.filter(|chain| !is_present(chain)) {
                script.insert_str(0, &frames::dismiss(chain));
            }
        }
        self.set_rules(&script)
            .await
            .context("cannot set the network's rules")?;
        for container in gone {
            self.leases
                .change(&container, |lease| lease.attached = None)?;
        }
        if let Err(error) = self.end(self.strangers()).await {
            tracing::warn!(
                "end conversations of containers that are gone: {}",
                Chain(&error)
            );
        }
        self.tell().await;
        self.open_ports_again();
        self.write_host_table()
            .await
            .context("cannot set the host's rules")?;
        Ok(())
    }

    /// Conversations of addresses that nobody has: a process before this one may not have ended them, and the next holder is to have none.
    fn strangers(&self) -> Meant {
        let families = self.configuration.families();
        let mut networks: Vec<_> = families.iter().map(|family| family.subnet).collect();
        networks.extend(LINK_LOCAL.parse::<IpNet>().ok());
        let own = families
            .iter()
            .flat_map(|family| [family.gateway, family.host]);
        let members = self.leases.all().iter();
        let members = members.filter_map(|(container, lease)| Member::of(container, lease));
        let others = own.chain(members.flat_map(|member| member.sources()));
        Meant::in_networks(networks, others.collect())
    }

    /// Sets the network's rules, and behind them those of `members`.
    async fn set_rules(&self, members: &str) -> io::Result<()> {
        let families = self.configuration.families();
        let gateway = |family: &crate::configuration::Family| (family.host, family.gateway);
        let mut base = packets::Base {
            host: families
                .iter()
                .filter(|_| self.uplink != Uplink::None)
                .map(gateway)
                .collect(),
            leads_out: self.uplink.leads_out(),
            relay: relay::host::PORT,
            is_alone: self.uplink.is_users(),
            intercepts: true,
            uplink: self.uplink.networks(),
            conversations: self.configuration.conversations,
        };
        let script = |base: &packets::Base| frames::base() + &packets::base(base) + members;
        let set = self.inside.run(Request::Rules(script(&base))).await;
        if set.is_err() {
            base.intercepts = false;
            // Where it is not that, the same error comes again.
            self.inside.run(Request::Rules(script(&base))).await?;
            tracing::warn!("this kernel leads no datagrams to the host's loopback (nft_tproxy)");
        }
        Ok(())
    }

    /// Those of the containers that are on the network. One that was taken meanwhile stays closed.
    fn open_ports_again(&mut self) {
        for (container, lease) in self.leases.all() {
            let Some(attached) = &lease.attached else {
                continue;
            };
            let (target, count) = (self.target(lease), attached.ports.len());
            for port in &attached.ports {
                let opened = bind::bind(port).map_err(anyhow::Error::from);
                match opened.and_then(|bound| Ok(published::open(bound, &target, count)?)) {
                    Ok(open) => self.ports.entry(container.clone()).or_default().push(open),
                    Err(error) => tracing::warn!("{container}: {error:#}"),
                }
            }
        }
    }

    async fn make_bridge(&self) -> io::Result<()> {
        let families = self.configuration.families();
        let gateway =
            |family: &crate::configuration::Family| (family.gateway, family.subnet.prefix_len());
        let is_there = self.uplink != Uplink::None;
        let bridge = inside::Bridge {
            addresses: families.iter().map(gateway).collect(),
            proxied: families
                .iter()
                .filter(|_| is_there)
                .map(|family| family.host)
                .collect(),
            mtu: self.configuration.asked.mtu,
            announced: matches!(self.uplink, Uplink::User(Some(program)) if program.announces()),
        };
        self.inside.run(Request::Bridge(bridge)).await
    }

    pub(super) async fn make_uplink(&mut self, holder: rustix::process::Pid) -> io::Result<()> {
        let mtu = self.configuration.asked.mtu;
        match self.uplink {
            Uplink::Veth | Uplink::Inward => {}
            Uplink::User(Some(program)) => {
                return keeper::start(program, &self.state, holder, mtu).await;
            }
            Uplink::User(None) | Uplink::None => return Ok(()),
        }
        let families = self.configuration.families();
        let side = |family: &crate::configuration::Family| HostFamily {
            subnet: (family.subnet.addr(), family.subnet.prefix_len()),
            // Behind the interface an address of IPv4 is found wherever it is, one of IPv6 on that interface only.
            router: if family.host.is_ipv4() {
                family.gateway
            } else {
                NETWORK_END.into()
            },
            host: family.host,
        };
        let host = HostSide {
            name: self.host_name.clone(),
            holder,
            mtu,
            families: families.iter().map(side).collect(),
        };
        // Until its table's interface is there nobody may look for tables without one.
        let turn = turn::take().await?;
        self.host.host_side(&host).await?;
        drop(turn);
        let mut uplink = inside::Uplink {
            mtu,
            addresses: Vec::new(),
            hosts: Vec::new(),
            leads_out: self.uplink.leads_out(),
        };
        for family in &families {
            if family.host.is_ipv4() {
                uplink.hosts.push((family.host, family.host));
            } else {
                uplink.addresses.push((NETWORK_END.into(), 64));
                uplink.hosts.push((family.host, HOST_END.into()));
            }
        }
        self.inside.run(Request::Uplink(uplink)).await?;
        let ipv6 = families.iter().any(|family| family.host.is_ipv6());
        if self.uplink.leads_out() {
            forwarding::enable(&self.host, ipv6).await?;
        }
        // The interface itself is not among those that are told so above.
        sysctl::set(&format!("ipv6/conf/{}/accept_ra", self.host_name), "0")
    }
}
