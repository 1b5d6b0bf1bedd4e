//! Asking the host's resolvers.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use super::Transport;
use super::resolv_conf::ResolvConf;

/// How long one resolver may take, and how often all are asked.
const PATIENCE: Duration = Duration::from_millis(2500);
const ROUNDS: usize = 2;

/// The host's resolvers.
#[derive(Debug)]
pub struct Upstream {
    servers: ResolvConf,
}

impl Upstream {
    /// Those that the file at `path` names.
    pub fn new(path: PathBuf) -> Self {
        Self {
            servers: ResolvConf::new(path),
        }
    }

    /// The answer to `query`, whose identifier is another; nothing when nobody has one.
    pub async fn ask(&self, query: &Message, transport: Transport) -> Option<Message> {
        let mut last = None;
        for _ in 0..ROUNDS {
            for server in self.servers.servers() {
                let asked = tokio::time::timeout(PATIENCE, ask_one(server, query, transport)).await;
                match asked {
                    Ok(Ok(reply)) if is_final(&reply) => return Some(reply),
                    // Another one may know better.
                    Ok(Ok(reply)) => last = Some(reply),
                    Ok(Err(error)) => tracing::debug!("resolver {server}: {error}"),
                    Err(_) => tracing::debug!("resolver {server} does not answer"),
                }
            }
            if last.is_some() {
                break;
            }
        }
        last
    }
}

fn is_final(reply: &Message) -> bool {
    !matches!(
        reply.metadata.response_code,
        ResponseCode::ServFail | ResponseCode::Refused | ResponseCode::NotImp
    )
}

async fn ask_one(server: SocketAddr, query: &Message, transport: Transport) -> io::Result<Message> {
    let mut query = query.clone();
    // Neither the identifier nor the port is the client's: who guesses one of them has not guessed the other.
    query.metadata.id = random()?;
    let bytes = query.to_vec().map_err(io::Error::other)?;
    if transport == Transport::Udp {
        let reply = by_udp(server, &query, &bytes).await?;
        if !reply.metadata.truncation {
            return Ok(reply);
        }
    }
    by_tcp(server, &query, &bytes).await
}

async fn by_udp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let any = if server.is_ipv6() {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // What is not the answer is somebody's guess: the answer may still come.
        if let Some(reply) = check(query, &buffer[..length])? {
            return Ok(reply);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &Message, bytes: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
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
