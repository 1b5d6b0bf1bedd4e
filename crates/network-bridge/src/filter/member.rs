//! What the rules need to know of one container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use container_resource::egress::EgressRule;
use container_resource::mac_address::MacAddress;

use crate::leases::lease::Lease;

/// A container that is on the network.
#[derive(Clone, Debug)]
pub struct Member<'l> {
    /// Its id.
    pub container: &'l str,
    /// Its tap's name.
    pub tap: &'l str,
    /// Hardware address.
    pub mac: MacAddress,
    /// Address, if it has one of the family.
    pub ipv4: Option<Ipv4Addr>,
    /// The same.
    pub ipv6: Option<Ipv6Addr>,
    /// What it may reach; none: everything.
    pub egress: Option<&'l [EgressRule]>,
    /// The network's rules, which must allow it as well.
    pub within: Option<&'l [EgressRule]>,
}

impl<'l> Member<'l> {
    /// Of a lease; nothing when it is not attached.
    pub fn of(container: &'l str, lease: &'l Lease) -> Option<Self> {
        let attached = lease.attached.as_ref()?;
        Some(Self {
            container,
            tap: &attached.tap,
            mac: lease.mac,
            ipv4: lease.ipv4,
            ipv6: lease.ipv6,
            egress: attached.egress.as_deref(),
            within: attached.within.as_deref(),
        })
    }

    /// Its addresses of both families.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let ipv4 = self.ipv4.map(IpAddr::from);
        ipv4.into_iter().chain(self.ipv6.map(IpAddr::from))
    }

    /// Every address under which it may send: with IPv6 also the one that is made of its hardware address, which nobody gave it.
    pub fn sources(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let link_local = self.ipv6.map(|_| IpAddr::from(self.mac.link_local()));
        self.addresses().chain(link_local)
    }
}
