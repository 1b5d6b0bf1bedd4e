//! Sends a context: first a `Stat` of each file, then the bytes of the files that the builder asks for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bollard_buildkit_proto::fsutil::types::Packet;
use bollard_buildkit_proto::fsutil::types::packet::PacketType;
use container_api::Chain;
use rustix::fs::OFlags;
use tokio::sync::mpsc;
use tokio_stream::{Stream, StreamExt as _};
use tonic::Status;

use super::asked::{Asked, asked};
use super::filter::{Filter, Wanted, open_beneath};
use super::spool::Spool;
use super::walk::{lock, walk};
use super::{Context, ContextError};

/// Bytes of a file in one packet.
const CHUNK: usize = 128 << 10;
/// Files that are announced in one message: a message for each file would cost more than its content.
const TOLD: usize = 256;
/// How long the announcement of a file waits for others to go with it.
const PATIENCE: Duration = Duration::from_millis(20);

/// Packets that are sent together, or why there are no more.
pub type Batch = Result<Vec<Packet>, Status>;

/// Answers the builder's `packets` through `out`, until it has all it wants.
///
/// # Errors
/// See [`ContextError`]. The builder has been told.
pub async fn send(
    context: Context,
    wanted: Wanted,
    packets: impl Stream<Item = Result<Packet, Status>> + Unpin,
    out: mpsc::Sender<Batch>,
) -> Result<(), ContextError> {
    let sent = exchange(context, wanted, packets, &out).await;
    if let Err(error) = &sent {
        let words = Chain(error).to_string().into_bytes();
        // Who has gone away misses it.
        let _ = out
            .send(Ok(vec![packet(PacketType::PacketErr, words)]))
            .await;
    }
    sent
}

