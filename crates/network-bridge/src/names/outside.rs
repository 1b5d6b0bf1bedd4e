//! What the network's process does for the one that answers questions. That one may have been taken over by what it read: it gets no more than
//! what is looked at here.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use container_api::handover;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use tokio::net::UnixStream;

use super::exchange::{Answer, Ask};
use crate::directory::Directory;
use crate::filter::packets;
use crate::links::Links;
use crate::namespace::inside::{Inside, Request};
use crate::resolver::learn;
use crate::resolver::resolv_conf::ResolvConf;

/// What it needs for that.
#[derive(Debug)]
pub struct Outside {
    pub directory: Directory,
    pub servers: ResolvConf,
    pub inside: Arc<Inside>,
    /// The host's interfaces.
    pub host: Links,
}

impl Outside {
    /// Answers on `stream` until its other side is closed.
    pub async fn serve(self: Arc<Self>, mut stream: UnixStream) -> io::Result<()> {
        while let Some((ask, _)) = handover::receive::<Ask>(&mut stream).await? {
            let (answer, socket) = match self.act(ask).await {
                Ok(Some(socket)) => (Answer::Done, Some(socket)),
                Ok(None) => (Answer::Done, None),
                Err(error) if error.kind() == io::ErrorKind::NotFound => (Answer::Nothing, None),
                Err(error) => (Answer::Failed(error.to_string()), None),
            };
            let sockets: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
            handover::send(&mut stream, &answer, &sockets).await?;
        }
        Ok(())
    }

    async fn act(&self, ask: Ask) -> io::Result<Option<OwnedFd>> {
        match ask {
            Ask::Server { number, stream } => {
                let servers = self.servers.servers();
                let server = servers.get(number).ok_or(io::ErrorKind::NotFound)?;
                Ok(Some(connected(*server, stream)?))
            }
            Ask::Learn {
                tap,
                rule,
                addresses,
                seconds,
            } => {
                let script = self.lesson(&tap, rule, addresses, seconds).await?;
                if !script.is_empty() {
                    self.inside.run(Request::Rules(script)).await?;
                }
                Ok(None)
            }
        }
    }

    /// The change of rules, of a rule that is there, by addresses that names may stand for.
    async fn lesson(
        &self,
        tap: &str,
        rule: usize,
        mut addresses: Vec<IpAddr>,
        seconds: u32,
    ) -> io::Result<String> {
        let known = self.directory.behind(tap);
        let rules = known.and_then(|entry| entry.egress).unwrap_or_default();
        if !rules.get(rule).is_some_and(packets::is_learned) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let host = self.host.addresses().await?;
        addresses.truncate(learn::MAX_ADDRESSES);
        addresses.retain(|address| {
            learn::leads_out(*address)
                && !self.directory.contains(*address)
                && !host.contains(address)
        });
        let seconds = seconds.clamp(learn::SHORTEST, learn::LONGEST);
        Ok(packets::learn(tap, rule, &addresses, seconds))
    }
}

/// A socket to `server`, which is connected, or is just being so.
fn connected(server: SocketAddr, stream: bool) -> io::Result<OwnedFd> {
    let family = if server.is_ipv6() {
        AddressFamily::INET6
    } else {
        AddressFamily::INET
    };
    let (kind, protocol) = if stream {
        (SocketType::STREAM, ipproto::TCP)
    } else {
        (SocketType::DGRAM, ipproto::UDP)
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, Some(protocol))?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => Ok(socket),
        // Not to be taken for the end of the list.
        Err(error) => Err(io::Error::other(io::Error::from(error))),
    }
}
