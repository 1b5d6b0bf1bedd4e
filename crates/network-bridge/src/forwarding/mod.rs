//! The host passes packets on, for the networks and for nobody else.
//!
//! A network with a way out needs a host that forwards. A host that did not would be a router for everybody around it from then
//! on, so whoever turns forwarding on also makes a table that drops what nobody asked the host to pass on. Both are
//! shared by all networks of the host, and go with the last one.

#![allow(
    clippy::format_push_string,
    reason = "scripts are short, and are to be read as nft reads them"
)]

pub mod blocked;
mod table;

pub use self::table::TABLE;

use std::collections::BTreeSet;
use std::io;

use self::table::{Family, Found};
use crate::filter::host::{PREFIX, remove_together};
use crate::filter::run;
use crate::links::{Kind, Links, sysctl};
use crate::turn;

/// Lets the host forward, where it does not yet.
///
/// # Errors
/// When the system refuses.
pub async fn enable(host: &Links, ipv6: bool) -> io::Result<()> {
    let _turn = turn::take().await?;
    let wanted = [Some(Family::Ipv4), ipv6.then_some(Family::Ipv6)];
    let missing: Vec<Family> = wanted
        .into_iter()
        .flatten()
        .filter(|family| !family.is_forwarded())
        .collect();
    // Somebody else's router stays as it is.
    if missing.is_empty() {
        return Ok(());
    }
    let mut found = Found::read().await?;
    if found.families.is_empty() {
        let links = host.kinds().await?;
        found.before = links.into_iter().map(|link| link.name).collect();
    }
    if missing.contains(&Family::Ipv4) {
        found.redirects |= sysctl::get(table::REDIRECTS).is_ok_and(|value| value == "1");
    }
    if missing.contains(&Family::Ipv6) {
        found.announced.extend(table::believers()?);
    }
    found.families.extend(&missing);
    // The table first: not for a moment is the host everybody's router.
    run::apply(&found.script()).await?;
    for family in missing {
        if family == Family::Ipv6 {
            // A host that forwards believes no router's announcements any more, unless it is told to.
            for interface in &found.announced {
                sysctl::set(&table::announcements(interface), "2")?;
            }
        }
        sysctl::set(family.parameter(), "1")?;
    }
    Ok(())
}

/// Whether the host forwards what [`enable`] has it forward.
pub fn is_on(ipv6: bool) -> bool {
    Family::Ipv4.is_forwarded() && (!ipv6 || Family::Ipv6.is_forwarded())
}

/// The script of the table that [`enable`] has made, for one network or another; nothing where the host forwarded before.
///
/// # Errors
/// When the system refuses.
pub async fn record() -> io::Result<Option<String>> {
    let found = Found::read().await?;
    Ok((!found.families.is_empty()).then(|| found.script()))
}

/// Makes that table once more, by its [`record`]: forwarding is on as before.
///
/// # Errors
/// When the system refuses.
pub async fn renew(record: &str) -> io::Result<()> {
    let _turn = turn::take().await?;
    run::apply(record).await
}

/// Takes back what [`enable`] has done, and what all networks have in common, when no network is left on the host.
///
/// # Errors
/// When the system refuses.
pub async fn release(host: &Links) -> io::Result<()> {
    let is_ours = |link: &Kind| link.name.starts_with(PREFIX);
    if host.kinds().await?.iter().any(is_ours) {
        return Ok(());
    }
    let _turn = turn::take().await?;
    let found = Found::read().await?;
    let links = host.kinds().await?;
    if !links.iter().any(is_ours) {
        run::apply(&remove_together()).await?;
    }
    // Another program may have come to rely on it since.
    let relied_on = |link: &Kind| is_ours(link) || found.is_others(link);
    if found.families.is_empty() || links.iter().any(relied_on) {
        return Ok(());
    }
    for family in &found.families {
        sysctl::set(family.parameter(), "0")?;
    }
    if found.redirects {
        sysctl::set(table::REDIRECTS, "1")?;
    }
    let present: BTreeSet<String> = links.into_iter().map(|link| link.name).collect();
    for interface in found.announced.intersection(&present) {
        let parameter = table::announcements(interface);
        if sysctl::get(&parameter).is_ok_and(|value| value == "2") {
            sysctl::set(&parameter, "1")?;
        }
    }
    run::apply(&table::remove()).await
}