async fn exchange(
    context: Context,
    wanted: Wanted,
    mut packets: impl Stream<Item = Result<Packet, Status>> + Unpin,
    out: &mpsc::Sender<Batch>,
) -> Result<(), ContextError> {
    let spool = Arc::new(Mutex::new(Spool::new().map_err(ContextError::Spool)?));
    let (asking, asked) = asked();
    let walking = {
        let (context, spool, out) = (context.clone(), Arc::clone(&spool), out.clone());
        tokio::task::spawn_blocking(move || tell_all(&context, &wanted, &spool, &out))
    };
    let sending = {
        let (spool, out) = (Arc::clone(&spool), out.clone());
        tokio::task::spawn_blocking(move || send_files(&context, &spool, &asked, &out))
    };
    let reading = async move {
        while let Some(packet) = packets.next().await {
            let packet = packet.map_err(|_| ContextError::Gone)?;
            match packet.r#type() {
                PacketType::PacketReq => {
                    if u64::from(packet.id) >= lock(&spool).count() {
                        return Err(ContextError::Number(packet.id));
                    }
                    asking.want(packet.id);
                }
                PacketType::PacketErr => {
                    let words = String::from_utf8_lossy(&packet.data).into_owned();
                    return Err(ContextError::Refused(words));
                }
                PacketType::PacketFin => {
                    let fin = packet_of(PacketType::PacketFin);
                    return out
                        .send(Ok(vec![fin]))
                        .await
                        .map_err(|_| ContextError::Gone);
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
    out: &mpsc::Sender<Batch>,
) -> Result<(), ContextError> {
    let filter = Filter::new(context.root(), wanted)?;
    let mut waiting = Vec::with_capacity(TOLD);
    let mut last = Instant::now();
    walk(context, &filter, spool, |stat| {
        waiting.push(Packet {
            r#type: PacketType::PacketStat.into(),
            stat: Some(stat),
            ..Packet::default()
        });
        if waiting.len() < TOLD && last.elapsed() < PATIENCE {
            return true;
        }
        let batch = std::mem::replace(&mut waiting, Vec::with_capacity(TOLD));
        let is_taken = out.blocking_send(Ok(batch)).is_ok();
        last = Instant::now();
        is_taken
    })?;
    // One that tells of nothing is the end.
    waiting.push(packet_of(PacketType::PacketStat));
    out.blocking_send(Ok(waiting))
        .map_err(|_| ContextError::Gone)
}

fn send_files(
    context: &Context,
    spool: &Mutex<Spool>,
    asked: &Asked,
    out: &mpsc::Sender<Batch>,
) -> Result<(), ContextError> {
    while let Some(number) = asked.next() {
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
    out: &mpsc::Sender<Batch>,
) -> Result<(), ContextError> {
    let data = |data: Vec<u8>| {
        let packet = Packet {
            id: number,
            ..packet(PacketType::PacketData, data)
        };
        out.blocking_send(Ok(vec![packet]))
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

#[cfg(test)]
mod tests {
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    /// What is sent of `directory` to a builder that asks for `asked` and is done then.
    async fn sent(directory: &Path, asked: &[u32]) -> (Result<(), ContextError>, Vec<Vec<Packet>>) {
        let (out, mut batches) = mpsc::channel(64);
        let (ask, packets) = mpsc::channel(64);
        let context = Context::open(directory).unwrap();
        let packets = ReceiverStream::new(packets);
        let sending = tokio::spawn(send(context, Wanted::default(), packets, out));
        let mut got = Vec::new();
        let mut left = asked.len();
        while let Some(batch) = batches.recv().await {
            let batch = batch.unwrap();
            let is_told = batch
                .iter()
                .any(|packet| packet.r#type() == PacketType::PacketStat && packet.stat.is_none());
            let ends = |packet: &&Packet| {
                packet.r#type() == PacketType::PacketData && packet.data.is_empty()
            };
            left -= batch.iter().filter(ends).count();
            if is_told {
                for number in asked {
                    let request = Packet {
                        id: *number,
                        ..packet_of(PacketType::PacketReq)
                    };
                    ask.send(Ok(request)).await.unwrap();
                }
            }
            got.push(batch);
            if left == 0 && (is_told || !asked.is_empty()) {
                // If the sender has failed, there is no receiver.
                let _ = ask.send(Ok(packet_of(PacketType::PacketFin))).await;
            }
        }
        (sending.await.unwrap(), got)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_context_is_told_of_in_few_batches() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..600 {
            std::fs::write(directory.path().join(format!("f{number:03}")), "x").unwrap();
        }
        let (result, batches) = sent(directory.path(), &[0, 599]).await;
        result.unwrap();
        let told = batches
            .iter()
            .flatten()
            .filter_map(|packet| packet.stat.as_ref());
        assert_eq!(told.count(), 600);
        let telling = |batch: &&Vec<Packet>| batch.iter().any(|packet| packet.stat.is_some());
        // Three, and some more on a host that is slow to look at files.
        let number = batches.iter().filter(telling).count();
        assert!((3..100).contains(&number), "{number}");
        let bytes = batches
            .iter()
            .flatten()
            .filter(|packet| !packet.data.is_empty());
        let bytes: Vec<_> = bytes
            .map(|packet| (packet.id, packet.data.clone()))
            .collect();
        assert_eq!(bytes, [(0, b"x".to_vec()), (599, b"x".to_vec())]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_builder_that_asks_for_much_is_not_kept_waiting() {
        let directory = tempfile::tempdir().unwrap();
        for number in 0..2_000 {
            std::fs::write(directory.path().join(number.to_string()), "x").unwrap();
        }
        // After the last announcement there is no receiver any more.
        let (out, mut batches) = mpsc::channel(1);
        let (ask, packets) = mpsc::channel(1);
        let context = Context::open(directory.path()).unwrap();
        let packets = ReceiverStream::new(packets);
        let sending = tokio::spawn(send(context, Wanted::default(), packets, out));
        let mut told = 0;
        while told < 2_000 {
            let batch = batches.recv().await.unwrap().unwrap();
            told += batch.iter().filter(|packet| packet.stat.is_some()).count();
        }
        let asking = async {
            for id in (0..2_000).rev() {
                let request = Packet {
                    id,
                    ..packet_of(PacketType::PacketReq)
                };
                ask.send(Ok(request)).await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), asking)
            .await
            .unwrap();
        drop((ask, batches));
        assert!(matches!(sending.await.unwrap(), Err(ContextError::Gone)));
    }

    #[test]
    fn what_has_changed_since_it_was_told_of_is_named() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("now-a-directory")).unwrap();
        std::os::unix::fs::symlink("x", directory.path().join("now-a-link")).unwrap();
        let context = Context::open(directory.path()).unwrap();
        for path in ["gone", "gone/too", "now-a-directory", "now-a-link"] {
            let (out, _batches) = mpsc::channel(4);
            let error = send_file(&context, 0, path, &out).unwrap_err();
            assert!(
                matches!(&error, ContextError::Changed(named) if named == path),
                "{error}"
            );
        }
    }
}
