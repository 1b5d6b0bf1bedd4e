//! Published ports, as far as the kernel does not forward them: those of `::1` and of link-local addresses, and all of them without root.
//!
//! What the kernel has taken for us can only be reset. So a port takes connections while the container listens, and no others.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use container_api::datagrams::own;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::BindToDevice;
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::asked::{Asked, Counted};
use super::listening::{Question, Said};
use super::pace::Pace;
use super::{stream, udp};
use crate::bounds::{Bounds, Limit};
use crate::namespace::inside::{Inside, Socket};
use crate::ports::bind::Bound;
use crate::ports::door::Door;
use crate::ports::published::{Protocol, Published};

/// Connections at once through one port. All programs of the host are one client to a port of its loopback.
const CONNECTIONS: Limit = Limit {
    all: 8192,
    each: 2048,
};
/// How long nothing is taken after an error.
const PAUSE: Duration = Duration::from_millis(100);

/// A container as it is reached.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its addresses; one of each family at most.
    pub addresses: Vec<IpAddr>,
    /// Who makes sockets in its network.
    pub inside: Arc<Inside>,
    /// The interface by which the kernel forwards to it, where it can.
    pub link: Option<String>,
}

/// A port that is open; closed when this is dropped.
#[derive(Debug)]
pub struct Open {
    /// The port.
    pub port: Published,
    tasks: Vec<AbortHandle>,
    asked: Arc<Asked>,
    /// Those that only keep the port from others: were the kernel's rules gone, they would take nobody's connection.
    _held: Vec<Held>,
}

/// A socket that nothing is taken from.
#[derive(Debug)]
enum Held {
    Connections { _door: Door },
    Datagrams { _socket: OwnedFd },
}

impl Open {
    /// What the container received and sent because it was asked whether it listens.
    pub fn asked(&self) -> Counted {
        self.asked.counted()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Serves a port that is held, one of `ports` of its container.
///
/// # Errors
/// When a socket can't be used.
pub fn open(bound: Bound, target: &Target, ports: usize) -> io::Result<Open> {
    let asked = Arc::new(Asked::default());
    let mut held = Vec::new();
    let mut tasks = Vec::new();
    for (at, socket) in bound.sockets {
        let Some(address) = target.of_family(at.is_ipv6()) else {
            continue;
        };
        if let Some(link) = target.link.as_deref().filter(|_| forwards(at, address)) {
            held.push(match bound.port.protocol {
                Protocol::Tcp => Held::Connections {
                    _door: Door::new(socket)?,
                },
                Protocol::Udp => {
                    refuse(&socket, link)?;
                    Held::Datagrams { _socket: socket }
                }
            });
            continue;
        }
        let to = SocketAddr::new(address, bound.port.container_port);
        let inside = target.inside.clone();
        let task = match bound.port.protocol {
            Protocol::Tcp => {
                let door = Door::new(socket)?;
                let asker = Asker {
                    to,
                    inside,
                    pace: Pace::new(ports),
                    asked: asked.clone(),
                    changed: Arc::new(Notify::new()),
                };
                tokio::spawn(serve(door, asker)).abort_handle()
            }
            Protocol::Udp => {
                own::tell(&socket, at.is_ipv6())?;
                let socket = UdpSocket::from_std(socket.into())?;
                tokio::spawn(udp::serve(socket, to, inside)).abort_handle()
            }
        };
        tasks.push(task);
    }
    Ok(Open {
        port: bound.port,
        tasks,
        asked,
        _held: held,
    })
}

/// Has a socket keep its port and take nothing of the host or its neighbours, so that the kernel refuses whoever asks. It takes what comes by
/// `link`, of containers, which hear nothing while the rules are gone. A program that binds a socket to another interface may have the port there.
fn refuse(socket: &OwnedFd, link: &str) -> io::Result<()> {
    Ok(setsockopt(socket, BindToDevice, &OsString::from(link))?)
}

/// Whether the kernel, where it forwards, leads all that is for `at` to `address` (see `filter::host`).
fn forwards(at: SocketAddr, address: IpAddr) -> bool {
    let own = at.ip() == Ipv6Addr::UNSPECIFIED || at.ip() == Ipv6Addr::LOCALHOST;
    at.is_ipv6() == address.is_ipv6() && !own
}

impl Target {
    /// The address of the family, else the other one.
    fn of_family(&self, ipv6: bool) -> Option<IpAddr> {
        let same = self
            .addresses
            .iter()
            .find(|address| address.is_ipv6() == ipv6);
        same.or_else(|| self.addresses.first()).copied()
    }
}

/// Who asks a container whether it listens.
struct Asker {
    to: SocketAddr,
    inside: Arc<Inside>,
    pace: Pace,
    asked: Arc<Asked>,
    /// It is to be asked soon: something else may have changed.
    changed: Arc<Notify>,
}

async fn serve(mut door: Door, asker: Asker) {
    let (to, inside, changed) = (asker.to, asker.inside.clone(), asker.changed.clone());
    let bounds = Bounds::new(CONNECTIONS);
    // They end with the port.
    let (mut asking, mut connections) = (JoinSet::new(), JoinSet::new());
    let (sender, mut said) = mpsc::channel(1);
    asking.spawn(ask(asker, sender));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&door) => accepted,
            Some(said) = said.recv() => {
                turn(&mut door, said);
                continue;
            }
            Some(ended) = connections.join_next() => {
                if let Ok(said) = ended {
                    turn(&mut door, said);
                    if said == Said::Refused {
                        changed.notify_one();
                    }
                }
                continue;
            }
        };
        let (from, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("cannot take a connection to a published port: {error:#}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(work) = bounds.begin(&client.ip()) else {
            stream::reset(&from);
            continue;
        };
        let (inside, changed) = (inside.clone(), changed.clone());
        connections.spawn(async move {
            // A program that ends ends its connections.
            let said = carry(from, to, &inside, || changed.notify_one()).await;
            drop(work);
            said
        });
    }
}

