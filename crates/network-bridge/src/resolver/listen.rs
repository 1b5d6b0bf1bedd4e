//! The sockets at which questions arrive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::{Resolver, Transport};
use crate::bounds::{Bounds, Limit, Work};
use crate::directory::Client;

/// Questions that are answered at once, of all clients and of one.
const QUESTIONS: Limit = Limit { all: 512, each: 64 };
/// Connections that are open at once, of all clients and of one.
const CONNECTIONS: Limit = Limit { all: 128, each: 8 };
/// How long a connection may be silent, or take for a question.
const IDLE: Duration = Duration::from_secs(10);
/// The largest question in a datagram, in bytes.
const MAX_QUESTION: usize = 4096;
/// How long nothing is taken after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers questions that come to `sockets`, by datagrams and by connections.
pub fn serve(resolver: &Arc<Resolver>, sockets: Vec<(UdpSocket, TcpListener)>) {
    let questions = Bounds::new(QUESTIONS);
    let connections = Bounds::new(CONNECTIONS);
    for (datagrams, listener) in sockets {
        tokio::spawn(serve_udp(resolver.clone(), datagrams, questions.clone()));
        tokio::spawn(serve_tcp(resolver.clone(), listener, connections.clone()));
    }
}

async fn serve_udp(resolver: Arc<Resolver>, socket: UdpSocket, bounds: Bounds<String>) {
    let socket = Arc::new(socket);
    // One byte more: what fills it is too large.
    let mut buffer = vec![0; MAX_QUESTION + 1];
    loop {
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok((length, client)) if length <= MAX_QUESTION => (length, client),
            Ok(_) => continue,
            Err(error) => {
                // Mostly word that an answer before did not arrive.
                tracing::debug!("take a question: {error:#}");
                continue;
            }
        };
        // Who asks too much gets no answer, and asks again.
        let client = resolver.directory.client(from.ip());
        let Some(work) = bounds.begin(&client.key().to_owned()) else {
            continue;
        };
        let question = buffer[..length].to_vec();
        let (resolver, socket) = (resolver.clone(), socket.clone());
        tokio::spawn(async move {
            let answer = resolver.answer(&question, &client, Transport::Udp).await;
            if let Some(answer) = answer {
                // Who has gone needs none.
                let _ = socket.send_to(&answer, from).await;
            }
            drop(work);
        });
    }
}

async fn serve_tcp(resolver: Arc<Resolver>, listener: TcpListener, bounds: Bounds<String>) {
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot take a question: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let client = resolver.directory.client(from.ip());
        if let Some(work) = bounds.begin(&client.key().to_owned()) {
            tokio::spawn(converse(resolver.clone(), stream, client, work));
        }
    }
}

async fn converse(
    resolver: Arc<Resolver>,
    mut stream: TcpStream,
    client: Client,
    _work: Work<String>,
) {
    loop {
        let Ok(Ok(question)) = tokio::time::timeout(IDLE, read(&mut stream)).await else {
            return;
        };
        let Some(answer) = resolver.answer(&question, &client, Transport::Tcp).await else {
            return;
        };
        let Ok(length) = u16::try_from(answer.len()) else {
            return;
        };
        let mut framed = length.to_be_bytes().to_vec();
        framed.extend_from_slice(&answer);
        let written = tokio::time::timeout(IDLE, stream.write_all(&framed)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question).await?;
    Ok(question)
}
