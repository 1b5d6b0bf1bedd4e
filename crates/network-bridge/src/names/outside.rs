//! What the network's process does for the one that answers questions. That one may have been taken over by what it read: it gets no more than
//! what is looked at here.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use container_api::network::find_request::Wanted;
use container_api::network::network_client::NetworkClient;
use container_api::network::{FindReply, FindRequest};
use container_api::{Chain, handover, socket};
use futures::StreamExt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use tokio::net::UnixStream;
use tokio::time::Instant;

use super::datagrams::Ways;
use super::exchange::{Answer, Ask};
use crate::directory::{Directory, Entry};
use crate::filter::packets;
use crate::links::Links;
use crate::namespace::inside::{Inside, Request};
use crate::refused_names::RefusedNames;
use crate::resolver::learn;
use crate::resolver::resolv_conf::ResolvConf;

/// How long another network's process may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most networks that are asked at once.
const MOST_ASKED: usize = 16;
/// How long one that did not answer is not asked again: whoever asks something else waits meanwhile.
const SILENCE: Duration = Duration::from_secs(5);

/// Networks that did not answer lately.
#[derive(Debug, Default)]
pub struct Silent {
    since: Mutex<HashMap<String, Instant>>,
}

impl Silent {
    fn note(&self, network: String) {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        since.retain(|_, since| since.elapsed() < SILENCE);
        since.insert(network, Instant::now());
    }

    fn is(&self, network: &str) -> bool {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = since.get(network);
        noted.is_some_and(|since| since.elapsed() < SILENCE)
    }
}

/// What it needs for that.
#[derive(Debug)]
pub struct Outside {
    /// Who is on the network.
    pub directory: Directory,
    /// The host's resolvers.
    pub servers: ResolvConf,
    /// Who changes rules.
    pub inside: Arc<Inside>,
    /// The host's interfaces.
    pub host: Links,
    /// Directory of the networks' sockets.
    pub runtime: PathBuf,
    /// Ways to the host's resolvers.
    pub ways: Ways,
    /// Names that containers were refused.
    pub refused: Arc<RefusedNames>,
    /// Networks that did not answer.
    pub silent: Silent,
}

impl Outside {
    /// Answers on `stream` until its other side is closed.
    pub(super) async fn serve(self: Arc<Self>, mut stream: UnixStream) -> io::Result<()> {
        while let Some((ask, _)) = handover::receive::<Ask>(&mut stream).await? {
            let (answer, socket) = match self.act(ask).await {
                Ok(done) => done,
                Err(error) => (Answer::Failed(Chain(&error).to_string()), None),
            };
            let sockets: Vec<_> = socket.iter().map(AsFd::as_fd).collect();
            handover::send(&mut stream, &answer, &sockets).await?;
        }
        Ok(())
    }

    async fn act(&self, ask: Ask) -> io::Result<(Answer, Option<OwnedFd>)> {
        let answer = match ask {
            Ask::Server { number, stream } => match self.servers.servers().get(number) {
                Some(server) => {
                    let socket = if stream {
                        connected(*server, true)?
                    } else {
                        self.ways.open(*server)?
                    };
                    return Ok((Answer::Done, Some(socket)));
                }
                None => Answer::Nothing,
            },
            Ask::Addresses { tap, name } => {
                let found = self.find(&tap, Wanted::Name(name)).await;
                let addresses = found.iter().flat_map(|found| &found.addresses);
                let addresses: Vec<IpAddr> =
                    addresses.filter_map(|text| text.parse().ok()).collect();
                if addresses.is_empty() {
                    Answer::Nothing
                } else {
                    Answer::Addresses(addresses)
                }
            }
            Ask::Name { tap, address } => {
                let found = self.find(&tap, Wanted::Address(address.to_string())).await;
                found.map_or(Answer::Nothing, |found| Answer::Name(found.name))
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
                Answer::Done
            }
            Ask::Refused { tap, tally } => {
                let known = self.directory.behind(&tap);
                if known.is_some_and(|entry| entry.egress.is_some()) {
                    self.refused.merge(&tap, &tally);
                }
                Answer::Done
            }
        };
        Ok((answer, None))
    }

    /// What the other networks of the container behind `tap` know, in its order. One that does not answer knows nothing.
    async fn find(&self, tap: &str, wanted: Wanted) -> Option<FindReply> {
        let Entry {
            also, container, ..
        } = self.directory.behind(tap)?;
        let asked = also
            .into_iter()
            .map(|network| self.find_on(network, &container, wanted.clone()));
        // All at once, and the first one's answer counts.
        let mut found = futures::stream::iter(asked).buffered(MOST_ASKED);
        while let Some(reply) = found.next().await {
            if reply.is_some() {
                return reply;
            }
        }
        None
    }

    async fn find_on(&self, network: String, container: &str, wanted: Wanted) -> Option<FindReply> {
        if self.silent.is(&network) {
            return None;
        }
        let path = self.runtime.join(format!("network-{network}.sock"));
        let mut client = NetworkClient::new(socket::connect(&path).ok()?);
        let wanted = Some(wanted);
        let asked = client.find(FindRequest {
            wanted,
            container: container.to_owned(),
        });
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(reply)) => {
                let reply = reply.into_inner();
                (!reply.addresses.is_empty() || !reply.name.is_empty()).then_some(reply)
            }
            Ok(Err(_)) => None,
            Err(_) => {
                self.silent.note(network);
                None
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
        let is_learned = |entry: &Entry| entry.rules().nth(rule).is_some_and(packets::is_learned);
        if !known.as_ref().is_some_and(is_learned) {
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
pub(super) fn connected(server: SocketAddr, stream: bool) -> io::Result<OwnedFd> {
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
