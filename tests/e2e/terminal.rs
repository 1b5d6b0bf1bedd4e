//! Terminals: `run -it`, sizes, Ctrl-C, and the user's own terminal afterwards.

use rustix::process::Signal;

use crate::pty::Pty;
use crate::system::{System, kill};

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
    let script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done";
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
