//! UDP ports of the host that lead to a container. On the way there clients are numbers: whoever is inside answers those that asked, and
//! nobody else.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use container_api::datagrams::own::{self, Own};
use container_api::datagrams::{self, Frames, MAX_DATAGRAM};
use container_api::relay;
use rustix::io::Errno;
use rustix::net::{self, SocketType};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UdpSocket, UnixStream};
use tokio::task::JoinHandle;

use super::inet;

/// Clients of one port that are known at a time.
const CLIENTS: usize = 1024;

/// Ports that are open; closed when this is dropped.
#[derive(Debug, Default)]
pub struct DatagramPorts(HashMap<SocketAddr, JoinHandle<()>>);

impl DatagramPorts {
    /// Opens `address` of the host; gives the stream with its datagrams, whose end closes it.
    ///
    /// # Errors
    /// As `bind(2)`, when there are no descriptors left, and where as many as [`relay::DATAGRAM_PORTS`] are open.
    pub fn open(&mut self, address: SocketAddr) -> io::Result<OwnedFd> {
        self.0.retain(|_, port| !port.is_finished());
        if u32::try_from(self.0.len()).is_ok_and(|open| open >= relay::DATAGRAM_PORTS) {
            return Err(Errno::MFILE.into());
        }
        let socket = UdpSocket::from_std(bind(address)?.into())?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let port = tokio::spawn(carry(socket, ours));
        self.0.insert(address, port);
        Ok(theirs.into())
    }

    /// Closes `address`; it is when this returns.
    pub async fn close(&mut self, address: SocketAddr) {
        if let Some(port) = self.0.remove(&address) {
            port.abort();
            // That it was aborted is what is expected.
            let _ = port.await;
        }
    }
}

impl Drop for DatagramPorts {
    fn drop(&mut self) {
        for port in self.0.values() {
            port.abort();
        }
    }
}

/// Without `SO_REUSEADDR`: with it, a port could be had that another program has.
fn bind(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = inet::socket(address, SocketType::DGRAM)?;
    own::tell(&socket, address.is_ipv6())?;
    net::bind(&socket, &address)?;
    Ok(socket)
}

/// Carries datagrams between the clients of `socket` and `helper`, until that ends.
async fn carry(socket: UdpSocket, helper: UnixStream) {
    let (reader, writer) = helper.into_split();
    let clients = Mutex::new(Clients::default());
    let ended = tokio::select! {
        ended = ask(&socket, &clients, writer) => ended,
        ended = answer(&socket, &clients, reader) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!("a UDP port: {error}");
    }
}

/// Passes on what clients ask.
async fn ask(
    socket: &UdpSocket,
    clients: &Mutex<Clients>,
    mut writer: OwnedWriteHalf,
) -> io::Result<()> {
    loop {
        socket.readable().await?;
        // Room is made when there is something: most ports are silent most of the time.
        let mut buffer = vec![0; MAX_DATAGRAM];
        // An error is mostly word that an answer before did not arrive.
        if let Ok(Some((length, from, at))) = own::receive(socket, &mut buffer).await {
            let number = lock(clients).number((from, at));
            // What comes while the container takes none is lost, as on any network.
            datagrams::write(&mut writer, number, &buffer[..length]).await?;
        }
    }
}

/// Passes on what they are answered.
async fn answer(
    socket: &UdpSocket,
    clients: &Mutex<Clients>,
    reader: OwnedReadHalf,
) -> io::Result<()> {
    let mut frames = Frames::new(reader);
    while let Some((number, datagram)) = frames.next().await? {
        let client = lock(clients).by_number.get(&number).copied();
        if let Some((to, at)) = client {
            // Nobody is told that an answer did not arrive.
            let _ = own::send(socket, &datagram, to, at).await;
        }
    }
    Ok(())
}

fn lock(clients: &Mutex<Clients>) -> MutexGuard<'_, Clients> {
    clients.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who asked, and at which of the host's addresses.
type Client = (SocketAddr, Option<Own>);

/// Those who asked, each with a number; the longest silent one makes room.
#[derive(Debug, Default)]
struct Clients {
    /// With the turn in which it last asked.
    numbers: HashMap<Client, (u32, u64)>,
    by_number: HashMap<u32, Client>,
    turn: u64,
    next: u32,
}

impl Clients {
    fn number(&mut self, client: Client) -> u32 {
        self.turn += 1;
        if let Some((number, turn)) = self.numbers.get_mut(&client) {
            *turn = self.turn;
            return *number;
        }
        if self.numbers.len() >= CLIENTS {
            let all = self.numbers.iter();
            let oldest = all.min_by_key(|(_, (_, turn))| *turn);
            if let Some((oldest, (number, _))) = oldest.map(|(client, known)| (*client, *known)) {
                self.numbers.remove(&oldest);
                self.by_number.remove(&number);
            }
        }
        while self.by_number.contains_key(&self.next) {
            self.next = self.next.wrapping_add(1);
        }
        let number = self.next;
        // One that was forgotten is not the next one's.
        self.next = self.next.wrapping_add(1);
        self.numbers.insert(client, (number, self.turn));
        self.by_number.insert(number, client);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silent_client_makes_room_and_its_number_is_nobody_s() {
        let client = |number: usize| {
            let port = u16::try_from(number).unwrap() + 1;
            ((std::net::Ipv4Addr::LOCALHOST, port).into(), None)
        };
        let mut clients = Clients::default();
        let first = clients.number(client(0));
        let second = clients.number(client(1));
        for number in 2..CLIENTS {
            clients.number(client(number));
        }
        assert_eq!(clients.number(client(0)), first);
        let new = clients.number(client(CLIENTS));
        assert!(new != first && new != second);
        assert_eq!(clients.by_number.get(&second), None);
        assert_eq!(clients.by_number.get(&new), Some(&client(CLIENTS)));
        assert_eq!(clients.numbers.len(), CLIENTS);
        assert_eq!(clients.by_number.len(), CLIENTS);
    }

    #[tokio::test]
    async fn a_port_carries_until_it_is_closed() {
        let mut ports = DatagramPorts::default();
        let free = std::net::UdpSocket::bind("127.0.0.2:0").unwrap();
        let address = free.local_addr().unwrap();
        let error = ports.open(address).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        drop(free);
        for _ in 0..2 {
            let stream = ports.open(address).unwrap();
            let stream = UnixStream::from_std(stream.into()).unwrap();
            let (reader, mut writer) = stream.into_split();
            let mut frames = Frames::new(reader);
            let [one, other] = [
                UdpSocket::bind("127.0.0.1:0").await.unwrap(),
                UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            ];
            let mut numbers = Vec::new();
            for socket in [&one, &other] {
                socket.send_to(b"question", address).await.unwrap();
                let (number, question) = frames.next().await.unwrap().unwrap();
                assert_eq!(&question[..], b"question");
                numbers.push(number);
            }
            // Nobody has this number.
            datagrams::write(&mut writer, 77, b"no").await.unwrap();
            for (number, socket) in numbers.iter().zip([&one, &other]).rev() {
                let answer = number.to_string();
                datagrams::write(&mut writer, *number, answer.as_bytes())
                    .await
                    .unwrap();
                let mut buffer = [0; 16];
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                assert_eq!((&buffer[..length], from), (answer.as_bytes(), address));
            }
            ports.close(address).await;
            assert_eq!(frames.next().await.unwrap(), None);
        }
    }
}
