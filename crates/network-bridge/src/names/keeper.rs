//! Keeps the process that answers questions, and tells it who is on the network.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use container_api::{Chain, handover, log};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::exchange::{Begin, Heard, Table};
use super::outside::Outside;
use crate::directory::Directory;
use crate::namespace::inside::{Inside, Socket};
use crate::resolver::PORT;

/// How long it may take to take over who is on the network.
const PATIENCE: Duration = Duration::from_secs(2);
/// Before it is started again.
const PAUSE: Duration = Duration::from_millis(100);

/// The process as its network sees it.
#[derive(Debug)]
pub struct Names {
    table: watch::Sender<Table>,
    heard: watch::Sender<u64>,
}

impl Names {
    /// None yet: see [`Self::listen`].
    pub fn new() -> Self {
        Self {
            table: watch::Sender::default(),
            heard: watch::Sender::new(u64::MAX),
        }
    }

    /// Has questions answered that come to `gateways`, for as long as this is there.
    ///
    /// # Errors
    /// When no sockets or no process can be had.
    pub async fn listen(&self, gateways: &[IpAddr], outside: Outside) -> io::Result<()> {
        let mut sockets = Vec::new();
        for gateway in gateways {
            let at = SocketAddr::new(*gateway, PORT);
            for socket in [Socket::Datagram(at), Socket::Listener(at)] {
                sockets.push(free(&outside.inside, socket).await?);
            }
        }
        let outside = Arc::new(outside);
        let begun = begin(&outside, &sockets).await?;
        // From here on whoever tells something waits until it is heard.
        self.heard.send_replace(0);
        let keeper = Keeper {
            outside,
            sockets,
            table: self.table.subscribe(),
            heard: self.heard.clone(),
        };
        tokio::spawn(keeper.keep(begun));
        Ok(())
    }

    /// Tells who is on the network now, and returns when answers are made of that.
    pub async fn tell(&self, directory: &Directory) {
        let mut version = 0;
        self.table.send_modify(|table| {
            table.version += 1;
            table.entries = directory.entries();
            table.domains = directory.domains();
            version = table.version;
        });
        let mut heard = self.heard.subscribe();
        let told = heard.wait_for(|heard| *heard >= version);
        // One that does not listen is replaced, and begins with this.
        let _ = tokio::time::timeout(PATIENCE * 2, told).await;
    }
}

/// The other side of a process that was begun.
struct Begun {
    stream: UnixStream,
    /// It ends when this is dropped.
    process: Child,
}

struct Keeper {
    outside: Arc<Outside>,
    /// Questions that come while no process is there wait in them.
    sockets: Vec<OwnedFd>,
    table: watch::Receiver<Table>,
    heard: watch::Sender<u64>,
}

impl Keeper {
    async fn keep(mut self, mut begun: Begun) {
        loop {
            match self.tell(&mut begun).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!("the process that answers for names: {}", Chain(&error));
                }
            }
            drop(begun);
            begun = loop {
                tokio::time::sleep(PAUSE).await;
                match begin(&self.outside, &self.sockets).await {
                    Ok(begun) => break begun,
                    Err(error) => tracing::warn!("answer for names: {}", Chain(&error)),
                }
                if self.table.has_changed().is_err() {
                    return;
                }
            };
        }
    }

    /// Tells the process of every change, until the network is gone.
    async fn tell(&mut self, begun: &mut Begun) -> io::Result<()> {
        loop {
            let table = self.table.borrow_and_update().clone();
            let told = async {
                handover::send(&mut begun.stream, &table, &[]).await?;
                handover::receive::<Heard>(&mut begun.stream).await
            };
            let told = tokio::time::timeout(PATIENCE, told).await;
            let answer = told.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            let (Heard(version), _) = answer.ok_or(io::ErrorKind::BrokenPipe)?;
            // It is not believed: who waits for a later version would go on too early.
            if version != table.version {
                return Err(io::Error::other(format!(
                    "it says that it has heard {version}, not {}",
                    table.version
                )));
            }
            self.heard.send_replace(version);
            tokio::select! {
                changed = self.table.changed() => if changed.is_err() {
                    return Ok(());
                },
                ended = begun.process.wait() => return Err(io::Error::other(format!("it has ended: {}", ended?))),
            }
        }
    }
}

/// A socket whose address the process of a network's process that was just killed may still have.
async fn free(inside: &Inside, socket: Socket) -> io::Result<OwnedFd> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match inside.socket(socket).await {
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && tokio::time::Instant::now() < deadline =>
            {
                tokio::time::sleep(PAUSE / 10).await;
            }
            done => return done,
        }
    }
}

async fn begin(outside: &Arc<Outside>, sockets: &[OwnedFd]) -> io::Result<Begun> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("names")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        // It has no use for what this process was told.
        .env_clear()
        .kill_on_drop(true);
    log::pass_on(command.as_std_mut());
    let process = command.spawn()?;
    let mut stream = UnixStream::from_std(ours)?;
    let (servers, their_servers) = UnixStream::pair()?;
    let (rules, their_rules) = UnixStream::pair()?;
    let (others, their_others) = UnixStream::pair()?;
    let mut descriptors = vec![
        their_servers.as_fd(),
        their_rules.as_fd(),
        their_others.as_fd(),
    ];
    descriptors.extend(sockets.iter().map(AsFd::as_fd));
    let begin = Begin(outside.directory.about());
    handover::send(&mut stream, &begin, &descriptors).await?;
    for stream in [servers, rules, others] {
        let outside = outside.clone();
        tokio::spawn(async move {
            if let Err(error) = outside.serve(stream).await {
                tracing::debug!("the process that answers for names: {}", Chain(&error));
            }
        });
    }
    Ok(Begun { stream, process })
}
