//! Asking the host's resolvers.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixDatagram};
use tokio::time::Instant;

use super::Transport;
use super::resolv_conf::MAX_SERVERS;
use crate::names::Asker;

/// How long one resolver may take, so that a third one still has its time, and how often all are asked.
const PATIENCE: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 2;
/// How long one that did not answer is asked after the others.
const SILENCE: Duration = Duration::from_secs(30);

/// The host's resolvers.
#[derive(Debug)]
pub struct Upstream {
    servers: Asker,
    /// When each last did not answer, by its number.
    silent: Mutex<[Option<Instant>; MAX_SERVERS]>,
}

impl Upstream {
    /// Those to which `servers` leads.
    pub fn new(servers: Asker) -> Self {
        Self {
            servers,
            silent: Mutex::default(),
        }
    }

    /// Notes whether the server of that number answered.
    fn note(&self, number: usize, answered: bool) {
        let since = (!answered).then(Instant::now);
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)[number] = since;
    }

    /// Numbers of servers in the order in which they are asked.
    fn order(&self) -> Vec<usize> {
        let silent = *self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<usize> = (0..MAX_SERVERS).collect();
        // Those that are alike stay in the order of the file.
        order.sort_by_key(|number| silent[*number].is_some_and(|since| since.elapsed() < SILENCE));
        order
    }

    /// The answer to `query`, whose identifier is another; nothing when nobody has one.
    pub async fn ask(&self, query: &Message, transport: Transport) -> Option<Message> {
        let mut last = None;
        for _ in 0..ROUNDS {
            for number in self.order() {
                let asked = self.ask_one(number, query, transport);
                let asked = tokio::time::timeout(PATIENCE, asked).await;
                self.note(number, matches!(asked, Ok(Ok(_))));
                match asked {
                    Ok(Ok(Some(reply))) if is_final(&reply) => return Some(reply),
                    // Another one may know better.
                    Ok(Ok(Some(reply))) => last = Some(reply),
                    Ok(Ok(None)) => {}
                    Ok(Err(error)) => tracing::debug!("resolver {number}: {error:#}"),
                    Err(_) => tracing::debug!("resolver {number} does not answer"),
                }
            }
            if last.is_some() {
                break;
            }
        }
        last
    }

    /// Nothing when there is no server of that number.
    async fn ask_one(
        &self,
        number: usize,
        query: &Message,
        transport: Transport,
    ) -> io::Result<Option<Message>> {
        let mut query = query.clone();
        // Neither the identifier nor the port is the client's: who guesses one of them has not guessed the other.
        query.metadata.id = random()?;
        let bytes = query.to_vec().map_err(io::Error::other)?;
        if transport == Transport::Udp {
            let Some(socket) = self.servers.server(number, false).await? else {
                return Ok(None);
            };
            let reply = by_datagrams(socket, &query, &bytes).await?;
            if !reply.metadata.truncation {
                return Ok(Some(reply));
            }
        }
        match self.servers.server(number, true).await? {
            Some(socket) => by_tcp(socket, &query, &bytes).await.map(Some),
            None => Ok(None),
        }
    }
}

fn is_final(reply: &Message) -> bool {
    !matches!(
        reply.metadata.response_code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp
    )
}

/// On a socket whose other end leads to the resolver.
async fn by_datagrams(socket: OwnedFd, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let socket = UnixDatagram::from_std(socket.into())?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        // What is not the answer is somebody's guess: the answer may still come.
        if let Some(reply) = check(query, &buffer[..length])? {
            return Ok(reply);
        }
    }
}

async fn by_tcp(socket: OwnedFd, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    // It may still be connecting: writing waits for that.
    let mut stream = TcpStream::from_std(socket.into())?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).await?;
    check(query, &reply)?.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The reply in `bytes`, if it is one to `query`.
///
/// # Errors
/// When it says so and can't be read.
fn check(query: &Message, bytes: &[u8]) -> io::Result<Option<Message>> {
    if bytes.get(..2) != Some(&query.metadata.id.to_be_bytes()) {
        return Ok(None);
    }
    let reply = Message::from_vec(bytes).map_err(io::Error::other)?;
    let answers = reply.metadata.message_type == MessageType::Response;
    // Names are equal whatever their case. Some leave the question out of an error.
    let same = reply.queries == query.queries
        || (reply.queries.is_empty() && reply.metadata.response_code != ResponseCode::NoError);
    Ok(Some(reply).filter(|_| answers && same))
}

fn random() -> io::Result<u16> {
    let mut bytes = [0; 2];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u16::from_ne_bytes(bytes))
}
