//! Datagrams to a UDP port of the container's: a socket for each client, so that answers find back.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use container_api::datagrams::{self, Flows, Frames, Limit, MAX_DATAGRAM};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UdpSocket, UnixStream};
use tokio::sync::{Mutex, MutexGuard, mpsc};

/// Clients of one port at once; the host, which numbers them, is the one whose they all are.
const CLIENTS: Limit = Limit {
    all: 256,
    each: 256,
};
/// How long a client may be silent before it is forgotten.
const IDLE: Duration = Duration::from_secs(60);

/// A stream whose datagrams are carried to `to`, a port of the loopback address, and back.
///
/// # Errors
/// When there are no descriptors left.
pub fn port(to: SocketAddr) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    tokio::spawn(serve(ours, to));
    Ok(theirs)
}

async fn serve(stream: UnixStream, to: SocketAddr) {
    let (reader, writer) = stream.into_split();
    let mut frames = Frames::new(reader);
    let writer = Arc::new(Mutex::new(writer));
    let mut clients = Flows::new(CLIENTS);
    loop {
        let next = tokio::select! {
            next = frames.next() => next,
            () = clients.ended() => continue,
        };
        let Ok(Some((client, datagram))) = next else {
            return;
        };
        let writer = Arc::clone(&writer);
        let all = |_: &u32| true;
        clients.pass(client, datagram.into(), all, |datagrams| async move {
            // Its own error ends it: the client's next datagram begins anew.
            let _ = carry(client, to, &writer, datagrams).await;
        });
    }
}

async fn carry(
    client: u32,
    to: SocketAddr,
    writer: &Mutex<OwnedWriteHalf>,
    mut datagrams: mpsc::Receiver<Vec<u8>>,
) -> io::Result<()> {
    let own: SocketAddr = if to.is_ipv6() {
        (Ipv6Addr::LOCALHOST, 0).into()
    } else {
        (Ipv4Addr::LOCALHOST, 0).into()
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(to).await?;
    loop {
        tokio::select! {
            datagram = datagrams.recv() => match datagram {
                // The program may have closed its socket a moment ago.
                Some(datagram) => drop(socket.send(&datagram).await),
                None => return Ok(()),
            },
            // Nothing is taken before it can be written. So where nobody reads the stream one client waits for that, and the others can still
            // be forgotten.
            writer = answered(&socket, writer) => {
                let mut writer = writer?;
                let mut buffer = vec![0; MAX_DATAGRAM];
                match socket.try_recv(&mut buffer) {
                    Ok(length) => {
                        datagrams::write(&mut *writer, client, &buffer[..length]).await?;
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            () = tokio::time::sleep(IDLE) => return Ok(()),
        }
    }
}

/// Waits until there is an answer, and its turn to be written.
async fn answered<'w>(
    socket: &UdpSocket,
    writer: &'w Mutex<OwnedWriteHalf>,
) -> io::Result<MutexGuard<'w, OwnedWriteHalf>> {
    socket.readable().await?;
    Ok(writer.lock().await)
}

/// Nothing there after all, or word that nobody was.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_find_the_client_that_asked() {
        let server = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        let stream = port(server.local_addr().unwrap()).unwrap();
        let (reader, mut writer) = stream.into_split();
        let mut frames = Frames::new(reader);
        for (client, question) in [(7, &b"one"[..]), (8, b"two"), (7, b"three")] {
            datagrams::write(&mut writer, client, question)
                .await
                .unwrap();
        }
        let mut asked = Vec::new();
        let mut buffer = [0; 16];
        for _ in 0..3 {
            let (length, from) = server.recv_from(&mut buffer).await.unwrap();
            asked.push((buffer[..length].to_vec(), from));
        }
        // The last first.
        asked.sort();
        for (question, from) in asked.iter().rev() {
            server.send_to(question, from).await.unwrap();
            let (client, answer) = frames.next().await.unwrap().unwrap();
            assert_eq!(&answer[..], question);
            assert_eq!(client, if question == b"two" { 8 } else { 7 });
        }
        // Two sockets for two clients.
        assert_eq!(asked[0].1, asked[1].1);
        assert_ne!(asked[0].1, asked[2].1);
    }
}
