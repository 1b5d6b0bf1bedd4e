//! `--network host`.

use super::{fetch, shell};
use crate::namespace::Namespace;
use crate::sockets::import_tools;
use crate::system::System;

#[test]
fn a_containers_ports_can_be_the_hosts() {
    let host = Namespace::new();
    host.ip("link add lan0 type bridge");
    host.ip("link set lan0 up");
    host.ip("addr add 10.77.0.5/24 dev lan0");
    let system = System::stopped().in_namespace(&host);
    system.set_up();
    let site = system.scratch().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("index.html"), "the host\n").unwrap();
    // One of the host's loopback, and one whose port the container wants, too.
    let _servers = ["127.0.0.1:7000", "81"].map(|at| {
        let mut command = host.command("busybox");
        let words = ["httpd", "-f", "-p", at, "-h", site.to_str().unwrap()];
        Server(command.args(words).spawn().unwrap())
    });
    let servers = "mkdir /w && echo hello >/w/index.html && { httpd -f -p 127.0.0.1:8080 -h /w & } && echo $! >/pid && httpd -p 81 -h /w && \
        exec httpd -f -p 80 -h /w";
    let run = |words: &[&str]| {
        let flags = ["run", "-d", "-m", "256M", "-c", "1", "--network", "host"];
        system.run(flags.iter().chain(words))
    };
    run(&["--name", "open", "busybox", "sh", "-c", servers]).ok();
    for port in ["80", "8080"] {
        crate::system::eventually("the container's port is the host's", || {
            fetch(&host, "127.0.0.1", port) == "hello\n"
        });
    }
    assert_eq!(fetch(&host, "10.77.0.5", "80"), "hello\n");
    assert_eq!(fetch(&host, "::1", "80"), "hello\n");
    // Not for everybody what is for the machine itself, and nothing of somebody else.
    assert_eq!(fetch(&host, "10.77.0.5", "8080"), "");
    assert_eq!(fetch(&host, "127.0.0.1", "81"), "the host\n");
    let log = || {
        let logs = system.run(["logs", "open"]).ok();
        logs.stdout + &logs.stderr
    };
    crate::system::eventually("the log tells of the port", || {
        log().contains("port 81 of the host, at 0.0.0.0, is somebody else's already")
    });
    let reached =
        "wget -qO- http://host.container.internal:7000/ && wget -qO- http://127.0.0.1:81/";
    assert_eq!(
        shell(&system, "open", reached).ok().stdout,
        "the host\nhello\n"
    );
    // It is on no other network, and stays on this one.
    system.run(["network", "create", "aside"]).ok();
    for words in [
        ["connect", "aside", "open"],
        ["disconnect", "default", "open"],
    ] {
        let refused = system.run([&["network"], &words[..]].concat());
        refused.code(1).says("has the network host");
    }
    // A port goes with its program.
    shell(&system, "open", "kill $(cat /pid)").ok();
    crate::system::eventually("the port is closed", || {
        fetch(&host, "127.0.0.1", "8080").is_empty()
    });
    system.run(["delete", "--force", "open"]).ok();
    assert_eq!(fetch(&host, "127.0.0.1", "80"), "");
    run(&["-p", "80:80", "busybox", "true"])
        .code(64)
        .says("ports are not published with network host");
    run(&["--network", "default", "busybox", "true"])
        .code(64)
        .says("network host cannot be combined with other networks");
}

#[test]
fn a_containers_udp_ports_can_be_the_hosts() {
    let host = Namespace::new();
    host.ip("link add lan0 type bridge");
    host.ip("link set lan0 up");
    host.ip("addr add 10.77.0.5/24 dev lan0");
    host.ip("addr add 10.77.0.6/24 dev lan0");
    let system = System::stopped().in_namespace(&host);
    system.set_up();
    import_tools(&system);
    // One that has both families, one for the machine itself at an address of its own, and a client's, which asks nobody yet.
    let servers = "socat UDP6-RECVFROM:5300,ipv6only=0,fork EXEC:cat & echo $! >/run/pid; socat UDP4-RECVFROM:5301,bind=127.0.0.2,fork EXEC:cat & \
        socat UDP4-RECVFROM:40000,fork EXEC:cat & socat TCP4-LISTEN:5302,bind=127.0.0.2,fork EXEC:cat & wait";
    let flags = ["run", "-d", "--name", "open", "-m", "256M", "-c", "1"];
    let words = ["--network", "host", "tools", "sh", "-c", servers];
    system.run(flags.iter().chain(&words)).ok();
    // What a client with a socket of its own hears from whom it asked.
    let ask = |to: &str| {
        let command = format!("echo hello | socat -t 2 -T 2 - {to}");
        let output = host.command("sh").args(["-c", &command]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for to in [
        "UDP4:127.0.0.1:5300",
        "UDP4:10.77.0.5:5300",
        // Not the address from which the host would send by itself.
        "UDP4:10.77.0.6:5300",
        "UDP6:[::1]:5300",
        "UDP4:127.0.0.2:5301",
        "TCP4:127.0.0.2:5302",
    ] {
        crate::system::eventually(to, || ask(to) == "hello\n");
    }
    for to in [
        "UDP4:10.77.0.5:5301",
        "UDP4:127.0.0.1:5301",
        "UDP4:127.0.0.1:40000",
        "TCP4:127.0.0.1:5302",
    ] {
        assert_eq!(ask(to), "", "{to}");
    }
    // A port goes with its program.
    let stopped = system.run(["exec", "open", "sh", "-c", "kill $(cat /run/pid)"]);
    stopped.ok();
    crate::system::eventually("the port is closed", || {
        let ports = host.command("ss").arg("-Hlun").output().unwrap();
        !String::from_utf8(ports.stdout).unwrap().contains(":5300 ")
    });
    system.run(["delete", "--force", "open"]).ok();
}

/// A program of the test's; ended when dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
