//! Sends a context: first what is told of its files, and then the bytes of those that the builder asks for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::filter::{Filter, Wanted, open_beneath};
use super::spool::Spool;
use super::walk::{lock, walk};
use super::{Context, ContextError};

/// Bytes of a file in one packet.
const CHUNK: usize = 128 << 10;
/// Files that the builder may ask for ahead.
const ASKED: usize = 256;

/// Answers the builder's `packets` through `out`, until it has all it wants.
///
/// # Errors
/// See [`ContextError`]. The builder has been told.
pub async fn send(
    context: Context,
    wanted: Wanted,
    packets: impl Stream<Item = Result<Packet, Status>> + Unpin,
    out: mpsc::Sender<Result<Packet, Status>>,
) -> Result<(), ContextError> {
    let sent = exchange(context, wanted, packets, &out).await;
    if let Err(error) = &sent {
        // Who has gone away misses it.
        let _ = out
            .send(Ok(packet(PacketType::PacketErr, chain(error).into_bytes())))
            .await;
    }
    sent
}

async fn exchange(
    context: Context,
    wanted: Wanted,
    mut packets: impl Stream<Item = Result<Packet, Status>> + Unpin,
    out: &mpsc::Sender<Result<Packet, Status>>,
) -> Result<(), ContextError> {
    let spool = Arc::new(Mutex::new(Spool::new().map_err(ContextError::Spool)?));
    let (ask, asked) = mpsc::channel(ASKED);
    let walking = {
        let (context, spool, out) = (context.clone(), Arc::clone(&spool), out.clone());
        tokio::task::spawn_blocking(move || tell_all(&context, &wanted, &spool, &out))
    };
    let sending = {
        let out = out.clone();
        tokio::task::spawn_blocking(move || send_files(&context, &spool, asked, &out))
    };
    let reading = async move {
        while let Some(packet) = packets.next().await {
            let packet = packet.map_err(|_| ContextError::Gone)?;
            match packet.r#type() {
                PacketType::PacketReq => {
                    // Where nobody takes it, the sender's own failure is told.
                    if ask.send(packet.id).await.is_err() {
                        break;
                    }
                }
                PacketType::PacketErr => {
                    let words = String::from_utf8_lossy(&packet.data).into_owned();
                    return Err(ContextError::Refused(words));
                }
                PacketType::PacketFin => {
                    let fin = packet_of(PacketType::PacketFin);
                    return out.send(Ok(fin)).await.map_err(|_| ContextError::Gone);
                }
                // They are ours to send.
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
        Ok(())
    };
    let walked = async {
        walking.await.map_err(|_| ContextError::Gone)??;
        Ok::<_, ContextError>(())
    };
    let files = async {
        sending.await.map_err(|_| ContextError::Gone)??;
        Ok::<_, ContextError>(())
    };
    // The builder's last word ends it all, as nothing can be asked for any more; a failure on this side does, too.
    tokio::try_join!(reading, walked, files)?;
    Ok(())
}

fn tell_all(
    context: &Context,
    wanted: &Wanted,
    spool: &Mutex<Spool>,
    out: &mpsc::Sender<Result<Packet, Status>>,
) -> Result<(), ContextError> {
    let filter = Filter::new(context.root(), wanted)?;
    walk(context, &filter, spool, |stat| {
        let packet = Packet {
            r#type: PacketType::PacketStat.into(),
            stat: Some(stat),
            ..Packet::default()
        };
        out.blocking_send(Ok(packet)).is_ok()
    })?;
    // One that tells of nothing is the end.
    let end = packet_of(PacketType::PacketStat);
    out.blocking_send(Ok(end)).map_err(|_| ContextError::Gone)
}

fn send_files(
    context: &Context,
    spool: &Mutex<Spool>,
    mut asked: mpsc::Receiver<u32>,
    out: &mpsc::Sender<Result<Packet, Status>>,
) -> Result<(), ContextError> {
    while let Some(number) = asked.blocking_recv() {
        let path = lock(spool)
            .get(u64::from(number))
            .map_err(ContextError::Spool)?
            .filter(|path| !path.is_empty())
            .ok_or(ContextError::Number(number))?;
        send_file(context, number, &path, out)?;
    }
    Ok(())
}

fn send_file(
    context: &Context,
    number: u32,
    path: &str,
    out: &mpsc::Sender<Result<Packet, Status>>,
) -> Result<(), ContextError> {
    let data = |data: Vec<u8>| {
        let packet = Packet {
            id: number,
            ..packet(PacketType::PacketData, data)
        };
        out.blocking_send(Ok(packet))
            .map_err(|_| ContextError::Gone)
    };
    let opened = open_beneath(context.root(), Path::new(path), OFlags::empty());
    let mut file = match opened {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {
            return Err(ContextError::Changed(path.to_owned()));
        }
        // A socket, which has no bytes.
        Err(rustix::io::Errno::NXIO) => return data(Vec::new()),
        Err(error) => return Err(ContextError::read(path, error)),
    };
    let read = |error| ContextError::read(path, error);
    let metadata = file.metadata().map_err(read)?;
    if !metadata.is_file() {
        return Err(ContextError::Changed(path.to_owned()));
    }
    // A file that grows is sent as long as it was when it was opened: one that is written to for ever has an end, too.
    let mut left = metadata.len();
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut bytes = vec![0; length];
        let got = match file.read(&mut bytes) {
            Ok(0) => return Err(ContextError::Changed(path.to_owned())),
            Ok(got) => got,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read(error)),
        };
        bytes.truncate(got);
        data(bytes)?;
        left -= got as u64;
    }
    data(Vec::new())
}

fn packet_of(kind: PacketType) -> Packet {
    packet(kind, Vec::new())
}

fn packet(kind: PacketType, data: Vec<u8>) -> Packet {
    Packet {
        r#type: kind.into(),
        data,
        ..Packet::default()
    }
}

/// An error and its causes, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
