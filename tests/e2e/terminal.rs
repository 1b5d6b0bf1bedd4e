//! Terminals: `run -it`, sizes, Ctrl-C, and the user's own terminal afterwards.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::pty::Pty;
use crate::system::{System, eventually, kill};

#[test]
fn a_shell_on_a_terminal() {
    let system = System::shared();
    let mut pty = Pty::spawn(
        system.command(["run", "-it", "--rm", "busybox", "sh"]),
        33,
        101,
    );
    pty.expect("/ # ");
    pty.send("tty; stty size; echo $TERM\n");
    pty.expect("/dev/pts/0");
    pty.expect("33 101");
    pty.expect("xterm");
    pty.resize(44, 55);
    kill(pty.pid(), Signal::WINCH);
    // The size arrives after the signal: ask until it is there.
    pty.send("while [ \"$(stty size)\" != '44 55' ]; do :; done; echo resized\n");
    pty.expect("\nresized");
    // Said by the job itself: an interrupt that comes before it has the terminal would be lost.
    pty.send("sh -c 'echo asleep; exec sleep 1000'\n");
    pty.expect("\r\nasleep\r\n");
    pty.send("\x03");
    pty.expect("/ # ");
    pty.send("exit 7\n");
    let (status, _) = pty.finish();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn a_signal_reaches_the_process_where_there_is_no_terminal() {
    let system = System::shared();
    let script = "trap 'echo alarm' ALRM; trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
    let mut child = system
        .command(["run", "--rm", "busybox", "sh", "-c", script])
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill(child.id(), Signal::ALARM);
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "alarm\n");
    kill(child.id(), Signal::INT);
    line.clear();
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert_eq!(line, "caught\n");
    assert_eq!(child.wait().unwrap().code(), Some(5));
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let system = System::shared();
    system.sleeper("exec-terminal");
    let mut pty = Pty::spawn(
        system.command(["exec", "-it", "exec-terminal", "sh"]),
        24,
        80,
    );
    pty.expect("/ # ");
    pty.send("tty; exit 3\n");
    pty.expect("/dev/pts/");
    assert_eq!(pty.finish().0.code(), Some(3));
    system.run(["delete", "--force", "exec-terminal"]).ok();
}

#[test]
fn a_terminal_is_set_up_before_its_process() {
    let system = System::shared();
    system.sleeper("set-up");
    let run = ["run", "-it", "--rm", "-m", "256M", "-c", "1", "busybox"];
    let exec = ["exec", "-it", "set-up"];
    let attached = |words: &[&str], script: &str| {
        let words = [words, &["sh", "-c", script]].concat();
        let mut pty = Pty::spawn(system.command(words), 41, 123);
        pty.expect("hi");
        let (status, rest) = pty.finish();
        assert_eq!(status.code(), Some(0));
        rest
    };
    for _ in 0..4 {
        // Neither the size nor the ends of lines are another terminal's.
        assert_eq!(attached(&exec, "echo hi $(stty size)"), " 41 123\r\n");
    }
    assert_eq!(attached(&run, "echo hi $(stty size)"), " 41 123\r\n");
    // Also where nobody is attached yet.
    let run = [
        "run",
        "-dt",
        "--name",
        "unattended",
        "-m",
        "256M",
        "-c",
        "1",
        "busybox",
    ];
    let words = [&run[..], &["stty", "size"]].concat();
    let pty = Pty::spawn(system.command(words), 41, 123);
    assert_eq!(pty.finish().0.code(), Some(0));
    system.run(["wait", "unattended"]).ok();
    assert_eq!(system.run(["logs", "unattended"]).ok().stdout, "41 123\r\n");
    // Closed for a moment, it is still there; its end is the process's.
    let script = "exec 0<&- 1>&- 2>&-; sleep 0.3; echo hi >/dev/console";
    let closed = [
        "run", "-t", "--rm", "-m", "256M", "-c", "1", "busybox", "sh", "-c", script,
    ];
    assert_eq!(system.run(closed).ok().stdout, "hi\r\n");
    system
        .run(["delete", "--force", "set-up", "unattended"])
        .ok();
}

#[test]
fn the_end_of_input_ends_what_reads_a_terminal() {
    let system = System::shared();
    system.sleeper("ended");
    let exec = ["exec", "-it", "ended"];
    let typed = |words: &[&str], input: &str| {
        let begun = Instant::now();
        let output = system.pipe([&exec[..], words].concat(), input.as_bytes());
        assert!(begun.elapsed() < Duration::from_secs(20));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    // The shell edits its lines, and is busy when the input ends.
    let shell = typed(&["sh"], "sleep 0.3\necho aha\n");
    assert!(shell.contains("\r\naha\r\n"), "{shell:?}");
    let cat = typed(&["cat"], "aha");
    assert!(cat.ends_with("aha"), "{cat:?}");
    // Each read ends, not only the first.
    let twice = typed(&["sh", "-c", "cat; cat; echo both"], "");
    assert!(twice.ends_with("both\r\n"), "{twice:?}");
    system.run(["delete", "--force", "ended"]).ok();
}

#[test]
fn a_terminal_that_closes_hangs_up_what_ran_on_it() {
    let system = System::shared();
    system.sleeper("hung-up");
    let shown = || {
        system
            .run(["exec", "hung-up", "ps", "-o", "args"])
            .ok()
            .stdout
    };
    for signal in [None, Some(Signal::HUP)] {
        let mut pty = Pty::spawn(system.command(["exec", "-it", "hung-up", "sh"]), 24, 80);
        pty.expect("/ # ");
        pty.send("sleep 4321\n");
        eventually("it runs", || shown().contains("sleep 4321"));
        assert!(pty.is_raw());
        let status = match signal {
            None => pty.hang_up(),
            Some(signal) => {
                kill(pty.pid(), signal);
                let (status, _) = pty.finish();
                status
            }
        };
        assert_eq!(status.code(), Some(129));
        eventually("it has ended", || !shown().contains("4321"));
    }
    // A client that was killed takes nothing along: what it started goes on.
    let mut pty = Pty::spawn(system.command(["exec", "-it", "hung-up", "sh"]), 24, 80);
    pty.expect("/ # ");
    pty.send("sleep 4322\n");
    eventually("it runs", || shown().contains("sleep 4322"));
    kill(pty.pid(), Signal::KILL);
    pty.finish();
    assert!(shown().contains("sleep 4322"));
    system.run(["delete", "--force", "hung-up"]).ok();
}

#[test]
fn a_client_that_is_stopped_shows_nothing_until_it_goes_on() {
    let system = System::shared();
    system.sleeper("stops");
    let script = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done";
    let mut command = system.command(["exec", "stops", "sh", "-c", script]);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = OwnedFd::from(child.stdout.take().unwrap());
    let waiting = || rustix::io::ioctl_fionread(&output).unwrap();
    let mut lines = BufReader::new(File::from(output.try_clone().unwrap()));
    let mut expect = |number: u32| {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{number}\n"));
    };
    (1..5).for_each(&mut expect);
    kill(child.id(), Signal::TSTP);
    let state = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        stat.rsplit(')').next().unwrap().trim().chars().next()
    };
    eventually("it is stopped", || state() == Some('T'));
    // What was under way has come by now.
    std::thread::sleep(Duration::from_millis(100));
    let before = waiting();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(waiting(), before);
    kill(child.id(), Signal::CONT);
    (5..20).for_each(&mut expect);
    kill(child.id(), Signal::TERM);
    child.wait().unwrap();
    system.run(["delete", "--force", "stops"]).ok();
}