async fn accept(door: &Door) -> io::Result<(TcpStream, SocketAddr)> {
    match door.listener() {
        Some(listener) => listener.accept().await,
        None => std::future::pending().await,
    }
}

/// Opens or shuts the door, as the container has said.
fn turn(door: &mut Door, said: Said) {
    let turned = match said {
        Said::Listens => door.open(),
        Said::Refused if door.listener().is_some() => door.shut(),
        Said::Refused | Said::Nothing => Ok(()),
    };
    if let Err(error) = turned {
        tracing::warn!("a published port: {error:#}");
    }
}

/// Asks the container again and again whether it listens, and soon when something else has changed; says what it answers.
async fn ask(asker: Asker, sender: mpsc::Sender<Said>) {
    let Asker {
        to,
        inside,
        mut pace,
        asked,
        changed,
    } = asker;
    let mut question = None;
    loop {
        let begun = Instant::now();
        let said = ask_once(&mut question, to, &inside).await;
        if let Ok(said) = &said {
            asked.note(to.is_ipv6(), *said);
        }
        let said = said.unwrap_or_else(|error| {
            tracing::debug!("cannot ask {to} whether it listens: {error:#}");
            question = None;
            Said::Nothing
        });
        if sender.send(said).await.is_err() {
            return;
        }
        let pause = pace.after(said);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = changed.notified() => {
                // However many connections end.
                tokio::time::sleep_until(begun + pace.shortest()).await;
                pace.hurry();
            }
        }
    }
}

async fn ask_once(
    question: &mut Option<Question>,
    to: SocketAddr,
    inside: &Inside,
) -> io::Result<Said> {
    if question.is_none() {
        let ipv6 = to.is_ipv6();
        let socket = inside.socket(Socket::Question { ipv6 }).await?;
        *question = Some(Question::new(socket, to));
    }
    match question {
        Some(question) => question.ask().await,
        None => Ok(Said::Nothing),
    }
}

/// Carries a connection; tells when nobody has listened. `ended` is called when the container says no more.
async fn carry(from: TcpStream, to: SocketAddr, inside: &Inside, ended: impl FnOnce()) -> Said {
    let connect = async {
        let socket = inside.socket(Socket::Stream { ipv6: to.is_ipv6() }).await?;
        let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
        stream::connect(socket, to).await
    };
    match connect.await {
        Ok(to) => stream::join(from, to, ended).await,
        Err(error) => {
            stream::reset(&from);
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return Said::Refused;
            }
        }
    }
    Said::Nothing
}
