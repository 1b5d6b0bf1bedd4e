//! pasta (package passt): every connection of the network is one of its own on the host, without a copy of the packets' contents.

use std::process::Stdio;

use crate::links::UPLINK;

/// Addresses of the way out in the network's namespace, which nobody else has: RFC 7335, and RFC 8215.
const IPV4: [&str; 3] = ["192.0.0.2", "29", "192.0.0.1"];
const IPV6: [&str; 2] = ["64:ff9b:1:fffe::2", "fe80::1"];
/// The networks of those.
pub(super) const NETWORKS: [&str; 2] = ["192.0.0.0/29", "64:ff9b:1:fffe::/64"];
/// An option that came with the year 2024. Older ones, Debian 12's among them, repeat parts of streams on kernels of today.
const NEEDED: &str = "--map-host-loopback";

/// What this host has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Usable,
    Old,
    Missing,
}

/// Looks for it.
pub(super) fn state() -> State {
    let help = std::process::Command::new("pasta")
        .arg("--help")
        .stdin(Stdio::null())
        .output();
    match help {
        Ok(help) => {
            let words = [help.stdout, help.stderr].concat();
            if String::from_utf8_lossy(&words).contains(NEEDED) {
                State::Usable
            } else {
                State::Old
            }
        }
        Err(_) => State::Missing,
    }
}

/// pasta(1). Nothing of the host's is reached by its gateway, and no port is open in either direction: those are ours.
pub(super) fn arguments(command: &mut tokio::process::Command, holder: i32, mtu: u32) {
    command
        .args(["--foreground", "--quiet", "--config-net", "--no-map-gw"])
        .args(["--ns-ifname", UPLINK, "--mtu", &mtu.to_string()])
        .args([
            "--address",
            IPV4[0],
            "--netmask",
            IPV4[1],
            "--gateway",
            IPV4[2],
        ])
        .args(["--address", IPV6[0], "--gateway", IPV6[1]])
        .args(["-t", "none", "-u", "none", "-T", "none", "-U", "none"])
        .arg(holder.to_string());
}
