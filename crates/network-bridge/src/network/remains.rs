//! What a network has on the host, and what is left there of those that are gone.
//!
//! A network's interface on the host goes with its namespace, however that ends. Its table does not: it would lead the host's ports to
//! addresses that are nobody's, or somebody else's. So whoever starts or cleans a network looks for the tables of all others, too. A
//! table without its interface is a network's that is gone: whoever serves one makes the interface before the table, and has
//! the host's turn while it does.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::Context;
use sha2::{Digest, Sha256};

use crate::filter;
use crate::filter::host::PREFIX;
use crate::filter::run::{self, Family};
use crate::forwarding;
use crate::links::Links;
use crate::namespace::holder;
use crate::{turn, uplink};

/// Bytes of a digest that tell networks of a host apart: an interface's name has at most 15 characters.
const DIGEST: usize = 5;

/// Removes what the host has of the network whose state is in `state`, unless its namespace is there still, and of all networks
/// that are gone.
///
/// # Errors
/// When the system refuses.
pub async fn clean(state: Option<&Path>) -> anyhow::Result<()> {
    if !uplink::may_administer() {
        return Ok(());
    }
    let host = Links::open()?;
    let mut removed = Ok(());
    if let Some(state) = state {
        let state = state
            .canonicalize()
            .context("cannot find the network's directory")?;
        if holder::find(&state)?.is_none() {
            removed = remove(&host, &host_name(&state)).await;
        }
    }
    let swept = sweep(&host).await;
    let released = forwarding::release(&host).await;
    removed
        .and(swept)
        .and(released)
        .context("cannot remove what is left of networks on the host")
}

/// Removes a network's table and its interface on the host.
///
/// # Errors
/// When the system refuses.
pub async fn remove(host: &Links, name: &str) -> io::Result<()> {
    let rules = run::apply(&filter::host::remove(name)).await;
    rules.and(host.remove(name).await)
}

/// Removes the tables of networks that are gone.
///
/// # Errors
/// When the system refuses.
pub async fn sweep(host: &Links) -> io::Result<()> {
    let _turn = turn::take().await?;
    let mut left: BTreeSet<String> = run::tables(Family::Inet).await?;
    left.retain(|table| is_networks(table));
    if left.is_empty() {
        return Ok(());
    }
    for link in host.kinds().await? {
        left.remove(&link.name);
    }
    if left.is_empty() {
        return Ok(());
    }
    tracing::info!("networks that are gone have left tables: {left:?}");
    let script: String = left.iter().map(|name| filter::host::remove(name)).collect();
    run::apply(&script).await
}

/// The network's name on the host: the same for the same directory, short enough for an interface.
pub fn host_name(state: &Path) -> String {
    let digest = Sha256::digest(state.as_os_str().as_bytes());
    format!("{PREFIX}{}", hex::encode(&digest[..DIGEST]))
}

/// Whether [`host_name`] gives such names.
fn is_networks(name: &str) -> bool {
    name.strip_prefix(PREFIX).is_some_and(|digest| {
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        digest.len() == 2 * DIGEST && digest.bytes().all(hexadecimal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_networks_are_known() {
        let name = host_name(Path::new("/var/lib/net"));
        assert!(is_networks(&name) && name.len() <= 15, "{name}");
        for other in [
            "cnb",
            "cnb0123456789ab",
            "cnb012345678",
            "cnb012345678G",
            "xnb0123456789",
        ] {
            assert!(!is_networks(other), "{other}");
        }
    }
}
