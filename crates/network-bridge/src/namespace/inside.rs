//! What is done in the network's namespace, and the process that does it.
//!
//! Where the namespace belongs to a user namespace no thread of another process can enter it, so a process of its own does
//! what has to be done there. Its standard input is a socket on which it is asked, one thing after the other; it ends with it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use container_api::handover;
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;

use super::handle::Namespaces;
use crate::conversations::Meant;
use crate::filter::run::{Family, Ruleset};

/// How long the agent may take for one thing.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing to be done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Makes the bridge, or takes the one that is there.
    Bridge(Bridge),
    /// Sets addresses and routes of the way out, whose interface is there.
    Uplink(Uplink),
    /// Makes a tap, on no bridge yet; its descriptor comes beside the answer.
    Tap,
    /// Puts a tap on the bridge.
    Join {
        /// Its name.
        tap: String,
        /// Bytes of a packet.
        mtu: u32,
        /// Hardware address of the machine behind it.
        mac: [u8; 6],
    },
    /// Takes a tap off the bridge, if it is there: whoever has it open has an end that leads nowhere.
    Part(String),
    /// Lists the interfaces.
    Links,
    /// Makes an interface of that name, whose packets are read from the descriptor beside the answer.
    Packets(String),
    /// Leads packets to the host's addresses to the interfaces that are made for them.
    Lead(HostAddresses),
    /// Changes rules, all or none.
    Rules(String),
    /// Lists a table's rules as `nft -j` prints them.
    List(Family, String),
    /// Ends conversations.
    End(Meant),
    /// A socket of the namespace comes beside the answer.
    Socket(Socket),
}

/// The network's bridge.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Bridge {
    /// The gateway's addresses, with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The way out, which comes later, tells its addresses and routes as a router does.
    pub announced: bool,
    /// Addresses that the bridge answers for, though they are elsewhere: the host's.
    pub proxied: Vec<IpAddr>,
    /// Bytes of a packet.
    pub mtu: u32,
}

/// The way out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Uplink {
    /// Bytes of a packet.
    pub mtu: u32,
    /// The interface's own addresses.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The host's address in each family, and the next router to it.
    pub hosts: Vec<(IpAddr, IpAddr)>,
    /// To that router goes all that is not the network's.
    pub leads_out: bool,
}

/// What `host.container.internal` is in the network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostAddresses {
    /// One of each family at most.
    pub addresses: Vec<IpAddr>,
    /// No interface of the host has them.
    pub are_nowhere_else: bool,
}

/// A socket that is wanted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Socket {
    /// UDP, bound.
    Datagram(SocketAddr),
    /// UDP, bound, for datagrams to other addresses that rules lead there; each comes with the address that it was sent to.
    Intercepting(SocketAddr),
    /// UDP, bound to an address that the namespace does not have.
    Speaking(SocketAddr),
    /// TCP, listening.
    Listener(SocketAddr),
    /// TCP, connected to nobody yet.
    Stream {
        /// Of IPv6.
        ipv6: bool,
    },
    /// The same, for [`Question`](crate::relay::listening::Question)s.
    Question {
        /// Of IPv6.
        ipv6: bool,
    },
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing more to say.
    Done,
    /// The tap's name.
    Tap(String),
    /// The interfaces.
    Links(Vec<Link>),
    /// The rules.
    Rules(Ruleset),
    /// It failed.
    Failed {
        /// In words.
        message: String,
        /// The system's number of the error, where it has one.
        errno: Option<i32>,
    },
}

/// An interface of the namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Whether it is on the bridge.
    pub on_bridge: bool,
    /// Bytes and packets that it got from the machine, and gave to it.
    pub from_machine: (u64, u64),
    /// The same, the other way.
    pub to_machine: (u64, u64),
}

/// Who has things done in the namespace.
#[derive(Debug)]
pub struct Inside {
    namespaces: Namespaces,
    /// Nothing while it is asked: whoever gives up waiting leaves an answer behind that is nobody's, and the next one starts
    /// another agent.
    agent: Mutex<Option<Agent>>,
}

