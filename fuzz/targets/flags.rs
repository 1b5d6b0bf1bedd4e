//! What users write after flags, or a client sends in their place: what parses has a normal form that stays.

#![no_main]

use std::fmt::{Debug, Display};
use std::str::FromStr;

use container_resource::egress::EgressRule;
use container_resource::mac_address::MacAddress;
use container_resource::platform::Platform;
use container_resource::*;
use libfuzzer_sys::fuzz_target;

fn stays<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let normal = value.to_string();
        assert_eq!(normal.parse().ok().as_ref(), Some(&value), "{normal}");
    }
}

fuzz_target!(|text: &str| {
    stays::<EgressRule>(text);
    stays::<MacAddress>(text);
    stays::<Platform>(text);
    if let Ok(journal) = journal::parse(text) {
        assert_eq!(journal::parse(&journal.to_string()).ok(), Some(journal));
    }
    let _ = (mount::parse(text), mount::parse_short(text));
    let _ = (tmpfs::parse(text), volume::parse(text), volume::parse_size(text));
    let _ = (publish::parse(text), publish_socket::parse(text));
    let _ = (attachment::parse(text), egress_policy::parse(text));
    let _ = (host_entry::parse(text), domain_name::parse(text));
    let _ = (device::parse(text), hidden_path::parse(text), label::parse(text));
    let _ = (capability::parse(text), rlimit::parse(text), sysctl::parse(text));
    let _ = (cpus::parse(text), size::parse(text), size::parse_memory(text));
    let _ = (signal::parse(text), restart::parse(text), health::parse_time(text));
});
