//! Guests that were taken over: whatever they say on their channel, the host goes on.

use std::time::{Duration, Instant};

use crate::init_image::{import, scripted};
use crate::system::System;

/// How soon a hostile machine must be gone: a second, and one for a busy host.
const PROMPT: Duration = Duration::from_secs(2);
/// KiB that a helper may ever have.
const HELPER_MAX: u64 = 32 << 10;

/// Start of every connection: the settings of a server that has none (RFC 9113, section 3.4).
const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING: u8 = 6;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;
/// The host's requests, in the order in which it makes them.
const START: u8 = 1;
const STDOUT: u8 = 3;
const STDERR: u8 = 5;
const WAIT: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [0, length[0], length[1], kind, flags, 0, 0, 0, stream];
    [&head, payload].concat()
}

/// A header of HPACK that is in no table.
fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        [&[length], text.as_bytes()].concat()
    };
    [vec![0], text(name), text(value)].concat()
}

/// The head of an answer.
fn answer(stream: u8) -> Vec<u8> {
    let headers = [vec![0x88], header("content-type", "application/grpc")].concat();
    frame(HEADERS, END_HEADERS, stream, &headers)
}

/// A whole answer with the protobuf `message`.
fn reply(stream: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let body = [&[0], &length[..], message].concat();
    let trailers = header("grpc-status", "0");
    [
        answer(stream),
        frame(DATA, 0, stream, &body),
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers),
    ]
    .concat()
}

/// Head of the second field of `StartReply` (`proto/guest.proto`), a message.
const FIELD_TIMELINE: u8 = 0x12;

/// A `StartReply` whose moments, fields 1 to 5, are as large as they can be.
fn started() -> Vec<u8> {
    let giant = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
    let moments: Vec<u8> = (1..=5_u8)
        .flat_map(|field| [&[field << 3], &giant[..]].concat())
        .collect();
    let length = u8::try_from(moments.len()).unwrap();
    reply(START, &[&[FIELD_TIMELINE, length], &moments[..]].concat())
}

/// Makes an init image `name`: its guest answers the request to start with `first`, says `second` when the container's
/// streams have been asked for, and then `again` for ever.
fn guest(system: &System, name: &str, first: &[u8], second: &[u8], again: &[u8]) {
    let tree = system.scratch().join(name);
    let script = "/bin/busybox mount -t sysfs sysfs /sys
        for port in /sys/class/virtio-ports/*; do
            read -r name <$port/name
            [ \"$name\" != container.guest ] || device=/dev/${port##*/}
        done
        exec 3<>$device
        echo 'CONTAINER-GUEST 1 {\"pid1_ns\":18446744073709551615}' >&3
        # The request to start is longer.
        /bin/busybox head -c 1500 <&3 >/dev/null
        /bin/busybox cat <&3 >/dev/null &
        /bin/busybox cat /first >&3
        /bin/busybox sleep 3
        /bin/busybox cat /second >&3
        while :; do /bin/busybox cat /again >&3 || /bin/busybox sleep 1; done";
    scripted(&tree, script);
    for (name, content) in [("first", first), ("second", second), ("again", again)] {
        std::fs::write(tree.join(name), content).unwrap();
    }
    import(system, &tree, name, &[]);
}

fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let line = line.unwrap().trim().trim_end_matches(" kB");
    line.parse().unwrap()
}

#[test]
fn a_hostile_guest_harms_nobody_and_is_deleted_at_once() {
    let system = System::start();
    let noise: Vec<u8> = (0..1_u32 << 16)
        .map(|number| number.wrapping_mul(2_654_435_761).to_be_bytes()[1])
        .collect();
    guest(&system, "noise", &noise, &noise, &noise);
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(500);
    let output = frame(
        DATA,
        0,
        STDOUT,
        &[b"\x1b[2J\nError: ", &[0x80; 500][..]].concat(),
    );
    let flood = [pings, output.repeat(20)].concat();
    guest(
        &system,
        "flood",
        &[&SETTINGS, &started()[..]].concat(),
        &answer(STDOUT),
        &flood,
    );
    let refusal = [
        vec![0x88],
        header("grpc-status", "5"),
        header("grpc-message", "no%0AError: pay here%1B[2J"),
    ];
    let ended = [0x88];
    let refusal = [
        frame(HEADERS, END_HEADERS | END_STREAM, STDOUT, &ended),
        frame(HEADERS, END_HEADERS | END_STREAM, STDERR, &ended),
        frame(HEADERS, END_HEADERS | END_STREAM, WAIT, &refusal.concat()),
    ]
    .concat();
    guest(
        &system,
        "lies",
        &[&SETTINGS, &started()[..]].concat(),
        &refusal,
        b"",
    );

    system.sleeper("other");
    let run = |name: &str, flags: &[&str]| {
        let words = [
            "run",
            "--name",
            name,
            "--init-image",
            name,
            "-m",
            "256M",
            "-c",
            "1",
        ];
        let words = words.into_iter().chain(flags.iter().copied());
        system.run(words.chain(["busybox", "true"]))
    };
    let outcome = run("noise", &["--rm"]).code(1).says("Error: ");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");

    run("flood", &["-d"]).ok();
    let helper = system.helper("flood").unwrap();
    let log = system.bundle("flood").join("stdio.log");
    crate::system::eventually("it floods", || {
        log.metadata().is_ok_and(|found| found.len() > 16 << 10)
    });
    // Another container, and whoever asks about this one, notice nothing.
    let begun = Instant::now();
    system.run(["exec", "other", "true"]).ok();
    assert_eq!(system.state("flood"), "running");
    assert!(begun.elapsed() < Duration::from_secs(10));
    let shown = system.run(["logs", "-n", "1", "flood"]);
    assert_eq!(shown.code, 0);
    let peak = peak_kib(helper);
    assert!(peak < HELPER_MAX, "the helper had {peak} KiB");
    for (file, limit) in [
        ("runtime.log", 64 << 10),
        ("boot.log", 1 << 20),
        ("timeline.json", 16 << 10),
    ] {
        let length = system.bundle("flood").join(file).metadata().unwrap().len();
        assert!(length <= limit, "{file} has {length} bytes");
    }
    let begun = Instant::now();
    system.run(["delete", "--force", "flood"]).ok();
    assert!(begun.elapsed() < PROMPT, "{:?}", begun.elapsed());

    // What it makes up is not taken for ours.
    let outcome = run("lies", &["--debug"]);
    assert_eq!(outcome.code, 255, "{outcome:?}");
    for line in outcome.stderr.lines() {
        assert!(
            !line.starts_with("Error: pay") && !line.contains("184467"),
            "{outcome:?}"
        );
    }
    assert!(!outcome.stderr.contains('\x1b'), "{outcome:?}");
    let status = &system.inspect("lies")["status"];
    assert!(
        status["reason"]
            .as_str()
            .unwrap()
            .contains("no\\nError: pay here"),
        "{status}"
    );
    system.run(["delete", "--all", "--force"]).ok();
}
