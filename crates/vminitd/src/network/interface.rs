//! One interface: found by its device's address, then named, addressed and brought up.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::NetworkError;
use super::address::{InterfacePlan, Mac, Prefixed, family, mac, octets};
use super::netlink::{CREATE, Netlink, Request};
use crate::transport;

/// Where the kernel lists interfaces.
const INTERFACES: &str = "/sys/class/net";

// Requests and their attributes: linux/rtnetlink.h, if_link.h, if_addr.h.
const RTM_SETLINK: u16 = 19;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
/// Nobody else has the address: the network gave it away once. Without the flag an IPv6 address is of no use for a second.
const IFA_F_NODAD: u32 = 2;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// The gateway is on this link, even where it is outside of the address's network.
const RTNH_F_ONLINK: u32 = 4;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

/// Parameters of an interface, set before it is up: the host has said all there is to know, and a neighbour that claims to be
/// a router is not believed.
const PARAMETERS: [(&str, &str); 3] = [("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "0")];

/// How the kernel makes an address of its own up for IPv6: from the MAC address, or not at all.
const OWN_ADDRESS: (&str, &str, &str) = ("addr_gen_mode", "0", "1");

/// Brings the only interface up before it is known whose it is to be: what its driver does then is done when the request comes, and
/// in the machines that are restored. It has no address yet, so nothing is sent.
pub fn prepare(netlink: &Netlink) -> Result<(), NetworkError> {
    let entries = fs::read_dir(INTERFACES).map_err(NetworkError::Netlink)?;
    let of_device = entries
        .flatten()
        .filter(|entry| entry.path().join("device").exists());
    let mut names = of_device.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let (Some(name), None) = (names.next(), names.next()) else {
        return Ok(());
    };
    set_parameters(&name, &PARAMETERS)?;
    let (parameter, _, none) = OWN_ADDRESS;
    set_parameters(&name, &[(parameter, none)])?;
    let Some(index) = number(&Path::new(INTERFACES).join(&name)) else {
        return Ok(());
    };
    let up = Request::new(RTM_SETLINK, 0, &link(index, IFF_UP, IFF_UP));
    carry_out(netlink, up, &name, "bring it up")
}

/// Whether the interface is up, as [`prepare`] leaves it.
fn is_up(name: &str) -> bool {
    let flags = fs::read_to_string(Path::new(INTERFACES).join(name).join("flags"));
    let flags = flags.ok().and_then(|text| {
        let digits = text.trim().trim_start_matches("0x");
        u32::from_str_radix(digits, 16).ok()
    });
    flags.is_some_and(|flags| flags & IFF_UP != 0)
}

fn set_parameters(name: &str, parameters: &[(&str, &str)]) -> Result<(), NetworkError> {
    for (parameter, value) in parameters {
        let path = format!("/proc/sys/net/ipv6/conf/{name}/{parameter}");
        // A kernel without IPv6 has none of them.
        match fs::write(path, value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(name, "set its parameters")(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Gives every interface its name; gives their numbers. Those that are in the way of each other go aside first.
pub fn name(netlink: &Netlink, wanted: &[InterfacePlan]) -> Result<Vec<i32>, NetworkError> {
    let devices = wanted.iter().map(|wanted| find_or_bind(wanted.device_mac));
    let devices = devices.collect::<Result<Vec<_>, _>>()?;
    let mut numbers = Vec::new();
    let mut found = Vec::new();
    for (position, (wanted, (index, current))) in wanted.iter().zip(devices).enumerate() {
        numbers.push(index);
        if current != wanted.name {
            if is_up(&current) {
                // Kernels before 6.2 rename none that is.
                let down = Request::new(RTM_SETLINK, 0, &link(index, 0, IFF_UP));
                carry_out(netlink, down, &current, "bring it down")?;
                let (parameter, own, _) = OWN_ADDRESS;
                set_parameters(&current, &[(parameter, own)])?;
            }
            rename(netlink, index, &wanted.name, &format!("nic{position}"))?;
            found.push((index, wanted));
        }
    }
    for (index, wanted) in found {
        rename(netlink, index, &wanted.name, &wanted.name)?;
    }
    Ok(numbers)
}

fn rename(netlink: &Netlink, index: i32, wanted: &str, name: &str) -> Result<(), NetworkError> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    let request = Request::new(RTM_SETLINK, 0, &link(index, 0, 0)).with(IFLA_IFNAME, &bytes);
    carry_out(netlink, request, wanted, "name it")
}

/// Whether there is an interface of that name.
pub fn exists(name: &str) -> bool {
    Path::new(INTERFACES).join(name).exists()
}

/// The device, in sysfs, of the interface with that number.
pub fn device(number: i32) -> Option<PathBuf> {
    Some(path(number)?.join("device"))
}

/// What the interface with that number is called by now.
pub fn called(number: i32) -> Option<String> {
    path(number)?.file_name()?.to_str().map(str::to_owned)
}

fn path(number: i32) -> Option<PathBuf> {
    let entries = fs::read_dir(INTERFACES).ok()?.flatten();
    let mut paths = entries.map(|entry| entry.path());
    paths.find(|path| self::number(path) == Some(number))
}

/// The number of the interface at `path` in sysfs.
fn number(path: &Path) -> Option<i32> {
    let text = fs::read_to_string(path.join("ifindex")).ok()?;
    text.trim().parse().ok()
}

/// Index and name of the interface whose own address is `wanted`: its device's, until it gets another one.
pub fn find(wanted: Mac) -> Result<(i32, String), NetworkError> {
    let missing = || NetworkError::no_device(wanted);
    for entry in fs::read_dir(INTERFACES)
        .map_err(NetworkError::Netlink)?
        .flatten()
    {
        let address = fs::read_to_string(entry.path().join("address")).unwrap_or_default();
        let name = entry.file_name().to_string_lossy().into_owned();
        // The loopback interface has an address of zeroes.
        if name != "lo" && mac(&address) == Ok(wanted) {
            let index = number(&entry.path()).ok_or_else(missing)?;
            return Ok((index, name));
        }
    }
    Err(missing())
}

/// As [`find`]. Where the kernel does not know the device, it came since that has looked for devices.
fn find_or_bind(wanted: Mac) -> Result<(i32, String), NetworkError> {
    match find(wanted) {
        Err(NetworkError::NoDevice(_)) => {
            let found = transport::find(|| find(wanted).ok())?;
            found.ok_or_else(|| NetworkError::no_device(wanted))
        }
        found => found,
    }
}

/// Makes the interface with that number what is `wanted`, and brings it up.
pub fn configure(
    netlink: &Netlink,
    index: i32,
    wanted: &InterfacePlan,
) -> Result<(), NetworkError> {
    let name = wanted.name.as_str();
    let is_prepared = is_up(name);
    if !is_prepared {
        set_parameters(name, &PARAMETERS)?;
    }
    // The kernel takes them in this order, whatever comes first here.
    let mut up = Request::new(RTM_SETLINK, 0, &link(index, IFF_UP, IFF_UP));
    if wanted.mac != wanted.device_mac {
        up = up.with(IFLA_ADDRESS, &wanted.mac);
    }
    if wanted.mtu != 0 {
        up = up.with(IFLA_MTU, &wanted.mtu.to_ne_bytes());
    }
    carry_out(netlink, up, name, "bring it up")?;
    if is_prepared {
        // Now that it has its MAC address.
        let (parameter, own, _) = OWN_ADDRESS;
        set_parameters(name, &[(parameter, own)])?;
    }
    for address in &wanted.addresses {
        carry_out(
            netlink,
            new_address(index, *address),
            name,
            "give it its address",
        )?;
    }
    lead_out(netlink, index, wanted)
}

/// Lets what is for elsewhere leave by the interface with that number, to the gateways of `wanted`.
pub fn lead_out(netlink: &Netlink, index: i32, wanted: &InterfacePlan) -> Result<(), NetworkError> {
    for gateway in &wanted.gateways {
        let route = new_route(index, *gateway);
        carry_out(netlink, route, &wanted.name, "add its default route")?;
    }
    Ok(())
}

/// `IFF_UP`.
const IFF_UP: u32 = 1;

/// `struct ifinfomsg`: the interface, its flags, and which of them are meant.
fn link(index: i32, flags: u32, meant: u32) -> [u8; 16] {
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&meant.to_ne_bytes());
    body
}

fn new_address(index: i32, Prefixed { address, length }: Prefixed) -> Request {
    // struct ifaddrmsg: family, prefix, flags, scope, interface.
    let mut body = vec![family(address), length, 0, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    let bytes = octets(address);
    let mut request = Request::new(RTM_NEWADDR, CREATE, &body)
        .with(IFA_ADDRESS, &bytes)
        .with(IFA_LOCAL, &bytes)
        .with(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes());
    if let IpAddr::V4(address) = address {
        // The last two addresses of a network of two or one have no broadcast address (RFC 3021).
        if let Some(hosts) = u32::MAX
            .checked_shr(length.into())
            .filter(|hosts| *hosts > 1)
        {
            let broadcast = address.to_bits() | hosts;
            request = request.with(IFA_BROADCAST, &broadcast.to_be_bytes());
        }
    }
    request
}

fn new_route(index: i32, gateway: IpAddr) -> Request {
    // struct rtmsg: family, lengths of destination and source, TOS, table, protocol, scope, type, flags.
    let mut body = vec![
        family(gateway),
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        0,
        RTN_UNICAST,
    ];
    body.extend_from_slice(&RTNH_F_ONLINK.to_ne_bytes());
    Request::new(RTM_NEWROUTE, CREATE, &body)
        .with(RTA_GATEWAY, &octets(gateway))
        .with(RTA_OIF, &index.to_ne_bytes())
}

fn carry_out(
    netlink: &Netlink,
    request: Request,
    name: &str,
    step: &'static str,
) -> Result<(), NetworkError> {
    netlink.carry_out(request).map_err(failed(name, step))
}

fn failed(name: &str, step: &'static str) -> impl FnOnce(io::Error) -> NetworkError {
    let name = name.to_owned();
    move |source| NetworkError::Step { name, step, source }
}
