//! Standard streams: pipes, amounts, and what happens when one side goes away.

use std::io::{BufRead, BufReader, Read, Write};
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

/// Reads a line of `words` and goes away; gives the exit code.
fn head(system: &System, words: &[&str]) -> Option<i32> {
    let mut command = system.command(words);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert!(line.ends_with('\n'), "{words:?}: {line:?}");
    drop(output);
    child.wait().unwrap().code()
}

#[test]
fn a_reader_that_goes_away_ends_the_writer() {
    let system = System::shared();
    let run = [
        "run",
        "--rm",
        "--name",
        "broken-pipe",
        "-m",
        "256M",
        "-c",
        "1",
    ];
    let begun = Instant::now();
    for terminal in [&[][..], &["-t"]] {
        let words = [&run[..], terminal, &["busybox", "yes"]].concat();
        assert_eq!(head(&system, &words), Some(141), "{words:?}");
        system.run(["inspect", "broken-pipe"]).code(1);
    }
    system.sleeper("pipes");
    let yes = [
        // It does not care, and is ended.
        "trap '' PIPE; while :; do echo y 2>/dev/null; sleep 0.1; done",
        "yes",
    ];
    for script in yes {
        let words = ["exec", "pipes", "sh", "-c", script];
        assert_eq!(head(&system, &words), Some(141), "{script}");
    }
    let left = system.run(["exec", "pipes", "ps", "-o", "args"]).ok();
    assert!(
        !left.stdout.contains("yes") && !left.stdout.contains("trap"),
        "{left:?}"
    );
    // One stream after the other: who still reads gets everything.
    let script = "for i in 1 2 3; do echo out; sleep 0.1; done; (yes >&2); echo end $?";
    let words = ["exec", "pipes", "sh", "-c", script];
    let mut command = system.command(words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    errors.read_exact(&mut [0; 2]).unwrap();
    drop(errors);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "out\nout\nout\nend 141\n"
    );
    // A pipe that nobody reads is noticed by who writes to it.
    let mut command = system.command(["exec", "pipes", "true"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(command.stdout(writer).status().unwrap().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(60));
    system.run(["delete", "--force", "pipes"]).ok();
}

#[test]
fn whoever_looks_on_ends_with_its_reader_and_the_process_does_not() {
    let system = System::shared();
    let script = "while :; do echo x; sleep 0.2; done";
    let run = ["run", "-d", "--name", "looked-at", "-m", "256M", "-c", "1"];
    system
        .run(run.iter().chain(&["busybox", "sh", "-c", script]))
        .ok();
    system.sleeper("quiet");
    for words in [&["attach", "looked-at"][..], &["logs", "-f", "looked-at"]] {
        assert_eq!(head(&system, words), Some(141), "{words:?}");
    }
    // Nothing is written that would fail.
    for words in [
        &["events"][..],
        &["logs", "-f", "quiet"],
        &["attach", "quiet"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = system.command(words);
        let mut child = command.stdin(Stdio::null()).stdout(writer).spawn().unwrap();
        drop(command);
        drop(reader);
        assert_eq!(child.wait().unwrap().code(), Some(141), "{words:?}");
    }
    for id in ["looked-at", "quiet"] {
        assert_eq!(system.state(id), "running");
        system.run(["delete", "--force", id]).ok();
    }
}

#[test]
fn what_cannot_be_written_or_read_is_an_error() {
    let system = System::shared();
    system.sleeper("full");
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    let exec = ["exec", "full", "sh", "-c"];
    let script = [&exec[..], &["echo x; echo y >&2"]].concat();
    let words = [
        &script[..],
        &[
            "run",
            "--rm",
            "-m",
            "256M",
            "-c",
            "1",
            "busybox",
            "dd",
            "if=/dev/zero",
            "bs=64k",
            "count=64",
        ],
        &["list"],
        &["top", "full"],
        &["stats", "--no-stream", "--format", "json", "full"],
        &["inspect", "full"],
        &["--help"],
    ];
    for words in words {
        let mut command = system.command(words);
        let output = command
            .stdin(Stdio::null())
            .stdout(full())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("standard output: No space left"),
            "{words:?}: {said}"
        );
    }
    let mut command = system.command(&script);
    let output = command
        .stdin(Stdio::null())
        .stderr(full())
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b"x\n"[..])
    );
    // A directory is no input; the process is not left waiting for it.
    let mut command = system.command(["exec", "-i", "full", "sh", "-c", "cat; echo end"]);
    let directory = std::fs::File::open("/").unwrap();
    let output = command.stdin(directory).output().unwrap();
    assert_eq!(
        (output.status.code(), &output.stdout[..]),
        (Some(1), &b"end\n"[..])
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("cannot read standard input: Is a directory"),
        "{said}"
    );
    system.run(["delete", "--force", "full"]).ok();
}

#[test]
fn ends_by_force_are_told_as_such() {
    let system = System::shared();
    let run = ["run", "--name", "forced", "-m", "256M", "-c", "1"];
    let script = "while :; do echo ready; sleep 0.1; done";
    let process = ["busybox", "sh", "-c", script];
    let first = system.spawn(run.iter().chain(&process));
    eventually("it runs", || first.has_output());
    let others = [
        system.spawn(["wait", "forced"]),
        system.spawn(["attach", "forced"]),
        system.spawn(["exec", "forced", "sh", "-c", "echo ready; exec sleep 1000"]),
    ];
    eventually("all look at it", || {
        others[1].has_output() && others[2].has_output()
    });
    system.run(["delete", "--force", "forced"]).ok();
    let [wait, attach, exec] = others;
    assert_eq!(wait.outcome().ok().stdout, "137\n");
    for client in [first, attach, exec] {
        let outcome = client.outcome().code(137);
        assert_eq!(outcome.stderr, "");
    }
    // The first process's end is that of the others.
    let run = [
        "run", "-d", "--rm", "--name", "forced", "-m", "256M", "-c", "1",
    ];
    system
        .run(run.iter().chain(&["busybox", "sleep", "1000"]))
        .ok();
    let exec = system.spawn(["exec", "forced", "sh", "-c", "echo ready; exec sleep 1000"]);
    eventually("it runs", || exec.has_output());
    system.run(["stop", "-t", "0", "forced"]).ok();
    assert_eq!(exec.outcome().code(137).stderr, "");
}

#[test]
fn nothing_runs_whose_id_cannot_be_told() {
    let system = System::shared();
    let file = system.scratch().join("no-id");
    let script = format!(
        "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\" --cidfile {} --name untold busybox sleep 1000",
        file.display()
    );
    for words in [&["run", "-d"][..], &["run"], &["create"]] {
        let mut command = Command::new("sh");
        command
            .args(["-c", &script])
            .arg(system.prefix().join("bin/container"));
        system.environment(&mut command);
        let output = command.args(words).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("no-id"), "{said}");
        system.run(["inspect", "untold"]).code(1);
        assert!(!file.exists());
    }
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let words = [
        "run", "-d", "--name", "told", "-m", "256M", "-c", "1", "busybox", "sleep", "1000",
    ];
    let output = system.command(words).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("container told runs"), "{said}");
    assert_eq!(system.state("told"), "running");
    system.run(["delete", "--force", "told"]).ok();
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
