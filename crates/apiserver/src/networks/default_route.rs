//! By which of its networks leaves what a container sends elsewhere.

use container_resource::bundle::Interface;
use container_resource::container::ContainerConfiguration;
use container_resource::network::NetworkMode;

use super::Networks;

impl Networks {
    /// Whether what is for elsewhere can leave by `network`.
    pub fn leads_out(&self, network: &str) -> bool {
        let network = self.find(network);
        network.is_ok_and(|network| {
            let configuration = network.configuration();
            configuration.is_ok_and(|asked| asked.mode == NetworkMode::Nat)
        })
    }

    /// Which of the networks that are `leading_out` carries what the container of `configuration` sends elsewhere: its number.
    pub fn carrier(
        &self,
        configuration: &ContainerConfiguration,
        leading_out: &[(usize, &str)],
    ) -> Option<usize> {
        choose(leading_out, |network| {
            self.is_closed(configuration, network)
        })
    }

    /// Lets one of a container's interfaces that lead out carry what is for elsewhere.
    pub(super) fn route(
        &self,
        configuration: &ContainerConfiguration,
        interfaces: &mut [Interface],
    ) {
        route(interfaces, |leading_out| {
            self.carrier(configuration, leading_out)
        });
    }

    /// Whether the rules of the container of `configuration`, or those of `network`, let nothing of it out there.
    fn is_closed(&self, configuration: &ContainerConfiguration, network: &str) -> bool {
        let mut attachments = configuration.networks.iter();
        let own = attachments.find(|attachment| attachment.network == network);
        let own = own.and_then(|attachment| attachment.options.egress.as_deref());
        let is_empty = own.is_some_and(<[_]>::is_empty);
        is_empty
            || self.find(network).is_ok_and(|network| {
                let asked = network.configuration();
                asked.is_ok_and(|asked| asked.egress.as_deref().is_some_and(<[_]>::is_empty))
            })
    }
}

fn route(interfaces: &mut [Interface], carrier: impl FnOnce(&[(usize, &str)]) -> Option<usize>) {
    let leading_out: Vec<(usize, &str)> = interfaces
        .iter()
        .enumerate()
        .filter(|(_, interface)| interface.default_route)
        .map(|(number, interface)| (number, interface.network.as_str()))
        .collect();
    let carrier = carrier(&leading_out);
    for (number, interface) in interfaces.iter_mut().enumerate() {
        interface.default_route = Some(number) == carrier;
    }
}

/// The first that is not closed by rules, else the first, whose rules say what was refused.
fn choose(leading_out: &[(usize, &str)], is_closed: impl Fn(&str) -> bool) -> Option<usize> {
    let open = leading_out.iter().find(|(_, network)| !is_closed(network));
    open.or(leading_out.first()).map(|(number, _)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_elsewhere_leaves_where_it_may() {
        let interface = |network: &str, leads_out: bool| -> Interface {
            serde_json::from_value(serde_json::json!({
                "network": network, "hostname": "h", "deviceMac": "", "mac": "", "mtu": 1500, "defaultRoute": leads_out
            }))
            .unwrap()
        };
        for (closed, chosen) in [
            (&[][..], "b"),
            (&["b"], "c"),
            (&["b", "c"], "b"),
            (&["a"], "b"),
        ] {
            let mut interfaces = [("a", false), ("b", true), ("c", true)]
                .map(|(network, leads_out)| interface(network, leads_out));
            route(&mut interfaces, |leading_out| {
                choose(leading_out, |network| closed.contains(&network))
            });
            let carry = interfaces
                .iter()
                .filter(|interface| interface.default_route);
            let carry: Vec<_> = carry.map(|interface| &interface.network).collect();
            assert_eq!(carry, [chosen], "{closed:?}");
        }
        assert_eq!(choose(&[], |_| false), None);
    }
}
