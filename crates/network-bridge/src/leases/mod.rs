//! Which container has which addresses and names.
//!
//! They are in `leases.json` of the network's directory before anybody is told of them.

pub mod lease;
mod mac;
pub mod names;
pub mod subnet;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use container_resource::bundle::{read_json, write_json};
use container_resource::mac_address::{MacAddress, MacAddressError};
use serde::{Deserialize, Serialize};

use self::lease::{Attached, Lease};
use self::names::NamesError;
pub use self::names::{HOST, is_host, is_network};
use self::subnet::{AddressError, Family, Subnet};
use crate::ports::published::Published;

/// The smallest MTU (RFC 8200 section 5).
pub const SMALLEST_MTU: u32 = 1280;
/// The longest id of a container, in bytes.
const MAX_ID: usize = 128;
/// The most containers of a network: a bridge has 1024 ports (`BR_MAX_PORTS`), one of them spare.
const MAX_LEASES: usize = 1000;

/// Addresses of one network.
#[derive(Debug)]
pub struct Leases {
    path: PathBuf,
    ipv4: Option<Subnet<Ipv4Addr>>,
    ipv6: Option<Subnet<Ipv6Addr>>,
    mtu: u32,
    state: State,
}

/// What the leases were before something was noted.
#[derive(Debug)]
pub struct Before(State);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct State {
    /// The addresses that were given last.
    #[serde(default)]
    last_ipv4: Option<Ipv4Addr>,
    #[serde(default)]
    last_ipv6: Option<Ipv6Addr>,
    /// Those that were freed last.
    #[serde(default)]
    freed_ipv4: Option<Ipv4Addr>,
    #[serde(default)]
    freed_ipv6: Option<Ipv6Addr>,
    /// By container.
    #[serde(default)]
    leases: BTreeMap<String, Lease>,
}

impl State {
    /// Notes addresses that are nobody's from now on.
    fn free(&mut self, ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>) {
        self.freed_ipv4 = ipv4.or(self.freed_ipv4);
        self.freed_ipv6 = ipv6.or(self.freed_ipv6);
    }
}

/// What a container asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// Its names, without a domain.
    pub names: Vec<String>,
    /// Empty: any, as in the next ones.
    pub ipv4: String,
    /// Wanted address.
    pub ipv6: String,
    /// Wanted hardware address.
    pub mac: String,
    /// 0: the network's.
    pub mtu: u32,
    /// Other networks that it is on.
    pub also: Vec<String>,
}

