//! The program: answers questions for names, confined.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::Context;
use container_api::handover;
use tokio::net::{TcpListener, UdpSocket, UnixStream};

use super::Asker;
use super::exchange::{Begin, Heard, Table};
use crate::confinement;
use crate::directory::Directory;
use crate::resolver::{Resolver, listen};

/// Does what the process on standard input says, until that closes it.
pub fn run() -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> anyhow::Result<()> {
    // It would hold the sockets of the next one otherwise, were it stopped when its parent is killed.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let input = rustix::io::dup(rustix::stdio::stdin())?;
    let mut stream = unix(input)?;
    let begin = handover::receive::<Begin>(&mut stream).await?;
    let (Begin(about), descriptors) = begin.context("nobody says what to do")?;
    confinement::enter().context("cannot confine the process that answers for names")?;
    let mut descriptors = descriptors.into_iter();
    let mut next = || {
        let missing = || io::Error::from(io::ErrorKind::InvalidData);
        descriptors.next().ok_or_else(missing)
    };
    let mut asker = || Ok::<_, io::Error>(Asker::new(unix(next()?)?));
    let (servers, rules, others) = (asker()?, asker()?, asker()?);
    let directory = Directory::of(about);
    let resolver = Arc::new(Resolver::new(directory, servers, rules, others));
    // Nobody is answered before it is known who is there.
    let mut sockets = Vec::new();
    while let (Ok(datagrams), Ok(listener)) = (next(), next()) {
        sockets.push((
            UdpSocket::from_std(datagrams.into())?,
            TcpListener::from_std(listener.into())?,
        ));
    }
    let mut sockets = Some(sockets);
    while let Some((table, _)) = handover::receive::<Table>(&mut stream).await? {
        resolver.update(table.entries, table.domains);
        // Whoever was killed meanwhile needs no answer.
        if handover::send(&mut stream, &Heard(table.version), &[])
            .await
            .is_err()
        {
            break;
        }
        if let Some(sockets) = sockets.take() {
            listen::serve(&resolver, sockets);
        }
    }
    Ok(())
}

fn unix(descriptor: OwnedFd) -> io::Result<UnixStream> {
    let stream = std::os::unix::net::UnixStream::from(descriptor);
    // Those that travelled do not block already, and no call for it is left.
    if !rustix::fs::fcntl_getfl(&stream)?.contains(rustix::fs::OFlags::NONBLOCK) {
        stream.set_nonblocking(true)?;
    }
    UnixStream::from_std(stream)
}
