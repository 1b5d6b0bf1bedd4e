//! Steps that run programs of another platform than the builder's.

use anyhow::Context as _;
use container_api::{Error, Kind};
use container_buildkit::Connection;
use container_resource::platform::Platform;

use super::super::builder::emulate;
use crate::connection::Context;
use crate::failure::Failure;

/// Sees to it that the builder runs programs of `platforms`: by emulation where its image has that. Else it is an error before any step is run.
pub async fn prepare(
    context: &Context,
    connection: &mut Connection,
    builder: &str,
    platforms: &[Platform],
) -> Result<(), Failure> {
    for platform in platforms {
        if runs(connection, platform) {
            continue;
        }
        emulate(context, builder, platform).await?;
        connection
            .ask()
            .await
            .context("ask the builder for its platforms")?;
        if runs(connection, platform) {
            continue;
        }
        let all = connection.platforms().join(", ");
        let text = format!("the builder cannot run programs of {platform}: it has {all}");
        let hint = "A builder whose image has qemu-user-static runs them: see the README, Building images.";
        return Err(Error::new(Kind::Unsupported, text).with_hint(hint).into());
    }
    Ok(())
}

fn runs(connection: &Connection, wanted: &Platform) -> bool {
    let mut can = connection
        .platforms()
        .iter()
        .filter_map(|text| text.parse::<Platform>().ok());
    // One that says nothing is tried.
    connection.platforms().is_empty() || can.any(|can| can.distance(wanted).is_some())
}
