//! Other programs' rules that keep the networks' packets on the host.
//!
//! A packet has to be accepted by every chain that hooks into forwarding. docker's and many firewalls' drop what they do not
//! know, and no rule of ours can overrule that: their owner has to permit it.

use std::io;

use serde_json::Value;

use crate::filter::host::PREFIX;
use crate::filter::run;

/// A chain that drops what the networks forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocker {
    /// Family and name of its table, and its own name.
    pub chain: [String; 3],
}

impl Blocker {
    /// What an administrator can do about it.
    pub fn remedy(&self) -> String {
        let [family, table, chain] = &self.chain;
        // A chain of iptables stays one that it can read.
        let program = match (family.as_str(), table.as_str(), chain.as_str()) {
            ("ip", "filter", "FORWARD") => Some("iptables"),
            ("ip6", "filter", "FORWARD") => Some("ip6tables"),
            _ => None,
        };
        let rules = [("-i", "iifname"), ("-o", "oifname")].map(|(option, word)| match program {
            Some(program) => format!("{program} -I FORWARD {option} {PREFIX}+ -j ACCEPT"),
            None => {
                format!("nft insert rule {family} {table} {chain} {word} '\"{PREFIX}*\"' accept")
            }
        });
        rules.join("; ")
    }
}

/// The chains of this host that drop, and have no rule that speaks of the networks' interfaces.
///
/// # Errors
/// When nft can't be asked.
pub async fn find() -> io::Result<Vec<Blocker>> {
    let chains = run::print(&["-j", "list", "chains"]).await?;
    let mut blockers = Vec::new();
    for chain in droppers(&chains)? {
        let [family, table, _] = &chain;
        let rules = run::print(&["-j", "list", "table", family, table]).await?;
        if !permits(&rules)? {
            blockers.push(Blocker { chain });
        }
    }
    Ok(blockers)
}

fn droppers(json: &[u8]) -> io::Result<Vec<[String; 3]>> {
    let document: Value = serde_json::from_slice(json)?;
    let objects = document["nftables"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(objects
        .map(|object| &object["chain"])
        .filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop")
        .map(|chain| ["family", "table", "name"].map(|key| text(&chain[key])))
        .collect())
}

/// Whether a rule accepts what comes from, or goes to, interfaces of ours.
fn permits(json: &[u8]) -> io::Result<bool> {
    let document: Value = serde_json::from_slice(json)?;
    let objects = document["nftables"].as_array().into_iter().flatten();
    let of_ours = |expression: &Value| {
        let right = expression["match"]["right"].as_str();
        right.is_some_and(|name| name.starts_with(PREFIX))
    };
    let accepts = |expression: &Value| expression.get("accept").is_some();
    Ok(objects
        .filter_map(|object| object["rule"]["expr"].as_array())
        .any(|expressions| expressions.iter().any(of_ours) && expressions.iter().any(accepts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_that_drop() {
        let json = br#"{"nftables": [{"metainfo": {}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "hook": "forward", "policy": "drop"}},
            {"chain": {"family": "inet", "table": "mine", "name": "forward", "hook": "forward", "policy": "accept"}},
            {"chain": {"family": "ip", "table": "filter", "name": "INPUT", "hook": "input", "policy": "drop"}}]}"#;
        let found = droppers(json).unwrap();
        assert_eq!(found, [["ip", "filter", "FORWARD"].map(str::to_owned)]);
        let [chain] = found.try_into().unwrap();
        let remedy = "iptables -I FORWARD -i cnb+ -j ACCEPT; iptables -I FORWARD -o cnb+ -j ACCEPT";
        assert_eq!(Blocker { chain }.remedy(), remedy);
    }

    #[test]
    fn a_rule_for_the_networks_permits() {
        let rules = |interface: &str, verdict: &str| {
            format!(
                r#"{{"nftables": [{{"rule": {{"expr": [{{"match": {{"op": "==", "left": {{"meta": {{"key": "iifname"}}}},
                "right": "{interface}"}}}}, {{"{verdict}": null}}]}}}}]}}"#
            )
        };
        assert!(permits(rules("cnb*", "accept").as_bytes()).unwrap());
        assert!(!permits(rules("cnb*", "drop").as_bytes()).unwrap());
        assert!(!permits(rules("docker0", "accept").as_bytes()).unwrap());
    }
}
