//! The builtin network's addresses, which the configuration may change.

use super::inspect;
use crate::namespace::Namespace;
use crate::system::System;

#[test]
fn the_builtin_network_follows_the_configuration_while_nobody_is_on_it() {
    let host = Namespace::new();
    host.ip("link add lan0 type bridge");
    host.ip("link set lan0 up");
    host.ip("addr add 10.77.0.5/24 dev lan0");
    let system = System::stopped().in_namespace(&host);
    let wanted = |subnet: &str| {
        system.run(["system", "stop"]).ok();
        let network = format!("[network]\nsubnet = \"{subnet}\"\n");
        system.configure(&format!("[container]\nstandby = false\n{network}"));
        system.run(["system", "start"])
    };
    let subnet = || inspect(&system, "default")["status"]["ipv4Subnet"].clone();
    let status = || system.run(["system", "status"]).ok().stdout;
    system.configure("[container]\nstandby = false\n[network]\nsubnet = \"10.55.0.0/24\"\n");
    system.set_up();
    assert_eq!(subnet(), "10.55.0.0/24");

    // Whoever has an address keeps it, and people are told why the new subnet is not there.
    system.run(["create", "--name", "kept", "busybox"]).ok();
    wanted("10.56.0.0/24").ok();
    assert_eq!(subnet(), "10.55.0.0/24");
    assert!(status().contains("network default: it keeps its subnets"));
    assert!(status().contains("kept"), "{}", status());

    // Without containers the leases of those that are gone are no hindrance.
    system.run(["delete", "kept"]).ok();
    wanted("10.56.0.0/24").ok();
    assert_eq!(subnet(), "10.56.0.0/24");
    assert!(!status().contains("trouble"), "{}", status());

    // What clashes with the host changes nothing, and is told.
    wanted("10.77.0.0/16").ok();
    assert_eq!(subnet(), "10.56.0.0/24");
    assert!(status().contains("overlaps the host's route to 10.77.0.0/24 on lan0"));
    wanted("127.0.0.0/24")
        .code(1)
        .says("these are no addresses that hosts can have");
}
