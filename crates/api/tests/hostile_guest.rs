//! A guest that says on its channel whatever HTTP/2 and gRPC can be abused with: the host's memory stays bounded, and its
//! other tasks go on. A process of its own, as its memory is measured.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use container_api::guest::StatisticsRequest;
use container_api::guest_channel::Guest;
use container_api::streams::StandardStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// How long each guest has.
const SPAN: Duration = Duration::from_millis(300);
/// How long others may have to wait for their turns on a busy host.
const PATIENCE: Duration = Duration::from_secs(5);
/// KiB that all of them together may take: a helper has 32 MiB, and uses some 7.
const GROWTH: u64 = 24 << 10;

// Types of frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `:status: 200` of HPACK's static table.
const OK: u8 = 0x88;

/// The streams of the host's first two requests.
const STREAMS: [u32; 2] = [1, 3];

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header of HPACK that is in no table.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(name.len()).unwrap()];
    bytes.extend(name.as_bytes());
    bytes.push(u8::try_from(value.len()).unwrap());
    bytes.extend(value.as_bytes());
    bytes
}

/// Both requests are answered, with bodies to follow.
fn answered() -> Vec<u8> {
    let mut headers = vec![OK];
    headers.extend(header("content-type", "application/grpc"));
    STREAMS
        .map(|stream| frame(HEADERS, END_HEADERS, stream, &headers))
        .concat()
}

/// What a guest says once, and then again and again.
struct Script {
    name: &'static str,
    once: Vec<u8>,
    again: Vec<u8>,
}

fn script(name: &'static str, once: Vec<u8>, again: Vec<u8>) -> Script {
    Script { name, once, again }
}

fn scripts() -> Vec<Script> {
    let none = Vec::new;
    let on_both = |kind, flags, payload: &[u8]| {
        STREAMS
            .map(|stream| frame(kind, flags, stream, payload))
            .concat()
    };
    let many = |frame: Vec<u8>| frame.repeat(1000);
    let mut bomb = vec![OK];
    // A long header goes into the dynamic table, and is then named by one byte a thousand times.
    bomb.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    bomb.extend([b'y'; 4000]);
    bomb.extend([0xbe; 1000]);
    let noise: Vec<u8> = (0..1_u32 << 16)
        .map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    let varints = [0xff; 64];
    let mut message = vec![0, 0, 0, 0, 64];
    message.extend(varints);
    let mut large = vec![0, 0xff, 0xff, 0xff, 0xff];
    large.extend([0; 1000]);
    vec![
        script("silence", none(), none()),
        script("noise", none(), noise),
        script(
            "half a frame",
            frame(PING, 0, 0, &[0; 8])[..5].to_vec(),
            none(),
        ),
        script(
            "giant frame",
            vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1],
            vec![0; 1 << 16],
        ),
        script("settings", none(), many(frame(SETTINGS, 0, 0, &[]))),
        script(
            "settings that change",
            none(),
            many(
                [
                    frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
                    frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]),
                    frame(SETTINGS, 0, 0, &[0, 1, 0xff, 0xff, 0xff, 0xff]),
                ]
                .concat(),
            ),
        ),
        script("acknowledgements", none(), many(frame(SETTINGS, 1, 0, &[]))),
        script("pings", none(), many(frame(PING, 0, 0, &[0; 8]))),
        script("pongs", none(), many(frame(PING, 1, 0, &[0; 8]))),
        script(
            "resets",
            none(),
            many(on_both(RST_STREAM, 0, &[0, 0, 0, 8])),
        ),
        script(
            "priorities",
            none(),
            many(on_both(PRIORITY, 0, &[0, 0, 0, 0, 1])),
        ),
        script(
            "windows",
            none(),
            many(frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ),
        script(
            "giant windows",
            none(),
            many(on_both(WINDOW_UPDATE, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ),
        script(
            "promises",
            none(),
            many(frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, OK])),
        ),
        script(
            "farewells",
            none(),
            many(frame(GOAWAY, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
        ),
        script(
            "unknown frames",
            none(),
            frame(0x99, 0, 0, &[0; 16 << 10]).repeat(4),
        ),
        script(
            "continuations",
            frame(HEADERS, 0, 1, &[OK]),
            many(frame(CONTINUATION, 0, 1, &header("a", "b"))),
        ),
        script(
            "empty continuations",
            frame(HEADERS, 0, 1, &[OK]),
            many(frame(CONTINUATION, 0, 1, &[])),
        ),
        script(
            "a header bomb",
            none(),
            on_both(HEADERS, END_HEADERS, &bomb),
        ),
        script(
            "informational answers",
            none(),
            many(on_both(HEADERS, END_HEADERS, &[8, 3, b'1', b'0', b'3'])),
        ),
        script(
            "streams of its own",
            none(),
            many(frame(HEADERS, END_HEADERS, 2, &[OK])),
        ),
        script(
            "an endless body of bytes",
            answered(),
            many(on_both(DATA, 0, b"x")),
        ),
        script(
            "an endless body of nothing",
            answered(),
            many(on_both(DATA, 0, b"")),
        ),
        script(
            "an endless body",
            answered(),
            on_both(DATA, 0, &vec![0; 64 << 10]),
        ),
        script("padding", answered(), many(on_both(DATA, 8, &[200; 201]))),
        script(
            "trailers again and again",
            answered(),
            many(on_both(
                HEADERS,
                END_HEADERS | END_STREAM,
                &header("grpc-status", "0"),
            )),
        ),
        script("a message of 4 GiB", answered(), on_both(DATA, 0, &large)),
        script(
            "a broken message",
            answered(),
            many(on_both(DATA, 0, &message)),
        ),
        script(
            "a message that is compressed",
            answered(),
            on_both(DATA, 0, &[1, 0, 0, 0, 1, 0]),
        ),
    ]
}

/// The most memory that this process had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap()
}

