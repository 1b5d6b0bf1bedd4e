//! Networks that come and go while a container runs.

use serde_json::Value;

use crate::namespace::Namespace;
use crate::network::{fetch, shell};
use crate::system::{System, eventually, kill};

/// The networks that `inspect` shows of a container that runs, each with its IPv4 address.
fn networks(system: &System, id: &str) -> Vec<(String, String)> {
    let shown = system.inspect(id);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let asked = shown["configuration"]["networks"].as_array().unwrap();
    let asked: Vec<String> = asked.iter().map(|one| text(&one["network"])).collect();
    let has = shown["status"]["networks"].as_array().unwrap();
    let has: Vec<(String, String)> = has
        .iter()
        .map(|one| {
            let address = text(&one["ipv4Address"]);
            let address = address.split('/').next().unwrap().to_owned();
            (text(&one["network"]), address)
        })
        .collect();
    let names: Vec<String> = has.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(asked, names);
    has
}

/// Containers on a network, by what its process says.
fn members(system: &System, network: &str) -> String {
    let shown = system.run(["network", "inspect", network]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let members = shown[0]["status"]["containers"].as_array().unwrap();
    let ids = members.iter().map(|member| member["id"].as_str().unwrap());
    ids.collect::<Vec<_>>().join(" ")
}

/// A command that is ended when this is dropped.
struct Watching(std::process::Child);

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What happens to networks of the container `web` from now on: what, and on which network.
pub fn events(system: &System) -> impl Iterator<Item = String> {
    let mut command = system.command(["events", "--format", "json", "--filter", "container=web"]);
    let command = command.stdout(std::process::Stdio::piped());
    let mut watching = Watching(command.spawn().unwrap());
    let lines = std::io::BufReader::new(watching.0.stdout.take().unwrap());
    let mut lines = std::io::BufRead::lines(lines);
    std::iter::from_fn(move || {
        // It lives as long as somebody asks.
        let _ = &watching;
        loop {
            let event: Value = serde_json::from_str(&lines.next()?.unwrap()).unwrap();
            if let Some(network) = event["attributes"]["network"].as_str() {
                return Some(format!("{} {network}", event["action"].as_str().unwrap()));
            }
        }
    })
}

#[test]
fn networks_of_a_container_that_runs_come_and_go() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("");
    system.set_up();
    let network = |words: &[&str]| system.run(["network"].iter().chain(words));
    network(&["create", "--subnet", "10.9.1.0/24", "b"]).ok();
    network(&["create", "c"]).ok();
    network(&["create", "d"]).ok();
    let run = |id: &str, words: &[&str]| {
        let small = ["run", "-d", "-m", "256M", "-c", "1", "--name", id];
        system.run(small.iter().chain(words)).ok();
    };
    let sleep = ["busybox", "sleep", "1000"];

    // A machine that was booted has no spare interface, and the container stays what it was.
    run("cold", &[&["--network", "default"], &sleep[..]].concat());
    network(&["connect", "b", "cold"])
        .code(1)
        .says("container cold is running, and its machine has no spare network interface")
        .says("container stop cold");
    assert_eq!(networks(&system, "cold").len(), 1);
    assert_eq!(members(&system, "b"), "");

    // One that waited for its container has, and so has one that was restored for it.
    eventually("a machine waits", || {
        let listed = system.run(["system", "template", "list", "--format", "json"]);
        listed.ok().stdout.contains("\"standby\":true")
    });
    let server = "mkdir -p /w && echo hello >/w/index.html && exec httpd -f -p 80 -h /w";
    let web = [
        "--network",
        "default",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        server,
    ];
    run("web", &web);
    run("db", &[&["--network", "b"], &sleep[..]].concat());
    network(&[
        "connect",
        "--alias",
        "shop",
        "--ip",
        "10.9.1.77",
        "b",
        "web",
    ])
    .ok();
    network(&["connect", "b", "web"])
        .code(1)
        .says("is on network b already");
    let on = networks(&system, "web");
    assert_eq!(on[1], ("b".to_owned(), "10.9.1.77".to_owned()));
    assert_eq!(members(&system, "b"), "db web");
    // By names both ways, by its own address, and the way out is as before.
    let found = shell(&system, "db", "nslookup shop && ping -c 1 -W 5 web").ok();
    assert!(found.stdout.contains("10.9.1.77"), "{}", found.stdout);
    let script = "ping -c 1 -W 5 db && ip -o -4 addr show eth1 && ip route && cat /etc/resolv.conf";
    let before = shell(&system, "web", script).ok().stdout;
    assert!(before.contains("inet 10.9.1.77/24"), "{before}");
    assert!(!before.contains("default via 10.9.1.1"), "{before}");
    assert_eq!(before.matches("default via").count(), 1, "{before}");
    // What went through is counted for each.
    let sample = system.sample("web");
    let counted = sample["networks"].as_object().unwrap();
    let counter = |network: &str, name: &str| counted[network][name].as_u64().unwrap();
    assert_eq!(counted.len(), 2, "{sample}");
    assert_eq!(counted["default"]["interface"], "eth0");
    assert_eq!(counted["b"]["interface"], "eth1");
    for name in ["rxBytes", "rxPackets", "txBytes", "txPackets"] {
        assert!(counter("b", name) > 0, "{name}: {sample}");
    }
    for name in ["rxErrors", "rxDropped", "txErrors", "txDropped"] {
        assert!(counted["b"][name].is_u64(), "{name}: {sample}");
    }
    for (sum, name) in [("networkRxBytes", "rxBytes"), ("networkTxBytes", "txBytes")] {
        let both = counter("default", name) + counter("b", name);
        assert_eq!(sample[sum].as_u64(), Some(both), "{sample}");
    }

    // What is known of it outlives the apiserver.
    for pid in system.pids("container-apiserver start") {
        kill(pid, rustix::process::Signal::KILL);
    }
    eventually("the apiserver is gone", || {
        system.pids("container-apiserver start").is_empty()
    });
    system.run(["system", "start"]).ok();
    let told = events(&system);
    assert_eq!(networks(&system, "web"), on);

    // The network of its start goes, with its ports; the other one leads out, and answers for names.
    network(&["disconnect", "default", "web"])
        .ok()
        .says("until it is started again they lead nowhere");
    assert_eq!(networks(&system, "web"), on[1..]);
    let sample = system.sample("web");
    let counted: Vec<_> = sample["networks"].as_object().unwrap().keys().collect();
    assert_eq!(counted, ["b"]);
    assert_eq!(members(&system, "default"), "cold");
    let script =
        "! ls /sys/class/net/eth0 && ip route && cat /etc/resolv.conf && ping -c 1 -W 5 db";
    let after = shell(&system, "web", script).ok().stdout;
    assert!(after.contains("default via 10.9.1.1"), "{after}");
    assert!(after.contains("nameserver 10.9.1.1"), "{after}");
    network(&["disconnect", "b", "web"])
        .code(1)
        .says("publishes ports, and has no other network for them");

    // It comes again, and the interface of one that went is another one's.
    network(&["connect", "default", "web"]).ok();
    network(&[
        "connect",
        "--egress",
        "allow=192.0.2.0/24:80-81/tcp",
        "c",
        "web",
    ])
    .ok();
    let shown = system.run(["network", "inspect", "c"]).ok().stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let rules = &shown[0]["status"]["containers"][0]["egress"];
    assert_eq!(rules[0]["rule"], "192.0.2.0/24:80-81/tcp", "{shown}");
    network(&["connect", "d", "web"])
        .code(1)
        .says("no spare network interface");
    network(&["disconnect", "b", "web"]).ok();
    shell(&system, "db", "ping -c 1 -W 1 10.9.1.77").code(1);
    network(&["connect", "d", "web"]).ok();
    let told: Vec<String> = told.take_while(|event| event != "connect d").collect();
    let last = told.last().map(String::as_str);
    assert_eq!(last, Some("disconnect b"), "{told:?}");
    let script = "ls /sys/class/net && ping -c 1 -W 5 cold";
    let after = shell(&system, "web", script).ok().stdout;
    for name in ["eth0", "eth1", "eth2"] {
        assert!(after.contains(name), "{after}");
    }

    // A start has them all, and its ports.
    let on = networks(&system, "web");
    system.run(["stop", "-t", "0", "web"]).ok();
    system.run(["start", "web"]).ok();
    assert_eq!(networks(&system, "web"), on);
    eventually("the published port leads to the container", || {
        fetch(&host, "127.0.0.1", "8080") == "hello\n"
    });
    for name in ["c", "d"] {
        network(&["delete", name]).code(1).says("is in use by");
    }
    system.run(["delete", "--force", "web", "db"]).ok();
    network(&["delete", "b", "c", "d"]).ok();
}