#[derive(Debug)]
struct Agent {
    stream: UnixStream,
    /// It ends when this is dropped.
    _process: Child,
}

impl Agent {
    fn start(namespaces: &Namespaces) -> io::Result<Self> {
        let [user, network] = namespaces.paths();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let process = Command::new(std::env::current_exe()?)
            .arg("inside")
            .args(["--user", &user, "--network", &network])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            stream: UnixStream::from_std(ours)?,
            _process: process,
        })
    }

    async fn exchange(&mut self, request: &Request) -> io::Result<(Reply, Vec<OwnedFd>)> {
        let exchange = async {
            handover::send(&mut self.stream, request, &[]).await?;
            handover::receive(&mut self.stream).await
        };
        let answer = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        answer?.ok_or_else(|| {
            let text = "the process in the network's namespace has ended";
            io::Error::new(io::ErrorKind::BrokenPipe, text)
        })
    }
}

impl Inside {
    /// In the namespaces of `holder`.
    ///
    /// # Errors
    /// When no agent can be started there.
    pub fn start(holder: Pid) -> io::Result<Self> {
        let namespaces = Namespaces::of(holder)?;
        Ok(Self {
            agent: Mutex::new(Some(Agent::start(&namespaces)?)),
            namespaces,
        })
    }

    /// The namespaces.
    pub const fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    /// Has `request` done; for what has no answer.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn run(&self, request: Request) -> io::Result<()> {
        self.ask(request).await.map(drop)
    }

    /// A tap on no bridge: its name and descriptor.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn tap(&self) -> io::Result<(String, OwnedFd)> {
        match self.ask(Request::Tap).await? {
            (Reply::Tap(name), Some(descriptor)) => Ok((name, descriptor)),
            _ => Err(unexpected()),
        }
    }

    /// The namespace's interfaces.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn links(&self) -> io::Result<Vec<Link>> {
        match self.ask(Request::Links).await? {
            (Reply::Links(links), _) => Ok(links),
            _ => Err(unexpected()),
        }
    }

    /// The rules of a table; none where there is no such table.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn rules(&self, family: Family, table: &str) -> io::Result<Ruleset> {
        match self.ask(Request::List(family, table.to_owned())).await? {
            (Reply::Rules(rules), _) => Ok(rules),
            _ => Err(unexpected()),
        }
    }

    /// The interface `name` of the namespace: what is read and written is packets.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn packets(&self, name: &str) -> io::Result<OwnedFd> {
        let (_, descriptor) = self.ask(Request::Packets(name.to_owned())).await?;
        descriptor.ok_or_else(unexpected)
    }

    /// A socket of the namespace, which does not block.
    ///
    /// # Errors
    /// What it fails with.
    pub async fn socket(&self, socket: Socket) -> io::Result<OwnedFd> {
        let (_, descriptor) = self.ask(Request::Socket(socket)).await?;
        descriptor.ok_or_else(unexpected)
    }

    async fn ask(&self, request: Request) -> io::Result<(Reply, Option<OwnedFd>)> {
        let mut place = self.agent.lock().await;
        let mut agent = match place.take() {
            Some(agent) => agent,
            None => Agent::start(&self.namespaces)?,
        };
        let answer = match agent.exchange(&request).await {
            // It was killed since it was asked last.
            Err(error) if is_gone(&error) => {
                agent = Agent::start(&self.namespaces)?;
                agent.exchange(&request).await?
            }
            answer => answer?,
        };
        *place = Some(agent);
        match answer {
            (Reply::Failed { message, errno }, _) => Err(match errno {
                Some(errno) => io::Error::new(io::Error::from_raw_os_error(errno).kind(), message),
                None => io::Error::other(message),
            }),
            (reply, descriptors) => Ok((reply, descriptors.into_iter().next())),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}

fn unexpected() -> io::Error {
    io::ErrorKind::InvalidData.into()
}
