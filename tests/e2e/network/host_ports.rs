//! `--network host`.

use super::{fetch, shell};
use crate::namespace::Namespace;
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

/// A program of the test's; ended when dropped.
struct Server(std::process::Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
