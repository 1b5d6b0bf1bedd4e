//! Machines come and go.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;

use container_api::network::Addresses;
use container_api::{Error, Kind};
use container_resource::egress::EgressRule;

use super::left::end_on_host;
use super::{Network, failed};
use crate::conversations::Meant;
use crate::filter::member::Member;
use crate::filter::{frames, packets};
use crate::leases::lease::Attached;
use crate::namespace::inside::Request;
use crate::ports::bind::{self, BindError, Bound};
use crate::ports::published::{Protocol, Published, Wanted};
use crate::relay::published::{self, Open};
use crate::uplink::Uplink;

/// What a container wants when it comes.
#[derive(Debug)]
pub struct AttachOptions {
    /// Ports of the host that shall lead to it.
    pub ports: Vec<Wanted>,
    /// What it may reach of what the network allows; none: all of that.
    pub egress: Option<Vec<EgressRule>>,
    /// A tap that was made before; none: a new one.
    pub spare: Option<String>,
}

/// What it gets.
#[derive(Debug)]
pub struct Place {
    /// Its addresses.
    pub addresses: Addresses,
    /// Its ports.
    pub ports: Vec<Published>,
    /// The tap that was made, with its name.
    pub tap: Option<(String, OwnedFd)>,
}

impl Network {
    /// Puts a container on the network. What it has from before is taken away first.
    ///
    /// # Errors
    /// When it has no lease, a port is taken, or the system refuses; nothing is left of it then.
    pub async fn attach(
        &mut self,
        container: &str,
        options: AttachOptions,
    ) -> Result<Place, Error> {
        let Some(lease) = self.leases.get(container) else {
            let text = format!("{container} has no addresses on this network");
            return Err(Error::new(Kind::NotFound, text));
        };
        let mtu = lease.mtu;
        self.detach(container).await?;
        let bound = self.take_ports(&options.ports)?;
        let target = self.leases.get(container).map(|lease| self.target(lease));
        let mut open = Vec::new();
        let count = bound.len();
        for (bound, target) in bound.into_iter().zip(target.iter().cycle()) {
            let opened = published::open(bound, target, count);
            open.push(opened.map_err(failed("open the container's ports"))?);
        }
        let ports: Vec<Published> = open.iter().map(|open| open.port).collect();
        let (tap, made) = if let Some(spare) = options.spare {
            self.check_spare(&spare).await?;
            (spare, None)
        } else {
            let (name, descriptor) = self.inside.tap().await.map_err(failed("make a tap"))?;
            (name.clone(), Some((name, descriptor)))
        };
        // Its name may be that of a machine which went without a word.
        self.forget_tap(&tap).await?;
        let of_network = self.configuration.asked.egress.clone();
        // A policy that whoever is on the network can lift is none.
        let (egress, within) = match options.egress {
            Some(own) => (Some(own), of_network),
            None => (of_network, None),
        };
        let attached = Attached {
            tap: tap.clone(),
            ports: ports.clone(),
            egress,
            within,
        };
        // Each of these waits for something else: a disk, a process, the kernel.
        let before = self.leases.note(container, attached);
        if let Err(error) = self.make_way(container).await {
            self.leases.forget(before);
            return Err(error);
        }
        let written = self.leases.written();
        self.ports.insert(container.to_owned(), open);
        self.directory.update(&self.leases);
        let (written, (), admitted) = tokio::join!(
            written,
            self.names.tell(&self.directory),
            self.admit(container, &tap, mtu)
        );
        if let Err(error) = written.map_err(Error::from).and(admitted) {
            // The first error is the one to tell.
            if let Err(error) = self.detach(container).await {
                tracing::warn!("take {container} back: {error:#}");
                self.leases.forget(before);
                self.tell().await;
            }
            return Err(error);
        }
        let lease = self.leases.get(container);
        Ok(Place {
            addresses: lease.map(|lease| self.addresses(lease)).unwrap_or_default(),
            ports,
            tap: made,
        })
    }

    /// Takes a container off the network. Its lease stays.
    ///
    /// # Errors
    /// When rules or leases can't be changed.
    pub async fn detach(&mut self, container: &str) -> Result<(), Error> {
        let Some(lease) = self.leases.get(container).cloned() else {
            return Ok(());
        };
        let Some(Attached { tap, .. }) = &lease.attached else {
            return Ok(());
        };
        // It goes when nobody has it open any more. A machine that goes on keeps it until that NIC gets another one, and a VMM would ask
        // a tap that has been removed without end.
        let parted = self.inside.run(Request::Part(tap.clone())).await;
        parted.map_err(failed("take the container's tap off the bridge"))?;
        self.leases
            .change(container, |lease| lease.attached = None)?;
        let tap = tap.clone();
        self.leave(container, lease).await?;
        self.tell().await;
        // A tap of the same name is another run's.
        self.refused.keep(|other| other != tap);
        if self
            .ports
            .remove(container)
            .is_some_and(|ports| !ports.is_empty())
        {
            let written = self.write_host_table().await;
            written.map_err(failed("close the container's ports"))?;
        }
        Ok(())
    }

