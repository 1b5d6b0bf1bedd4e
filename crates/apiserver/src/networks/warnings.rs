//! What a start tells of a container's networks, beside what failed.

use container_resource::bundle::Interface;
use container_resource::container::{ContainerConfiguration, DnsConfiguration};
use container_resource::egress::EgressRule;
use container_resource::host_entry::HOST_GATEWAY;
use container_resource::vain_egress;

use super::Networks;

impl Networks {
    /// That a rule of the network `name` allows a container nothing, as that asks other name servers, where that is so. Its own rules were
    /// refused for it when they were typed.
    pub(super) fn unlearned(
        &self,
        configuration: &ContainerConfiguration,
        name: &str,
    ) -> Option<String> {
        let network = self.find(name).ok()?;
        let asked = network.configuration().ok()?;
        let rules = asked.egress.as_deref()?;
        beside_dns(&configuration.id, configuration.dns.as_ref()?, name, rules)
    }
}

fn beside_dns(
    id: &str,
    dns: &DnsConfiguration,
    network: &str,
    rules: &[EgressRule],
) -> Option<String> {
    let rule = vain_egress::unlearned(dns, rules)?;
    Some(format!(
        "container {id}: egress rule '{rule}' of network {network} does not count beside --dns: what a name stands for is known from the \
         answers of the network's own resolver"
    ))
}

/// That lines of `/etc/hosts` are left out, as no network of the container leads to the host, where that is so.
pub(super) fn without_host(
    configuration: &ContainerConfiguration,
    interfaces: &[Interface],
) -> Option<String> {
    let gateways = configuration.hosts.iter();
    let gateways = gateways.filter(|entry| entry.address == HOST_GATEWAY);
    let names: Vec<&str> = gateways.map(|entry| entry.hostname.as_str()).collect();
    let leads_there = |interface: &Interface| !interface.is_internal;
    let is_left_out = !names.is_empty() && !interfaces.iter().any(leads_there);
    is_left_out.then(|| {
        format!(
            "container {}: no network of it leads to the host, so /etc/hosts is without {}",
            configuration.id,
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_networks_rule_for_a_name_is_told_beside_other_name_servers() {
        let mut dns = DnsConfiguration::default();
        let rules = ["192.0.2.1", "a.example"].map(|text| text.parse().unwrap());
        assert_eq!(beside_dns("web", &dns, "one", &rules), None);
        dns.nameservers.push("192.0.2.53".into());
        let told = beside_dns("web", &dns, "one", &rules).unwrap();
        assert!(told.starts_with("container web: egress rule 'a.example' of network one"));
        assert_eq!(beside_dns("web", &dns, "one", &rules[..1]), None);
    }
}
