//! slirp4netns: a TCP of its own in user space, slower than pasta. Debian 12 has one that works.

use std::process::Stdio;

use crate::links::UPLINK;

/// Networks of the way out in the network's namespace: RFC 2544, never on the internet; and libslirp's.
pub(super) const NETWORKS: [&str; 2] = ["198.18.255.0/24", "fd00::/64"];
/// The largest MTU that it takes, in bytes.
const LARGEST_MTU: u32 = 65_521;

/// Whether this host has it.
pub(super) fn is_there() -> bool {
    let mut command = std::process::Command::new("slirp4netns");
    let version = command.arg("--version").stdin(Stdio::null()).output();
    version.is_ok_and(|version| version.status.success())
}

/// slirp4netns(1). Nothing of the host's loopback is reached by its gateway, and it answers for no names: those are ours.
pub(super) fn arguments(command: &mut tokio::process::Command, holder: i32, mtu: u32) {
    command
        .args(["--configure", "--enable-ipv6", "--cidr", NETWORKS[0]])
        .args(["--mtu", &mtu.min(LARGEST_MTU).to_string()])
        .args(["--disable-host-loopback", "--disable-dns"])
        .args(["--enable-sandbox", "--enable-seccomp"])
        .args([&holder.to_string(), UPLINK]);
}