    /// Makes a tap that is nobody's yet.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn spare(&mut self) -> Result<(String, OwnedFd), Error> {
        let (name, descriptor) = self.inside.tap().await.map_err(failed("make a tap"))?;
        self.forget_tap(&name).await?;
        Ok((name, descriptor))
    }

    async fn admit(&self, container: &str, tap: &str, mtu: u32) -> Result<(), Error> {
        let ports = async {
            let has_ports = self
                .ports
                .get(container)
                .is_some_and(|ports| !ports.is_empty());
            if has_ports {
                let written = self.write_host_table().await;
                written.map_err(failed("open the container's ports"))?;
                let open = self.ports.get(container).into_iter().flatten();
                let ended = self.end_unled(open).await;
                ended.map_err(failed(
                    "lead to the container's ports who sends there already",
                ))?;
            }
            Ok(())
        };
        tokio::try_join!(ports, self.connect(container, tap, mtu)).map(drop)
    }

    /// Lets the host look at its rules again for clients who sent datagrams to `open` ports before the rules were there.
    pub(super) async fn end_unled(&self, open: impl Iterator<Item = &Open>) -> io::Result<()> {
        let datagrams = open.filter(|open| open.port.protocol == Protocol::Udp);
        let ports: BTreeSet<u16> = datagrams.map(|open| open.port.host_port).collect();
        if ports.is_empty() || self.uplink != Uplink::Veth {
            return Ok(());
        }
        let local = self.host.addresses().await?;
        end_on_host(Meant::to_ports(ports, local.into_iter().collect())).await
    }

    /// Sets the container's rules, and puts its tap on the bridge.
    async fn connect(&self, container: &str, tap: &str, mtu: u32) -> Result<(), Error> {
        let lease = self.leases.get(container);
        let Some(member) = lease.and_then(|lease| Member::of(container, lease)) else {
            return Ok(());
        };
        let script = frames::admit(&member) + &packets::admit(&member, &self.host_addresses());
        let mut rules = self.inside.run(Request::Rules(script.clone())).await;
        if let Err(error) = &rules {
            tracing::debug!("{tap} has rules already? {error:#}");
            let script = frames::dismiss(tap) + &packets::dismiss(&member, &[]) + &script;
            rules = self.inside.run(Request::Rules(script)).await;
        }
        rules.map_err(failed("set the container's rules"))?;
        let (tap, mac) = (tap.to_owned(), member.mac.bytes());
        let joined = self.inside.run(Request::Join { tap, mtu, mac }).await;
        joined.map_err(failed("put the tap on the bridge"))
    }

    /// Takes the ports that are wanted, in their order; those first that are not one of several.
    fn take_ports(&self, wanted: &[Wanted]) -> Result<Vec<Bound>, Error> {
        let take = |(index, wanted): (usize, &Wanted)| {
            let bound = bind::choose(wanted);
            let bound = bound.map_err(|error| self.explain(&wanted.port, error))?;
            Ok((index, bound))
        };
        let (choices, fixed): (Vec<_>, Vec<_>) = wanted
            .iter()
            .enumerate()
            .partition(|(_, wanted)| wanted.last > wanted.port.host_port);
        let bound: Result<Vec<_>, Error> = fixed.into_iter().chain(choices).map(take).collect();
        let mut bound = bound?;
        bound.sort_by_key(|(index, _)| *index);
        Ok(bound.into_iter().map(|(_, bound)| bound).collect())
    }

    /// A port that another container has is told by its name, not by that of its network's process.
    fn explain(&self, port: &Published, error: BindError) -> Error {
        let kind = match &error {
            BindError::Taken { .. } | BindError::AllTaken { .. } => Kind::Exists,
            BindError::Privileged(..) => Kind::PermissionDenied,
            BindError::Address(..) => Kind::InvalidArgument,
            BindError::Other(..) => Kind::Internal,
        };
        let container = match &error {
            // A port that is shut is in no table of the kernel's.
            BindError::Taken { owner, at, .. }
                if owner.as_ref().is_none_or(|owner| owner.is_network) =>
            {
                self.container_at(*at, port.protocol)
            }
            _ => None,
        };
        match container {
            Some(container) => {
                let port = bind::spelled(port);
                let text = format!("port {port} of the host is taken by {container}");
                Error::new(kind, text)
            }
            None => Error::caused(kind, error),
        }
    }

    /// That there is a tap of that name, and that it is nobody's.
    pub(super) async fn check_spare(&self, name: &str) -> Result<(), Error> {
        let taps = self.taps().await.map_err(failed("list the taps"))?;
        let is_owned = self.leases.attached().any(|attached| attached.tap == name);
        if !taps.iter().any(|tap| tap == name) || is_owned {
            let text = format!("there is no spare tap {name:?}");
            return Err(Error::new(Kind::NotFound, text));
        }
        Ok(())
    }

    /// Takes the network from a container whose tap had that name: its machine is gone.
    async fn forget_tap(&mut self, tap: &str) -> Result<(), Error> {
        let had = |attached: &Attached| attached.tap == tap;
        let gone: Vec<String> = self
            .leases
            .all()
            .iter()
            .filter(|(_, lease)| lease.attached.as_ref().is_some_and(had))
            .map(|(container, _)| container.clone())
            .collect();
        for container in gone {
            let Some(lease) = self.leases.get(&container).cloned() else {
                continue;
            };
            self.leases
                .change(&container, |lease| lease.attached = None)?;
            self.leave(&container, lease).await?;
            self.ports.remove(&container);
            self.tell().await;
            self.refused.keep(|other| other != tap);
            self.write_host_table()
                .await
                .map_err(failed("close a container's ports"))?;
        }
        Ok(())
    }
}