#[test]
fn the_only_interface_of_a_machine_serves_one_network_after_the_other() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("");
    system.set_up();
    let network = |words: &[&str]| system.run(["network"].iter().chain(words));
    network(&["create", "b"]).ok();
    let run = |id: &str, words: &[&str]| {
        let small = [
            "run",
            "-d",
            "-m",
            "256M",
            "-c",
            "1",
            "--no-template",
            "--name",
            id,
        ];
        let sleep = ["busybox", "sleep", "1000"];
        system.run(small.iter().chain(words).chain(&sleep)).ok();
    };
    // A machine that was booted has no spare interface.
    run("web", &["--privileged", "--network", "default"]);
    run("one", &["--network", "default"]);
    run("two", &["--network", "b"]);
    let address = |id: &str| networks(&system, id)[0].1.clone();
    let (one, two) = (address("one"), address("two"));
    for round in 0..5 {
        let (left, lost, joined, peer) = if round % 2 == 0 {
            ("default", ("one", &one), "b", ("two", &two))
        } else {
            ("b", ("two", &two), "default", ("one", &one))
        };
        let before = address("web");
        network(&["disconnect", left, "web"]).ok();
        assert_eq!(networks(&system, "web"), []);
        // A guest that keeps its interface and its address reaches nobody.
        let (id, other) = lost;
        let script = format!(
            "cd /sys/bus/platform/drivers/virtio-mmio && \
             ! ls /sys/class/net/eth0 && \
             for at in 0 1 2 3 4 5; do echo virtio-mmio.$at >bind && ls /sys/class/net/eth0 && break; done; \
             ip addr add {before}/16 dev eth0 && ip link set eth0 up && \
             ping -c 2 -W 1 {other}; echo $?; echo virtio-mmio.$at >unbind"
        );
        let kept = shell(&system, "web", &script).ok().stdout;
        assert!(kept.ends_with("100% packet loss\n1\n"), "{kept}");
        network(&["connect", joined, "web"]).ok();
        let now = address("web");
        let (peer, its) = peer;
        let script = format!(
            "ping -c 1 -W 5 {peer} && ping -c 1 -W 5 {its} && ip route && ! ping -c 1 -W 1 {other}"
        );
        let reached = shell(&system, "web", &script).ok().stdout;
        assert!(reached.contains("default via"), "{reached}");
        shell(
            &system,
            peer,
            &format!("ping -c 1 -W 5 web && ping -c 1 -W 5 {now}"),
        )
        .ok();
        shell(&system, id, "ping -c 1 -W 1 web").code(1);
        shell(&system, id, &format!("ping -c 1 -W 1 {before}")).code(1);
    }
}
