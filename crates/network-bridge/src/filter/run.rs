//! Rules of nftables, by the program `nft` (nft(8)): a script is one transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use container_api::chain::about;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::ports::published::Protocol;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// The most of an error's words that is told, in characters: nft repeats lines of the script.
const MAX_WORDS: usize = 400;

/// Family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// Frames on a bridge.
    Bridge,
    /// Packets of IPv4 and IPv6.
    Inet,
}

/// What a table holds, as far as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ruleset {
    /// Names of the chains.
    pub chains: Vec<String>,
    /// Rules with a comment and a counter.
    pub counted: Vec<Counted>,
    /// What is in each set, as far as it is plain names.
    pub sets: BTreeMap<String, BTreeSet<String>>,
    /// What is in each set of destinations.
    pub destinations: BTreeMap<String, BTreeSet<Destination>>,
}

/// Where a packet is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Destination {
    /// The address.
    pub address: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The port.
    pub port: u16,
}

impl Destination {
    /// Of an element with address, protocol and port.
    fn of(element: &serde_json::Value) -> Option<Self> {
        let element = element.get("elem").map_or(element, |elem| &elem["val"]);
        let [address, protocol, port] = element.get("concat")?.as_array()?.as_slice() else {
            return None;
        };
        let protocol = [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .find(|known| protocol.as_str() == Some(known.name()))?;
        Some(Self {
            address: address.as_str()?.parse().ok()?,
            protocol,
            port: u16::try_from(port.as_u64()?).ok()?,
        })
    }
}

/// A rule that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The chain it is in.
    pub chain: String,
    /// Its comment.
    pub comment: String,
    /// What it matched.
    pub packets: u64,
    /// The same.
    pub bytes: u64,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Inet => "inet",
        }
    }
}

/// Makes the changes of `script` in the namespace of this process, all or none.
///
/// # Errors
/// What nft says.
pub async fn apply(script: &str) -> io::Result<()> {
    nft(&["-f", "-"], script).await.map(drop)
}

/// What is in a table; nothing where there is none.
///
/// # Errors
/// What nft says.
pub async fn list(family: Family, table: &str) -> io::Result<Ruleset> {
    match nft(&["-j", "list", "table", family.name(), table], "").await {
        Ok(json) => parse(&json),
        Err(_) if !tables(family).await?.contains(table) => Ok(Ruleset::default()),
        Err(error) => Err(error),
    }
}

/// Names of the tables of a family.
///
/// # Errors
/// What nft says.
pub async fn tables(family: Family) -> io::Result<BTreeSet<String>> {
    let json = nft(&["-j", "list", "tables", family.name()], "").await?;
    let document: Document = serde_json::from_slice(&json)?;
    let tables = document.nftables.into_iter();
    Ok(tables
        .filter_map(|object| object.table)
        .map(|table| table.name)
        .collect())
}

/// What nft prints.
///
/// # Errors
/// What nft says.
pub async fn print(arguments: &[&str]) -> io::Result<Vec<u8>> {
    nft(arguments, "").await
}

async fn nft(arguments: &[&str], input: &str) -> io::Result<Vec<u8>> {
    // Other users than root do not always have it in their search path.
    let path = std::env::var("PATH").unwrap_or_default();
    let mut child = Command::new("nft")
        .args(arguments)
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| about("nft (package nftables)", error))?;
    let stdin = child.stdin.take();
    let work = async {
        if let Some(mut stdin) = stdin {
            // An nft that does not read says why.
            let _ = stdin.write_all(input.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(PATIENCE, work)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "nft does not end"))??;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.trim().chars().take(MAX_WORDS).collect();
    Err(io::Error::other(format!("nft: {words}")))
}

/// Of `nft -j list table` (libnftables-json(5)).
pub fn parse(json: &[u8]) -> io::Result<Ruleset> {
    let document: Document = serde_json::from_slice(json)?;
    let mut found = Ruleset::default();
    for object in document.nftables {
        if let Some(chain) = object.chain {
            found.chains.push(chain.name);
        }
        if let Some(set) = object.set {
            let destinations: BTreeSet<_> = set.elem.iter().filter_map(Destination::of).collect();
            if !destinations.is_empty() {
                found.destinations.insert(set.name.clone(), destinations);
            }
            let names = set.elem.into_iter().filter_map(|element| match element {
                serde_json::Value::String(name) => Some(name),
                _ => None,
            });
            found.sets.insert(set.name, names.collect());
        }
        let Some(rule) = object.rule else { continue };
        let counter = rule.expr.iter().find_map(|expression| expression.counter);
        if let (Some(comment), Some(counter)) = (rule.comment, counter) {
            found.counted.push(Counted {
                chain: rule.chain,
                comment,
                packets: counter.packets,
                bytes: counter.bytes,
            });
        }
    }
    Ok(found)
}

#[derive(Deserialize)]
struct Document {
    nftables: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    table: Option<Table>,
    chain: Option<Chain>,
    rule: Option<Rule>,
    set: Option<Set>,
}

#[derive(Deserialize)]
struct Set {
    name: String,
    #[serde(default)]
    elem: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Table {
    name: String,
}

#[derive(Deserialize)]
struct Chain {
    name: String,
}

#[derive(Deserialize)]
struct Rule {
    chain: String,
    comment: Option<String>,
    expr: Vec<Expression>,
}

#[derive(Deserialize)]
struct Expression {
    counter: Option<Counter>,
}

#[derive(Clone, Copy, Deserialize)]
struct Counter {
    packets: u64,
    bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_prints() {
        let json = br#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"table": {"family": "inet", "name": "container", "handle": 1}},
            {"chain": {"family": "inet", "table": "container", "name": "tap0", "handle": 2}},
            {"rule": {"family": "inet", "table": "container", "chain": "tap0", "handle": 3, "comment": "web",
                "expr": [{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "x"}},
                    {"counter": {"packets": 3, "bytes": 180}}, {"drop": null}]}},
            {"rule": {"family": "inet", "table": "container", "chain": "tap0", "handle": 4, "expr": [{"accept": null}]}},
            {"set": {"family": "inet", "name": "refused_tap0_4", "table": "container", "type": ["ipv4_addr", "inet_proto", "inet_service"],
                "handle": 5, "size": 32, "flags": ["timeout", "dynamic"], "timeout": 60,
                "elem": [{"elem": {"val": {"concat": ["192.0.2.1", "tcp", 443]}, "timeout": 60, "expires": 57}},
                    {"concat": ["192.0.2.2", "udp", 53]}, {"concat": ["192.0.2.3", "sctp", 53]}, {"concat": [1, "udp"]}, "x"]}}]}"#;
        let found = parse(json).unwrap();
        assert_eq!(found.chains, ["tap0"]);
        assert_eq!(found.counted.len(), 1);
        assert_eq!(
            (found.counted[0].comment.as_str(), found.counted[0].bytes),
            ("web", 180)
        );
        let told = &found.destinations["refused_tap0_4"];
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.address.to_string(), one.protocol.name(), one.port))
            .collect();
        let known = |address: &str, protocol, port| (address.to_owned(), protocol, port);
        assert_eq!(
            told,
            [
                known("192.0.2.1", "tcp", 443),
                known("192.0.2.2", "udp", 53)
            ]
        );
        assert!(parse(b"{").is_err());
    }
}