/// Why a container gets no lease.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Not an id.
    #[error("invalid container id {0:?}")]
    Id(String),
    /// Not an address.
    #[error("invalid address '{0}'")]
    Address(String),
    /// The network does not have the family of the wanted address.
    #[error("the network has no {0} addresses, so it cannot give {1}")]
    Family(&'static str, String),
    /// The wanted address, or any, can't be had.
    #[error(transparent)]
    Unavailable(#[from] AddressError),
    /// Not a hardware address.
    #[error(transparent)]
    Mac(#[from] MacAddressError),
    /// The wanted hardware address is another's.
    #[error("{0} belongs to another container of the network")]
    MacTaken(MacAddress),
    /// Smaller than IPv6 allows, or larger than the network's.
    #[error("invalid MTU {0}: {SMALLEST_MTU} to {1}, the network's, is expected")]
    Mtu(u32, u32),
    /// A name.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// Other addresses are wanted than those that are in use.
    #[error("the container is attached: its addresses cannot change")]
    InUse,
    /// Too many.
    #[error("the network has {MAX_LEASES} containers, which is the most")]
    Full,
    /// No random numbers.
    #[error("cannot make an address up")]
    Random(#[source] io::Error),
    /// The lease can't be kept.
    #[error("cannot write the network's leases")]
    Write(#[source] io::Error),
}

impl Leases {
    /// Those at `path`, of a network with the given subnets and MTU. A file that is not there has none.
    ///
    /// # Errors
    /// As `read(2)`, and when it is damaged: to give addresses twice would harm running containers.
    pub fn open(
        path: PathBuf,
        ipv4: Option<Subnet<Ipv4Addr>>,
        ipv6: Option<Subnet<Ipv6Addr>>,
        mtu: u32,
    ) -> io::Result<Self> {
        let state = match read_json(&path) {
            Ok(state) => state,
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            path,
            ipv4,
            ipv6,
            mtu,
            state,
        })
    }

    /// Open ports of the network whose state is in `directory`, each with its container.
    ///
    /// # Errors
    /// As `read(2)`, and when the file is damaged.
    pub fn ports_in(directory: &Path) -> io::Result<Vec<(String, Published)>> {
        let state: State = read_json(&Self::path_in(directory))?;
        let ports = state.leases.into_iter().flat_map(|(container, lease)| {
            let ports = lease.attached.map(|attached| attached.ports);
            let of = move |port| (container.clone(), port);
            ports.unwrap_or_default().into_iter().map(of)
        });
        Ok(ports.collect())
    }

    /// File of the leases in the network's directory.
    pub fn path_in(directory: &Path) -> PathBuf {
        directory.join("leases.json")
    }

    /// All of them, by container.
    pub fn all(&self) -> &BTreeMap<String, Lease> {
        &self.state.leases
    }

    /// What containers have that are on the network.
    pub fn attached(&self) -> impl Iterator<Item = &Attached> {
        let leases = self.state.leases.values();
        leases.filter_map(|lease| lease.attached.as_ref())
    }

    /// The container's.
    pub fn get(&self, container: &str) -> Option<&Lease> {
        self.state.leases.get(container)
    }

    /// Gives `container` what it wishes, or what it has already.
    ///
    /// # Errors
    /// When that can't be had, or can't be written; nothing has changed then.
    pub fn allocate(&mut self, container: &str, wish: &Wish) -> Result<Lease, LeaseError> {
        let mut state = self.state.clone();
        let held = state.leases.remove(container);
        let lease = self.lease(&mut state, container, wish, held.as_ref())?;
        if let Some(held) = held {
            state.free(
                held.ipv4.filter(|_| held.ipv4 != lease.ipv4),
                held.ipv6.filter(|_| held.ipv6 != lease.ipv6),
            );
        }
        state.leases.insert(container.to_owned(), lease.clone());
        self.keep(state)?;
        Ok(lease)
    }

    /// Changes the container's lease; nothing when it has none.
    ///
    /// # Errors
    /// When it can't be written; nothing has changed then.
    pub fn change(
        &mut self,
        container: &str,
        change: impl FnOnce(&mut Lease),
    ) -> Result<(), LeaseError> {
        let mut state = self.state.clone();
        if let Some(lease) = state.leases.get_mut(container) {
            change(lease);
        }
        self.keep(state)
    }

    /// Notes what the container has while it is on the network, and gives what all was before: it is kept when [`Self::written`] says so.
    pub fn note(&mut self, container: &str, attached: Attached) -> Before {
        let before = self.state.clone();
        if let Some(lease) = self.state.leases.get_mut(container) {
            lease.attached = Some(attached);
        }
        Before(before)
    }

    /// Writes what was noted, beside other work.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn written(&self) -> impl Future<Output = Result<(), LeaseError>> + use<> {
        let (path, state) = (self.path.clone(), self.state.clone());
        let work = tokio::task::spawn_blocking(move || write_json(&path, &state));
        async move {
            let written = work.await.unwrap_or_else(|error| Err(error.into()));
            written.map_err(LeaseError::Write)
        }
    }

    /// Forgets what was noted, and is not kept.
    pub fn forget(&mut self, before: Before) {
        self.state = before.0;
    }

    /// Frees what the container has, and gives what it was.
    ///
    /// # Errors
    /// When it can't be written; nothing has changed then.
    pub fn release(&mut self, container: &str) -> Result<Option<Lease>, LeaseError> {
        let mut state = self.state.clone();
        let lease = state.leases.remove(container);
        if let Some(lease) = &lease {
            state.free(lease.ipv4, lease.ipv6);
        }
        self.keep(state)?;
        Ok(lease)
    }

    fn keep(&mut self, state: State) -> Result<(), LeaseError> {
        if state != self.state {
            write_json(&self.path, &state).map_err(LeaseError::Write)?;
            self.state = state;
        }
        Ok(())
    }

    fn lease(
        &self,
        state: &mut State,
        container: &str,
        wish: &Wish,
        held: Option<&Lease>,
    ) -> Result<Lease, LeaseError> {
        if !is_id(container) {
            return Err(LeaseError::Id(container.to_owned()));
        }
        if state.leases.len() >= MAX_LEASES {
            return Err(LeaseError::Full);
        }
        let mtu = match wish.mtu {
            0 => self.mtu,
            mtu if (SMALLEST_MTU..=self.mtu).contains(&mtu) => mtu,
            mtu => return Err(LeaseError::Mtu(mtu, self.mtu)),
        };
        let others = || state.leases.values();
        let taken = others().filter_map(|lease| lease.ipv4).collect();
        let held_ipv4 = held.and_then(|lease| lease.ipv4);
        let (ipv4, last_ipv4) = address(
            self.ipv4.as_ref(),
            "IPv4",
            &wish.ipv4,
            held_ipv4,
            (state.last_ipv4, state.freed_ipv4),
            &taken,
        )?;
        let taken = others().filter_map(|lease| lease.ipv6).collect();
        let held_ipv6 = held.and_then(|lease| lease.ipv6);
        let (ipv6, last_ipv6) = address(
            self.ipv6.as_ref(),
            "IPv6",
            &wish.ipv6,
            held_ipv6,
            (state.last_ipv6, state.freed_ipv6),
            &taken,
        )?;
        let taken = others().map(|lease| lease.mac).collect();
        let mac = hardware_address(&wish.mac, held.map(|lease| lease.mac), &taken)?;
        let lease = Lease {
            ipv4,
            ipv6,
            mac,
            mtu,
            names: names::check(&wish.names)?,
            also: names::check_networks(&wish.also)?,
            number: held.map_or_else(|| free_number(others()), |lease| lease.number),
            attached: held.and_then(|lease| lease.attached.clone()),
        };
        if let Some(held) = held.filter(|held| held.attached.is_some()) {
            let parts = |lease: &Lease| (lease.ipv4, lease.ipv6, lease.mac, lease.mtu);
            if parts(held) != parts(&lease) {
                return Err(LeaseError::InUse);
            }
        }
        (state.last_ipv4, state.last_ipv6) = (last_ipv4, last_ipv6);
        Ok(lease)
    }
}

/// The wanted address, else the one that is held, else the next; and the one that was given last from now on.
fn address<F: Family + std::str::FromStr>(
    subnet: Option<&Subnet<F>>,
    family: &'static str,
    wanted: &str,
    held: Option<F>,
    (last, freed): (Option<F>, Option<F>),
    taken: &BTreeSet<F>,
) -> Result<(Option<F>, Option<F>), LeaseError> {
    let Some(subnet) = subnet else {
        return match wanted {
            "" => Ok((None, last)),
            wanted => Err(LeaseError::Family(family, wanted.to_owned())),
        };
    };
    if !wanted.is_empty() {
        let invalid = |_| LeaseError::Address(wanted.to_owned());
        let wanted = wanted.parse().map_err(invalid)?;
        subnet.check(wanted, taken)?;
        return Ok((Some(wanted), last));
    }
    if let Some(held) = held.filter(|held| subnet.check(*held, taken).is_ok()) {
        return Ok((Some(held), last));
    }
    let next = subnet.next(last, taken)?;
    // It may have been asked for, and is the next one all the same: only where there is no other.
    let next = if freed == Some(next) {
        subnet.next(Some(next), taken)?
    } else {
        next
    };
    Ok((Some(next), Some(next)))
}

fn hardware_address(
    wanted: &str,
    held: Option<MacAddress>,
    taken: &BTreeSet<MacAddress>,
) -> Result<MacAddress, LeaseError> {
    if !wanted.is_empty() {
        let mac = wanted.parse()?;
        return if taken.contains(&mac) {
            Err(LeaseError::MacTaken(mac))
        } else {
            Ok(mac)
        };
    }
    if let Some(held) = held {
        return Ok(held);
    }
    loop {
        let mac = mac::random().map_err(LeaseError::Random)?;
        if !taken.contains(&mac) {
            return Ok(mac);
        }
    }
}

/// The lowest number that none of `leases` has.
fn free_number<'l>(leases: impl Iterator<Item = &'l Lease>) -> u32 {
    let taken: BTreeSet<u32> = leases.map(|lease| lease.number).collect();
    let mut number = 0;
    while taken.contains(&number) {
        number += 1;
    }
    number
}

/// Ids are written into rules: nothing that could end a word there.
fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests;
