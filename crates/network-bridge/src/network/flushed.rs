//! The host's rules for the network come back when somebody takes them away.
//!
//! Who sent datagrams to a port meanwhile is led there again as well. Without them networks reach each other, nothing leaves, ports lead nowhere, and a host that forwards for networks is everybody's router.

use std::io;

use tokio::sync::Mutex;

use super::Network;
use crate::filter::host::TOGETHER;
use crate::filter::watch::Watch;
use crate::forwarding;

impl Network {
    async fn write_again(&self, guard: Option<&str>) -> io::Result<()> {
        if let Some(guard) = guard {
            forwarding::renew(guard).await?;
        }
        self.write_host_table().await?;
        self.end_unled(self.ports.values().flatten()).await
    }
}

/// Writes the host's rules of the network again whenever they are gone. Never ends.
pub async fn keep(network: &Mutex<Network>) {
    let name = {
        let network = network.lock().await;
        network.uplink.is_pair().then(|| network.host_name.clone())
    };
    let watched = match name {
        Some(name) => watch(network, &name).await,
        None => Ok(()),
    };
    if let Err(error) = watched {
        tracing::error!(
            "nobody looks whether the host's rules for the network are there: {error:#}"
        );
    }
    std::future::pending::<()>().await;
}

async fn watch(network: &Mutex<Network>, name: &str) -> io::Result<()> {
    let watch = Watch::new()?;
    let guard = forwarding::record().await?;
    loop {
        watch.gone(&[name, TOGETHER, forwarding::TABLE]).await?;
        tracing::warn!("the host's rules for the network are gone: they are written again");
        let written = network.lock().await.write_again(guard.as_deref()).await;
        if let Err(error) = written {
            tracing::error!("the host's rules for the network cannot be written: {error:#}");
        }
    }
}
