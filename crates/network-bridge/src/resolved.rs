//! The host's resolver, where that is systemd-resolved: it asks the network for names below some domains.
//!
//! What it is told belongs to the network's interface on the host, and goes with it (resolvectl(1)).

use std::io;
use std::net::IpAddr;
use std::process::Stdio;
use std::time::Duration;

use container_api::chain::about;
use container_resource::dns_domain::DnsDomain;
use tokio::process::Command;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most of an error's words that is told, in characters.
const MAX_WORDS: usize = 200;

/// Where the host's resolver is to ask for names below some domains.
#[derive(Debug)]
pub struct Lead {
    /// The network's interface on the host.
    pub link: String,
    /// Who answers, behind it.
    pub servers: Vec<IpAddr>,
    /// None: nothing is led there any more.
    pub domains: Vec<DnsDomain>,
}

impl Lead {
    /// Tells the host's resolver. The caller sees to it that one is told after the other.
    ///
    /// # Errors
    /// Why it does not do so.
    pub async fn tell(self) -> io::Result<()> {
        let link = &self.link;
        if self.domains.is_empty() {
            return call("revert", link, &[]).await;
        }
        let servers: Vec<String> = self.servers.iter().map(ToString::to_string).collect();
        // The mark says: these and no others.
        let domains: Vec<String> = self
            .domains
            .iter()
            .map(|domain| format!("~{}", domain.domain))
            .collect();
        call("dns", link, &servers).await?;
        call("domain", link, &domains).await?;
        call("default-route", link, &["false".to_owned()]).await
    }
}

async fn call(verb: &str, link: &str, words: &[String]) -> io::Result<()> {
    let child = Command::new("resolvectl")
        .args([verb, link])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| about("resolvectl", error))?;
    let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
    let output =
        ended.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "resolvectl does not end"))??;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: String = words.trim().chars().take(MAX_WORDS).collect();
    Err(io::Error::other(format!("resolvectl: {words}")))
}
