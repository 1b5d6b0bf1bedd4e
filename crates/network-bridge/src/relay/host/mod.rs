//! `host.container.internal`: the host's loopback, for those who may reach it.
//!
//! What is for the host's address in the network is made anew on the host, to 127.0.0.1 or `::1`, whichever answers. Where nobody does it is
//! refused: a connection's first packet waits until it is known.

mod connections;
mod datagrams;
mod loopback;
pub(super) mod packet;
mod questions;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use crate::bounds::Bounds;
use crate::configuration::Family;
use crate::directory::Directory;
use crate::links::asked::{ASKED, REFUSED};
use crate::namespace::inside::{HostAddresses, Inside, Request};
use questions::Refusal;

/// The port of the listeners in the network's namespace, where nothing else is.
pub const PORT: u16 = 1;

/// Carries what containers send to the host's address. `is_alone`: no interface of the host has it.
///
/// # Errors
/// When an interface or a socket can't be had.
pub async fn listen(
    directory: &Directory,
    inside: &Arc<Inside>,
    families: &[Family],
    is_alone: bool,
) -> io::Result<()> {
    let asked = inside.packets(ASKED).await?;
    let refusal = Refusal::new(inside.packets(REFUSED).await?);
    let addresses = families.iter().map(|family| family.host).collect();
    let lead = Request::Lead(HostAddresses {
        addresses,
        are_nowhere_else: is_alone,
    });
    inside.run(lead).await?;
    let bounds = Bounds::new(connections::CONNECTIONS);
    for family in families {
        let at = SocketAddr::new(family.gateway, PORT);
        connections::listen(directory, inside, at, &bounds).await?;
        datagrams::listen(directory, inside, at, &refusal).await?;
    }
    tokio::spawn(questions::serve(asked, refusal));
    Ok(())
}

/// Where on the host a service at `port` may be: services listen on one of the two, and programs try that of their own family first.
fn services(port: u16, ipv6_first: bool) -> [SocketAddr; 2] {
    let ipv4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    if ipv6_first {
        [ipv6, ipv4]
    } else {
        [ipv4, ipv6]
    }
}
