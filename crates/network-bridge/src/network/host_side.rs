//! What the host has of the network comes back when somebody takes it away: its rules, the interface with its addresses and routes,
//! and that the host forwards.
//!
//! Without the rules networks reach each other, ports lead nowhere, and a host that forwards for networks is everybody's router;
//! without the rest nothing leaves and nothing comes in. Who sent datagrams to a port meanwhile is led there again as well.

use std::io;
use std::time::Duration;

use anyhow::Context;
use container_api::Chain;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::Network;
use crate::filter::host::TOGETHER;
use crate::filter::watch::Watch as Rules;
use crate::forwarding;
use crate::links::watch::{Loss, Watch as Side};
use crate::namespace::holder;

/// How long it is before a mend that failed is tried again, at first and at most: what hinders may be temporary.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

impl Network {
    /// Makes all of it again; `guard` is what [`forwarding::record`] gave.
    async fn make_host_side_again(&mut self, guard: &mut Option<String>) -> anyhow::Result<()> {
        // What keeps others out is written whatever becomes of the rest.
        let rules = self.write_again(guard.as_deref()).await;
        let side = self.make_side_again().await;
        rules.context("cannot write the host's rules")?;
        side.context("cannot make the way out")?;
        // Whoever turned forwarding off may have been the one who turned it on.
        if let Some(now) = forwarding::record().await? {
            *guard = Some(now);
        }
        Ok(())
    }

    async fn write_again(&self, guard: Option<&str>) -> io::Result<()> {
        if let Some(guard) = guard {
            forwarding::renew(guard).await?;
        }
        self.write_host_table().await?;
        self.end_unled(self.ports.values().flatten()).await
    }

    async fn make_side_again(&mut self) -> io::Result<()> {
        let nobody = || io::Error::other("nobody keeps the network's namespace");
        let holder = holder::find(&self.state)?.ok_or_else(nobody)?;
        let made = self.make_uplink(holder).await;
        let kind = made.as_ref().map_err(io::Error::kind);
        if kind == Err(io::ErrorKind::AddrInUse) {
            // Another route leads to the subnet. With the interface there it would be taken for its own the next time.
            self.host.remove(&self.host_name).await?;
        }
        made
    }

    /// Whether the interface is there with its addresses, and the host forwards if it is to.
    async fn has_host_side(&self) -> bool {
        let families = self.configuration.families();
        let addresses: Vec<_> = families.iter().map(|family| family.host).collect();
        let has = self.host.has_host_side(&self.host_name, &addresses).await;
        let ipv6 = addresses.iter().any(std::net::IpAddr::is_ipv6);
        has.unwrap_or(false) && (!self.uplink.leads_out() || forwarding::is_on(ipv6))
    }
}

/// Makes again what the host has of the network, whenever some of it is gone. Never ends. `telling` is held while the host's resolver is told
/// something.
pub async fn keep(network: &Mutex<Network>, telling: &Mutex<()>) {
    let name = {
        let network = network.lock().await;
        network.uplink.is_pair().then(|| network.host_name.clone())
    };
    let watched = match name {
        Some(name) => watch(network, telling, &name).await,
        None => Ok(()),
    };
    if let Err(error) = watched {
        tracing::error!("nobody looks whether the host has its side of the network: {error:#}");
    }
    std::future::pending::<()>().await;
}

async fn watch(network: &Mutex<Network>, telling: &Mutex<()>, name: &str) -> io::Result<()> {
    let mut rules = Rules::new(&[name, TOGETHER, forwarding::TABLE])?;
    let mut side = Side::new(name)?;
    let mut guard = forwarding::record().await?;
    let mut again: Option<(Instant, Duration)> = None;
    loop {
        let retry = async {
            match again {
                Some((at, _)) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let is_certain = tokio::select! {
            gone = rules.gone() => gone.map(|()| true)?,
            lost = side.lost() => lost? == Loss::Told,
            () = retry => true,
        };
        let mut held = network.lock().await;
        if !is_certain && held.has_host_side().await {
            continue;
        }
        if again.is_none() {
            tracing::warn!(
                "what the host has of the network is gone, or some of it: it is made again"
            );
        }
        let made = held.make_host_side_again(&mut guard).await;
        // What the kernel told meanwhile is of the mend, or is seen by looking.
        side.renew(name);
        let made = match made {
            Ok(()) if !held.has_host_side().await => Err(anyhow::anyhow!("it is gone again")),
            made => made,
        };
        let problem = made
            .err()
            .map(|error| format!("the host's side of the network: {error:#}"));
        if let Some(problem) = problem.iter().find(|_| problem != held.problem) {
            tracing::error!("{problem}");
        }
        held.problem.clone_from(&problem);
        drop(held);
        again = problem.map(|_| {
            let [first, longest] = PAUSES;
            let pause = again.map_or(first, |(_, pause)| (pause * 2).min(longest));
            (Instant::now() + pause, pause)
        });
        if again.is_none() {
            tell_resolver(network, telling).await;
        }
    }
}

/// What the host's resolver knew of the interface went with it.
async fn tell_resolver(network: &Mutex<Network>, telling: &Mutex<()>) {
    let _telling = telling.lock().await;
    let mut network = network.lock().await;
    let domains = network.directory.domains();
    let lead = network.set_domains(domains).await;
    drop(network);
    if let Ok(Some(lead)) = lead {
        if let Err(error) = lead.tell().await {
            tracing::warn!("the host's resolver: {}", Chain(&error));
        }
    }
}