/// A guest that follows `script`, and reads what it is told.
async fn play(script: Script, channel: UnixStream) {
    let (mut reader, mut writer) = channel.into_split();
    let reading = async move {
        let mut buffer = vec![0; 64 << 10];
        while !matches!(reader.read(&mut buffer).await, Ok(0) | Err(_)) {}
    };
    let writing = async move {
        writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        // The host's requests come first.
        tokio::time::sleep(Duration::from_millis(20)).await;
        writer.write_all(&script.once).await?;
        if script.again.is_empty() {
            std::future::pending::<()>().await;
        }
        loop {
            writer.write_all(&script.again).await?;
        }
        #[expect(unreachable_code, reason = "it tells the type")]
        Ok::<_, std::io::Error>(())
    };
    // Its end is the host's giving up.
    let _ = tokio::join!(reading, writing);
}

#[tokio::test]
async fn a_hostile_guest_takes_neither_memory_nor_others_time() {
    let ticks = Arc::new(AtomicU32::new(0));
    let ticking = ticks.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ticking.fetch_add(1, Ordering::Relaxed);
        }
    });
    let begun = Instant::now();
    let before = peak();
    for script in scripts() {
        let name = script.name;
        let (ours, theirs) = UnixStream::pair().unwrap();
        let playing = tokio::spawn(play(script, theirs));
        let guest = Guest::connect(ours).await.unwrap();
        let seen = ticks.load(Ordering::Relaxed);
        let mut calls = guest.calls();
        let called = calls.statistics(StatisticsRequest {});
        // A client that reads nothing: the output is asked for, and then stays where it is.
        let held = async {
            let output = guest.output(StandardStream::Stdout, "x").await;
            tokio::time::sleep(SPAN).await;
            drop(output);
        };
        let (_, _) = tokio::join!(
            tokio::time::timeout(SPAN, called),
            tokio::time::timeout(SPAN, held)
        );
        // A busy host's processor is shared with others: it goes on until they have had their turns.
        let turns = async {
            while ticks.load(Ordering::Relaxed) <= seen + 10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let had = tokio::time::timeout(PATIENCE, turns).await;
        assert!(had.is_ok(), "{name} keeps others waiting");
        playing.abort();
        let grown = peak() - before;
        assert!(grown < GROWTH, "{name}: {grown} KiB");
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}
