//! Commands beside the container's life: doctor, attach, pause, rename, top, wait, events, stats.

use rustix::process::Signal;
use serde_json::Value;

use crate::pty::Pty;
use crate::system::{Outcome, System, eventually, kill};

#[test]
fn the_doctor_knows_why_there_is_no_kvm() {
    let system = System::shared();
    let report = system.run(["system", "doctor", "--format", "json"]).ok();
    let checks: Vec<Value> = serde_json::from_str(&report.stdout).unwrap();
    let check = |name: &str| {
        checks
            .iter()
            .find(|check| check["name"] == name)
            .unwrap()
            .clone()
    };
    let accelerator = check("accelerator");
    if accelerator["status"] == "warn" {
        assert!(
            accelerator["detail"].as_str().unwrap().contains("/dev/kvm"),
            "{accelerator}"
        );
        assert!(accelerator["remedy"].is_string());
    }
    assert_eq!(check("kernel")["status"], "ok");
    assert!(check("vmm")["detail"].as_str().unwrap().contains("QEMU"));
}

#[test]
fn the_doctor_fails_where_containers_cannot_start() {
    let system = System::shared();
    let output = system
        .command(["system", "doctor", "--format", "json"])
        .env("PATH", "/nonexistent")
        .output()
        .unwrap();
    let report = Outcome::from(output).code(1);
    let checks: Vec<Value> = serde_json::from_str(&report.stdout).unwrap();
    let vmm = checks.iter().find(|check| check["name"] == "vmm").unwrap();
    assert_eq!(vmm["status"], "fail", "{vmm}");
    assert_eq!(vmm["remedy"], "apt-get install qemu-system-x86", "{vmm}");
}

#[test]
fn paused_processes_wait() {
    let system = System::shared();
    let script = "while :; do date +%s%N > /tmp/now; done";
    system
        .run([
            "run", "-d", "--name", "paused", "busybox", "sh", "-c", script,
        ])
        .ok();
    system.run(["pause", "paused"]).ok();
    assert_eq!(system.state("paused"), "paused");
    system.run(["unpause", "paused"]).ok();
    assert_eq!(system.state("paused"), "running");
    system.run(["exec", "paused", "true"]).ok();
    system.run(["delete", "--force", "paused"]).ok();
}

#[test]
fn renamed_waited_for_and_looked_into() {
    let system = System::shared();
    system
        .run([
            "run",
            "-d",
            "--name",
            "before",
            "busybox",
            "sh",
            "-c",
            "sleep 1000; exit 4",
        ])
        .ok();
    assert!(
        system
            .run(["top", "before"])
            .ok()
            .stdout
            .contains("sleep 1000")
    );
    let stats = system.sample("before");
    let bytes = |name: &str| stats[name].as_u64().unwrap();
    assert!(bytes("memoryUsageBytes") > 0);
    assert!(bytes("memoryUsageBytes") <= bytes("memoryCurrentBytes"));
    assert!(stats["hostMemoryBytes"].as_u64().unwrap() > 10 << 20);
    let waiting = system.spawn(["wait", "before"]);
    // What it kills takes the container with it, and so itself.
    system.run(["exec", "before", "killall", "sleep"]);
    assert_eq!(waiting.outcome().ok().stdout, "4\n");
    system.run(["rename", "before", "after"]).ok();
    assert_eq!(system.inspect("after")["configuration"]["id"], "after");
    system.run(["inspect", "before"]).code(1);
    system.run(["delete", "after"]).ok();
}

#[test]
fn statistics_fit_their_terminal_and_leave_it_as_it_was() {
    let system = System::shared();
    system.sleeper("measured");
    let mut pty = Pty::spawn(system.command(["stats", "measured"]), 24, 80);
    pty.expect("\x1b[?1049h");
    pty.expect("Pids\r\nmeasured");
    pty.resize(24, 12);
    kill(pty.pid(), Signal::WINCH);
    pty.expect("\x1b[JContainer ID\r\nmeasured    ");
    kill(pty.pid(), Signal::INT);
    let (status, seen) = pty.finish();
    assert_eq!(status.code(), Some(0));
    assert!(seen.ends_with("\x1b[?25h\x1b[?1049l"), "{seen:?}");
    system.run(["delete", "--force", "measured"]).ok();
}

#[test]
fn a_terminal_can_be_left_and_found_again() {
    let system = System::shared();
    let mut pty = Pty::spawn(
        system.command(["run", "-it", "--name", "left", "busybox", "sh"]),
        24,
        80,
    );
    pty.expect("/ # ");
    pty.send("\x10\x11");
    assert_eq!(pty.finish().0.code(), Some(0));
    assert_eq!(system.state("left"), "running");
    let mut pty = Pty::spawn(system.command(["attach", "left"]), 24, 80);
    // What is typed before the client is attached is thrown away: a shell is asked until it answers.
    let answered = (0..30).any(|_| {
        pty.send("\n");
        pty.appears("/ # ")
    });
    assert!(answered, "the shell does not answer");
    pty.send("exit 6\n");
    assert_eq!(pty.finish().0.code(), Some(6));
    system.run(["delete", "left"]).ok();
}

#[test]
fn events_tell_a_life() {
    let system = System::start();
    let mut events = system
        .command(["events", "--format", "json"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(events.stdout.take().unwrap()));
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let writer = seen.clone();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            writer.lock().unwrap().push(line);
        }
    });
    eventually("the life was told", || {
        // The stream begins when it is connected: a life after that is told whole.
        system
            .run(["run", "--name", "told", "busybox", "true"])
            .ok();
        system.run(["delete", "told"]).ok();
        let text = seen.lock().unwrap().join("\n");
        ["create", "start", "die", "delete"]
            .iter()
            .all(|action| text.contains(action))
    });
    events.kill().unwrap();
    events.wait().unwrap();
}
