//! The container's network interfaces, as the host wants them.

mod address;
mod counters;
mod interface;
mod listeners;
mod netlink;

pub use counters::Counters;
pub use listeners::watch as listeners;

use std::collections::BTreeMap;
use std::io;

use container_api::guest::Interface;
use thiserror::Error;

use crate::transport::{self, TransportError};
use address::{Mac, Malformed, mac, parse, spelled};
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
    /// Its device cannot be used, or given up.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The kernel has no network.
    #[error("cannot speak to the network stack")]
    Netlink(#[source] io::Error),
}

/// The kernel's numbers of interfaces, by the MAC addresses of their devices: names and addresses may be changed by who has the power.
pub type Numbers = BTreeMap<Mac, i32>;

/// Does what can be done for the machine's interface before it is known whose it is. What fails is told when it is set up.
pub fn prepare() {
    if let Ok(netlink) = Netlink::open() {
        let _ = interface::prepare(&netlink);
    }
}

/// Sets all `interfaces` up: `eth0` is the first.
pub fn set_up(interfaces: &[Interface]) -> Result<Numbers, NetworkError> {
    if interfaces.is_empty() {
        return Ok(Numbers::new());
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
    let found = interface::name(&netlink, &parsed)?;
    let mut numbers = Numbers::new();
    for (wanted, number) in parsed.iter().zip(found) {
        interface::configure(&netlink, number, wanted)?;
        numbers.insert(wanted.device_mac, number);
    }
    Ok(numbers)
}

/// Sets a further interface up, whose device is on a transport without a driver; gives its name.
pub fn connect(numbers: &mut Numbers, interface: &Interface) -> Result<String, NetworkError> {
    let free = (0..MAX_INTERFACES).find(|index| !interface::exists(&format!("eth{index}")));
    let plan = parse(free.ok_or(NetworkError::TooMany)?, interface)?;
    let netlink = Netlink::open().map_err(NetworkError::Netlink)?;
    let found = transport::find(|| interface::find(plan.device_mac).ok())?;
    let (number, _) = found.ok_or_else(|| NetworkError::no_device(plan.device_mac))?;
    let plans = std::slice::from_ref(&plan);
    let set_up = interface::name(&netlink, plans)
        .and_then(|_| interface::configure(&netlink, number, &plan));
    if let Err(error) = set_up {
        // The first error is the one to tell.
        let _ = give_up(number, &interface.device_mac);
        return Err(error);
    }
    numbers.insert(plan.device_mac, number);
    Ok(plan.name)
}

/// Gives the interface whose device has the address `device_mac`, and that device, up. What is for elsewhere leaves by `heir` from then on.
pub fn disconnect(
    numbers: &mut Numbers,
    device_mac: &str,
    heir: Option<&Interface>,
) -> Result<(), NetworkError> {
    let heir = heir.map(|heir| parse(0, heir)).transpose()?;
    let address = mac(device_mac)?;
    let number = numbers
        .remove(&address)
        .ok_or_else(|| NetworkError::no_device(address))?;
    give_up(number, device_mac)?;
    if let Some(heir) = heir {
        let netlink = Netlink::open().map_err(NetworkError::Netlink)?;
        let heir_number = numbers.get(&heir.device_mac);
        let heir_number = heir_number.ok_or_else(|| NetworkError::no_device(heir.device_mac))?;
        interface::lead_out(&netlink, *heir_number, &heir)?;
    }
    Ok(())
}

/// Makes the interfaces with these numbers as if nobody had used them, and prepares them for who comes.
pub fn renew(numbers: &Numbers) -> Result<(), NetworkError> {
    for (address, number) in numbers {
        let device = interface::device(*number);
        let device = device.ok_or_else(|| NetworkError::no_device(*address))?;
        transport::renew(&device)?;
    }
    if !numbers.is_empty() {
        prepare();
    }
    Ok(())
}

fn give_up(number: i32, device_mac: &str) -> Result<(), NetworkError> {
    let device = interface::device(number);
    let device = device.ok_or_else(|| NetworkError::NoDevice(device_mac.to_owned()))?;
    Ok(transport::unbind(&device)?)
}

impl NetworkError {
    fn no_device(mac: Mac) -> Self {
        Self::NoDevice(spelled(mac))
    }
}
