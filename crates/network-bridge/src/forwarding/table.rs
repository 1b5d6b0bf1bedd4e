//! The table that is made with forwarding. It also says what was done, so that it can be taken back: it is gone when the host is
//! started anew, as forwarding is.

use std::collections::BTreeSet;
use std::io;

use crate::filter::host::PREFIX;
use crate::filter::run::{self, Ruleset};
use crate::links::{Kind, sysctl};

/// The table, of the family `inet`.
pub const TABLE: &str = "container_forward";
/// Whether the host believes those who redirect it; the kernel changes it with forwarding.
pub(super) const REDIRECTS: &str = "ipv4/conf/all/accept_redirects";
/// What programs make for guests of theirs: `IFLA_INFO_KIND`. A network card has no kind.
const KINDS: [&str; 6] = ["bridge", "veth", "tun", "wireguard", "macvlan", "ipvlan"];

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    const fn name(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4",
            Self::Ipv6 => "ipv6",
        }
    }

    /// What turns forwarding on.
    pub(super) const fn parameter(self) -> &'static str {
        match self {
            Self::Ipv4 => "ipv4/ip_forward",
            Self::Ipv6 => "ipv6/conf/all/forwarding",
        }
    }

    /// Whether the host forwards it, or has none of it.
    pub(super) fn is_forwarded(self) -> bool {
        sysctl::get(self.parameter()).map_or(true, |value| value != "0")
    }
}

/// What was done to the host.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Families whose forwarding was off.
    pub(super) families: BTreeSet<Family>,
    /// The host believed redirects.
    pub(super) redirects: bool,
    /// Interfaces that there were.
    pub(super) before: BTreeSet<String>,
    /// Interfaces that were told to go on believing routers.
    pub(super) announced: BTreeSet<String>,
}

impl Found {
    /// What the host's table says; nothing where there is none.
    pub(super) async fn read() -> io::Result<Self> {
        Ok(Self::of(run::list(run::Family::Inet, TABLE).await?))
    }

    fn of(mut rules: Ruleset) -> Self {
        let has = |name: &str| rules.chains.iter().any(|chain| chain == name);
        let families = [Family::Ipv4, Family::Ipv6];
        let families = families.into_iter().filter(|family| has(family.name()));
        Self {
            families: families.collect(),
            redirects: has("redirects"),
            before: rules.sets.remove("before").unwrap_or_default(),
            announced: rules.sets.remove("announced").unwrap_or_default(),
        }
    }

    /// Whether another program has made the interface since, for guests of its own.
    pub(super) fn is_others(&self, link: &Kind) -> bool {
        let made = link
            .kind
            .as_deref()
            .is_some_and(|kind| KINDS.contains(&kind));
        made && !self.before.contains(&link.name)
    }

    /// The table, in the place of the one that may be there.
    pub(super) fn script(&self) -> String {
        let mut script = format!(
            "add table inet {TABLE}
delete table inet {TABLE}
add table inet {TABLE} {{ comment \"forwarding is on for networks of container\"; }}
add chain inet {TABLE} guard
add chain inet {TABLE} forward {{ type filter hook forward priority filter; policy accept; }}
"
        );
        for (name, interfaces) in [("before", &self.before), ("announced", &self.announced)] {
            script.push_str(&format!("add set inet {TABLE} {name} {{ type ifname; }}\n"));
            for interface in interfaces.iter().filter(|name| is_plain(name)) {
                script.push_str(&format!(
                    "add element inet {TABLE} {name} {{ \"{interface}\" }}\n"
                ));
            }
        }
        if self.redirects {
            script.push_str(&format!("add chain inet {TABLE} redirects\n"));
        }
        for family in &self.families {
            let name = family.name();
            script.push_str(&format!(
                "add chain inet {TABLE} {name}
add rule inet {TABLE} forward meta nfproto {name} goto guard
"
            ));
        }
        let mut rule = |text: &str| {
            script.push_str(&format!("add rule inet {TABLE} guard {text}\n"));
        };
        // Each network's own table says more.
        rule(&format!("iifname \"{PREFIX}*\" accept"));
        rule(&format!("oifname \"{PREFIX}*\" accept"));
        rule("ct state established,related accept");
        // Somebody on this host leads it there.
        rule("ct status dnat accept");
        // Whoever makes a network for guests after us finds forwarding on, and cannot know that it would not be without us.
        for kind in KINDS {
            rule(&format!(
                "iifname != @before meta iifkind \"{kind}\" accept"
            ));
        }
        rule("counter drop");
        script
    }
}

/// Takes the table away.
pub(super) fn remove() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// Interfaces that believe routers as long as the host does not forward.
pub(super) fn believers() -> io::Result<Vec<String>> {
    let names = std::fs::read_dir("/proc/sys/net/ipv6/conf")?.flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names
        .filter(|name| is_plain(name))
        .filter(|name| sysctl::get(&announcements(name)).is_ok_and(|value| value == "1"))
        .collect())
}

/// Whether an interface believes routers: 1 unless the host forwards, 2 always.
pub(super) fn announcements(interface: &str) -> String {
    format!("ipv6/conf/{interface}/accept_ra")
}

/// The kernel takes almost anything for a name, nft does not. One that is left out counts as one that came later.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte);
    !name.is_empty() && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_read_back() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let done = Found {
            families: [Family::Ipv6].into(),
            redirects: true,
            before: names(&["lo", "eth0", "odd\"; flush ruleset; \""]),
            announced: names(&["eth0", "all"]),
        };
        let line = "nft -f - && nft -j list table inet container_forward";
        let mut shell = std::process::Command::new("unshare")
            .args(["-n", "sh", "-c", line])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let script = format!("{0}{0}", done.script());
        let mut input = shell.stdin.take().unwrap();
        std::io::Write::write_all(&mut input, script.as_bytes()).unwrap();
        drop(input);
        let output = shell.wait_with_output().unwrap();
        let found = Found::of(run::parse(&output.stdout).unwrap());
        assert_eq!(found.families, done.families);
        assert!(found.redirects);
        assert_eq!(found.before, names(&["lo", "eth0"]));
        assert_eq!(found.announced, done.announced);
    }

    #[test]
    fn whose_an_interface_is() {
        let found = Found {
            before: ["br0".to_owned()].into(),
            ..Found::default()
        };
        let link = |name: &str, kind: Option<&str>| Kind {
            name: name.into(),
            kind: kind.map(Into::into),
        };
        assert!(found.is_others(&link("docker0", Some("bridge"))));
        assert!(!found.is_others(&link("br0", Some("bridge"))));
        // A card that was plugged in.
        assert!(!found.is_others(&link("eth1", None)));
    }
}
