//! Standard streams: pipes, amounts, and what happens when one side goes away.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::system::{System, eventually};

#[test]
fn a_pipe_goes_through() {
    let output = System::shared().pipe(["run", "-i", "--rm", "busybox", "cat"], b"abc");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"abc"[..]),
        "{output:?}"
    );
}

#[test]
fn without_interactive_there_is_no_input() {
    let output = System::shared().pipe(["run", "--rm", "busybox", "cat"], b"abc");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b""[..]),
        "{output:?}"
    );
}

#[test]
fn a_hundred_megabytes_arrive_intact() {
    let system = System::shared();
    // Not compressible into a pattern that a lost or doubled block would keep.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let data: Vec<u8> = (0..100_000_000 / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect();
    let output = system.pipe(["run", "-i", "--rm", "busybox", "cat"], &data);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.stdout == data,
        "{} bytes came back",
        output.stdout.len()
    );
}

#[test]
fn a_reader_that_goes_away_ends_the_writer() {
    let system = System::shared();
    let mut child = system
        .command(["run", "--rm", "--name", "broken-pipe", "busybox", "yes"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut some = [0; 4096];
    output.read_exact(&mut some).unwrap();
    drop(output);
    // As with any pipe in a container: the process goes on writing to its log until it is stopped.
    system.run(["kill", "broken-pipe"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(137));
}

#[test]
fn input_may_end_while_output_goes_on() {
    let system = System::shared();
    let mut child = system
        .command([
            "run",
            "-i",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "cat; echo after",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"before\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "before\nafter\n");
}

#[test]
fn logs_keep_both_streams_and_follow_until_the_end() {
    let system = System::shared();
    system
        .run([
            "run",
            "-d",
            "--name",
            "logged",
            "busybox",
            "sh",
            "-c",
            "echo one; echo two >&2; sleep 1; echo three",
        ])
        .ok();
    let followed = system.run(["logs", "-f", "logged"]).ok();
    assert_eq!(
        (followed.stdout.as_str(), followed.stderr.as_str()),
        ("one\nthree\n", "two\n")
    );
    let last = system.run(["logs", "-n", "1", "logged"]).ok();
    assert_eq!(last.stdout, "three\n");
    let boot = system.run(["logs", "--boot", "logged"]).ok();
    assert_eq!(boot.code, 0);
    system.run(["delete", "logged"]).ok();
}

#[test]
fn following_ends_when_its_time_has_come() {
    let system = System::shared();
    let words = ["run", "-d", "--name", "flows", "-m", "256M", "-c", "1"];
    let script = "while :; do echo flow; sleep 0.1; done";
    let process = ["busybox", "sh", "-c", script];
    system.run(words.iter().chain(&process)).ok();
    system.sleeper("silent");
    // Both would be followed for ever.
    for id in ["flows", "silent"] {
        for until in ["1h", "0s"] {
            let flags = ["logs", "-f", "--until", until, id];
            system.run(flags).ok();
        }
        let begun = Instant::now();
        let soon = ["-u", "-d", "1 second", "+%FT%T.%NZ"];
        let date = Command::new("date").args(soon).output();
        let soon = String::from_utf8(date.unwrap().stdout).unwrap();
        let flags = ["logs", "-f", "--until", soon.trim(), id];
        system.run(flags).ok();
        assert!(begun.elapsed() > Duration::from_millis(900));
        system.run(["delete", "--force", id]).ok();
    }
}

#[test]
fn a_log_is_followed_from_one_run_into_the_next() {
    let system = System::shared();
    let run = |id: &str, policy: &str, script: &str| {
        let words = ["run", "-d", "--name", id, "-m", "256M", "-c", "1"];
        let process = ["--restart", policy, "busybox", "sh", "-c", script];
        system.run(words.iter().chain(&process)).ok();
    };
    run("flaps", "on-failure:2", "echo run; sleep 1; exit 1");
    let flaps = system.spawn(["logs", "-f", "flaps"]);
    run("returns", "no", "echo ready; exec sleep 1000");
    let returns = system.spawn(["logs", "-f", "returns"]);
    eventually("it is followed", || returns.has_output());
    system.run(["restart", "-t", "0", "returns"]).ok();
    eventually("it runs once more", || {
        system.run(["logs", "returns"]).stdout == "ready\nready\n"
    });
    system.run(["stop", "-t", "0", "returns"]).ok();
    assert_eq!(returns.outcome().ok().stdout, "ready\nready\n");
    assert_eq!(flaps.outcome().ok().stdout, "run\nrun\nrun\n");
    system.run(["delete", "returns", "flaps"]).ok();
}

#[test]
fn logs_keep_what_earlier_runs_printed() {
    let system = System::shared();
    let words = ["run", "--name", "again", "-m", "256M", "-c", "1"];
    let script = "echo x >> /runs; echo run $(wc -l < /runs); echo end >&2";
    let process = ["busybox", "sh", "-c", script];
    system.run(words.iter().chain(&process)).ok();
    let date = Command::new("date").args(["-u", "+%FT%T.%NZ"]).output();
    let between = String::from_utf8(date.unwrap().stdout).unwrap();
    // What a helper leaves that is killed in the middle of a record.
    let log = system.bundle("again").join("stdio.log");
    let mut file = std::fs::File::options().append(true).open(log).unwrap();
    file.write_all(b"2026-01-01T00:00:00Z stdout F torn")
        .unwrap();
    system.run(["start", "-a", "again"]).ok();
    let logs = |flags: &[&str]| {
        let words = ["logs", "again"];
        let shown = system.run(words.iter().chain(flags)).ok();
        (shown.stdout, shown.stderr)
    };
    let text = |stdout: &str, stderr: &str| (stdout.to_owned(), stderr.to_owned());
    assert_eq!(logs(&[]), text("run 1\ntorn\nrun 2\n", "end\nend\n"));
    assert_eq!(logs(&["-n", "3"]), text("torn\nrun 2\n", "end\n"));
    assert_eq!(logs(&["--since", between.trim()]), text("run 2\n", "end\n"));
    system.run(["delete", "again"]).ok();
}

#[test]
fn an_input_that_is_kept_open_waits_for_clients() {
    let system = System::shared();
    let shape = ["-m", "256M", "-c", "1"];
    let run = ["run", "-d", "-i", "--name", "open"].into_iter();
    system.run(run.chain(shape).chain(["busybox", "cat"])).ok();
    for said in ["first\n", "second\n"] {
        let mut client = system
            .command(["attach", "open"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = client.stdin.take().unwrap();
        input.write_all(said.as_bytes()).unwrap();
        eventually("it has read it", || {
            system.run(["logs", "open"]).stdout.ends_with(said)
        });
        // The end of what a client has is not the end of the input.
        drop(input);
        let _ = client.kill();
        client.wait().unwrap();
    }
    assert_eq!(system.state("open"), "running");
    system.run(["delete", "--force", "open"]).ok();
}
