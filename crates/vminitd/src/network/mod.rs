//! The container's network interfaces, as the host wants them.

mod address;
mod interface;
mod listeners;
mod netlink;

pub use listeners::watch as listeners;

use std::io;

use container_api::guest::Interface;
use thiserror::Error;

use address::{Malformed, parse};
use netlink::Netlink;

/// The most interfaces: a machine has eight devices, and two of them are disks.
const MAX_INTERFACES: usize = 8;

/// Why the container has no network.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// More interfaces than a machine can have.
    #[error("there are more than {MAX_INTERFACES} network interfaces")]
    TooMany,
    /// An address of the request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The machine has not the device.
    #[error("the machine has no network device {0}")]
    NoDevice(String),
    /// The kernel refused.
    #[error("network interface {name}: cannot {step}")]
    Step {
        name: String,
        step: &'static str,
        #[source]
        source: io::Error,
    },
    /// The kernel has no network.
    #[error("cannot speak to the network stack")]
    Netlink(#[source] io::Error),
}

/// Sets all `interfaces` up: `eth0` is the first.
pub fn set_up(interfaces: &[Interface]) -> Result<(), NetworkError> {
    if interfaces.is_empty() {
        return Ok(());
    }
    if interfaces.len() > MAX_INTERFACES {
        return Err(NetworkError::TooMany);
    }
    let parsed = interfaces
        .iter()
        .enumerate()
        .map(|(index, wanted)| parse(index, wanted))
        .collect::<Result<Vec<_>, _>>()?;
    let netlink = Netlink::open().map_err(NetworkError::Netlink)?;
    interface::name(&netlink, &parsed)?;
    parsed
        .iter()
        .try_for_each(|wanted| interface::configure(&netlink, wanted))
}
