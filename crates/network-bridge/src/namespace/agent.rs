//! The process in the network's namespace.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use container_api::{Chain, handover};
use nix::sys::socket::{setsockopt, sockopt as option};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use tokio::net::UnixStream;

use super::handle::Namespaces;
use super::inside::{Reply, Request, Socket};
use crate::filter::run;
use crate::links::{Links, tap};
use crate::relay::listening;
use crate::{confinement, conversations};

/// Connections that wait to be taken.
const BACKLOG: i32 = 1024;
/// How often, and after which pause, an interface's name is tried again that is still another's.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// The program: enters the namespaces and does what it is asked on its standard input.
pub fn run(namespaces: &Namespaces) -> io::Result<()> {
    namespaces.enter()?;
    confinement::keep_those_of_networks()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve())
}

async fn serve() -> io::Result<()> {
    let input = rustix::io::dup(rustix::stdio::stdin())?;
    let stream = std::os::unix::net::UnixStream::from(input);
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    let links = Links::open()?;
    while let Some((request, _)) = handover::receive::<Request>(&mut stream).await? {
        let (reply, descriptor) = match act(&links, request).await {
            Ok(done) => done,
            Err(error) => (failed(&error), None),
        };
        let descriptors: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
        handover::send(&mut stream, &reply, &descriptors).await?;
    }
    Ok(())
}

fn failed(error: &io::Error) -> Reply {
    Reply::Failed {
        message: Chain(error).to_string(),
        errno: error.raw_os_error(),
    }
}

async fn act(links: &Links, request: Request) -> io::Result<(Reply, Option<OwnedFd>)> {
    let mut descriptor = None;
    let reply = match request {
        Request::Bridge(bridge) => {
            links.bridge(&bridge).await?;
            Reply::Done
        }
        Request::Uplink(uplink) => {
            links.uplink(&uplink).await?;
            Reply::Done
        }
        Request::Tap => {
            let (name, tap) = tap::create()?;
            descriptor = Some(tap);
            Reply::Tap(name)
        }
        Request::Join { tap, mtu, mac } => {
            links.join(&tap, mtu, mac).await?;
            Reply::Done
        }
        Request::Part(tap) => {
            links.part(&tap).await?;
            Reply::Done
        }
        Request::Packets(name) => {
            descriptor = Some(packets(&name).await?);
            Reply::Done
        }
        Request::Lead(host) => {
            links.lead(&host).await?;
            Reply::Done
        }
        Request::Links => Reply::Links(links.list().await?),
        Request::Rules(script) => {
            run::apply(&script).await?;
            Reply::Done
        }
        Request::List(family, table) => Reply::Rules(run::list(family, &table).await?),
        Request::End(meant) => {
            conversations::end(&meant)?;
            Reply::Done
        }
        Request::Socket(wanted) => {
            descriptor = Some(socket(wanted)?);
            Reply::Done
        }
    };
    Ok((reply, descriptor))
}

/// The interface of a process before this one is gone in a moment.
async fn packets(name: &str) -> io::Result<OwnedFd> {
    for _ in 0..TRIES {
        match tap::packets(name) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                tokio::time::sleep(PAUSE).await;
            }
            done => return done,
        }
    }
    tap::packets(name)
}

fn socket(wanted: Socket) -> io::Result<OwnedFd> {
    let family = |ipv6| {
        if ipv6 {
            AddressFamily::INET6
        } else {
            AddressFamily::INET
        }
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let open =
        |family, kind, protocol| rustix::net::socket_with(family, kind, flags, Some(protocol));
    let datagram = |address: &SocketAddr, set: &dyn Fn(&OwnedFd) -> nix::Result<()>| {
        let socket = open(family(address.is_ipv6()), SocketType::DGRAM, ipproto::UDP)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        set(&socket)?;
        rustix::net::bind(&socket, address)?;
        Ok::<_, io::Error>(socket)
    };
    let stream = |ipv6| open(family(ipv6), SocketType::STREAM, ipproto::TCP);
    match wanted {
        Socket::Stream { ipv6 } => Ok(stream(ipv6)?),
        Socket::Question { ipv6 } => {
            let socket = stream(ipv6)?;
            setsockopt(&socket, option::Mark, &listening::MARK)?;
            Ok(socket)
        }
        Socket::Datagram(address) => Ok(datagram(&address, &|_| Ok(()))?),
        Socket::Speaking(address) => Ok(datagram(&address, &|socket| {
            setsockopt(socket, option::IpTransparent, &true)
        })?),
        Socket::Intercepting(address) => Ok(datagram(&address, &|socket| {
            setsockopt(socket, option::IpTransparent, &true)?;
            if address.is_ipv6() {
                setsockopt(socket, option::Ipv6OrigDstAddr, &true)
            } else {
                setsockopt(socket, option::Ipv4OrigDstAddr, &true)
            }
        })?),
        Socket::Listener(address) => {
            let socket = open(family(address.is_ipv6()), SocketType::STREAM, ipproto::TCP)?;
            // Connections of a process before this one may still be closing.
            sockopt::set_socket_reuseaddr(&socket, true)?;
            if address.is_ipv6() {
                sockopt::set_ipv6_v6only(&socket, true)?;
            }
            rustix::net::bind(&socket, &address)?;
            rustix::net::listen(&socket, BACKLOG)?;
            Ok(socket)
        }
    }
}
