//! Who reaches whom, under which address, for how long.

use serde_json::Value;

use super::{address, fetch, inspect, shell};
use crate::namespace::Namespace;
use crate::system::System;

/// A small container with a web server that says `hello`.
const SERVER: &str = "mkdir -p /w && echo hello >/w/index.html && exec httpd -f -p 80 -h /w";

#[test]
fn containers_reach_each_other_and_the_host_reaches_their_ports() {
    let host = Namespace::new();
    host.ip("link add lan0 type bridge");
    host.ip("link set lan0 up");
    host.ip("addr add 10.77.0.5/24 dev lan0");
    let system = System::stopped().in_namespace(&host);
    system.set_up();
    system.run(["network", "create", "apart"]).ok();
    let run = |words: &[&str]| {
        let small = ["run", "-d", "-m", "256M", "-c", "1"];
        system.run(small.iter().chain(words))
    };
    run(&[
        "--name",
        "web",
        "--network",
        "default",
        "-p",
        "8080:80",
        "-p",
        "127.0.0.1::80",
        "busybox",
        "sh",
        "-c",
        SERVER,
    ])
    .ok();
    run(&[
        "--name",
        "peer",
        "--network",
        "default",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    run(&[
        "--name",
        "alone",
        "--network",
        "apart",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();

    // By IPv4 and IPv6, to the other one and not to another network's.
    let (web, web6) = (
        address(&system, "web", "ipv4Address"),
        address(&system, "web", "ipv6Address"),
    );
    let ping = format!("ping -c 1 -W 5 {web} && ping -6 -c 1 -W 5 {web6}");
    shell(&system, "peer", &ping).ok();
    // By name, too, and only there.
    let named = shell(&system, "peer", "nslookup web").ok().stdout;
    assert!(named.contains(&web) && named.contains(&web6), "{named}");
    shell(&system, "alone", "nslookup web").code(1);
    let ping = format!("ping -c 1 -W 1 {web} || ping -6 -c 1 -W 1 {web6}");
    shell(&system, "alone", &ping).code(1);
    a_container_on_both_finds_both_and_what_it_is_refused_is_told(&system);

    // From the host, at each of its addresses; the one without a port of its own has got one.
    let ports = system.run(["port", "web"]).ok().stdout;
    assert!(
        ports.starts_with("80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080\n"),
        "{ports}"
    );
    let chosen = system.run(["port", "web", "80"]).ok().stdout;
    let chosen = chosen
        .lines()
        .last()
        .unwrap()
        .strip_prefix("127.0.0.1:")
        .unwrap();
    for (at, port) in [
        ("127.0.0.1", "8080"),
        ("10.77.0.5", "8080"),
        ("127.0.0.1", chosen),
        (&web, "80"),
    ] {
        assert_eq!(fetch(&host, at, port), "hello\n", "{at} {port}");
    }
    run(&["--name", "second", "-p", "8080:80", "busybox", "true"])
        .code(1)
        .says("port 8080/tcp of the host is taken by container web");
    // Whichever network that is on.
    run(&[
        "--network",
        "apart",
        "-p",
        "127.0.0.1:8080:80",
        "busybox",
        "true",
    ])
    .code(1)
    .says("port 8080/tcp of the host is taken by container web");
    // Of several ports one that is free is chosen.
    run(&[
        "--name",
        "choice",
        "-p",
        "8080-8081:80",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    let choice = system.run(["port", "choice", "80"]).ok().stdout;
    assert_eq!(choice, "0.0.0.0:8081\n[::]:8081\n");
    system.run(["delete", "--force", "choice"]).ok();
    // The host has docker's name, too.
    let names = "nslookup host.container.internal && nslookup host.docker.internal";
    shell(&system, "peer", names).ok();
    assert_eq!(system.list().len(), 3);

    // What is shown.
    let shown = inspect(&system, "default");
    assert_eq!(shown["status"]["uplink"], "veth");
    let member = |id: &str| {
        let members = shown["status"]["containers"].as_array().unwrap();
        let member = members.iter().find(|member| member["id"] == id);
        member.unwrap().clone()
    };
    assert_eq!(member("web")["publishedPorts"][0]["hostPort"], 8080);
    assert!(member("peer")["txBytes"].as_u64().unwrap() > 0);
    let sample = system.sample("peer");
    assert!(sample["networkRxBytes"].as_u64().unwrap() > 0);
    assert_eq!(
        sample["networks"]["default"]["rxBytes"],
        sample["networkRxBytes"]
    );
    let listed = system.run(["list"]).ok().stdout;
    assert!(listed.contains(&format!("{web}/24")), "{listed}");
    system
        .run(["network", "delete", "apart"])
        .code(1)
        .says("in use by alone");

    // The processes may die: the link stays, and the next ones know everything.
    for pid in system.pids("container-network-bridge start") {
        crate::system::kill(pid, rustix::process::Signal::KILL);
    }
    let ping = format!("ping -c 1 -W 5 {web}");
    shell(&system, "peer", &ping).ok();
    for pid in system.pids("container-apiserver start") {
        crate::system::kill(pid, rustix::process::Signal::KILL);
    }
    crate::system::eventually("the apiserver is gone", || {
        system.pids("container-apiserver start").is_empty()
    });
    system.run(["system", "start"]).ok();
    assert_eq!(address(&system, "web", "ipv4Address"), web);
    assert_eq!(fetch(&host, "127.0.0.1", "8080"), "hello\n");

    // Addresses are for life, ports for a run; a freed address is not the next one given.
    system.run(["stop", "web"]).ok();
    assert_eq!(fetch(&host, "127.0.0.1", "8080"), "");
    system.run(["start", "web"]).ok();
    assert_eq!(address(&system, "web", "ipv4Address"), web);
    crate::system::eventually("the web server listens", || {
        fetch(&host, "127.0.0.1", "8080") == "hello\n"
    });
    system.run(["delete", "--force", "web"]).ok();
    run(&["--name", "later", "--network", "default", "busybox", "true"]).ok();
    let later = inspect(&system, "default")["status"]["containers"].to_string();
    assert!(!later.contains(&format!("{web}/")), "{later}");

    // A container at rest can change its networks.
    system.run(["stop", "-t", "0", "peer", "alone"]).ok();
    system
        .run(["network", "connect", "--alias", "db", "apart", "peer"])
        .ok();
    system.run(["network", "disconnect", "apart", "alone"]).ok();
    system.run(["start", "peer"]).ok();
    shell(&system, "peer", "ip -o -4 addr | grep -c eth").ok();
    let routes = shell(&system, "peer", "ip -o -4 addr show eth1 && ip route")
        .ok()
        .stdout;
    assert_eq!(routes.matches("default via").count(), 1, "{routes}");
    system.run(["start", "alone"]).ok();
    let interfaces = shell(&system, "alone", "ls /sys/class/net").ok().stdout;
    assert!(!interfaces.contains("eth"), "{interfaces}");

    // Who deletes a container can delete its network at once.
    system.run(["delete", "--force", "peer"]).ok();
    system.run(["network", "delete", "apart"]).ok();

    // Nothing is left in the host.
    system.run(["system", "stop"]).ok();
    let links = host.command("ip").args(["-o", "link"]).output().unwrap();
    let links = String::from_utf8(links.stdout).unwrap();
    assert_eq!(links.lines().count(), 2, "{links}");
    let rules = host
        .command("nft")
        .args(["list", "ruleset"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(rules.stdout).unwrap(), "");
}

fn a_container_on_both_finds_both_and_what_it_is_refused_is_told(system: &System) {
    let mut events = system
        .command(["events", "--format", "json", "--filter", "event=refuse"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let words = [
        "run",
        "-d",
        "-m",
        "256M",
        "-c",
        "1",
        "--name",
        "both",
        "--network",
        "default,egress=none",
        "--network",
        "apart",
        "busybox",
        "sleep",
        "1000",
    ];
    system.run(words).ok();
    for name in ["web", "alone"] {
        let found = shell(system, "both", &format!("nslookup {name}"));
        let address = address(system, name, "ipv4Address");
        assert!(found.ok().stdout.contains(&address), "{name}");
    }
    // What is for elsewhere leaves by the network that lets it.
    let gateway = inspect(system, "apart")["status"]["ipv4Gateway"].clone();
    let route = shell(system, "both", "ip route show default").ok().stdout;
    let expected = format!("default via {} ", gateway.as_str().unwrap());
    assert!(route.starts_with(&expected), "{route} {expected}");
    system.run(["delete", "--force", "both"]).ok();
    let mut line = String::new();
    let mut lines = std::io::BufReader::new(events.stdout.take().unwrap());
    // Of one that has ended by the time anybody looks, too.
    let short = "nc -w 1 192.0.2.1 443; nslookup secret.example.org; true";
    let words = ["run", "--rm", "-m", "256M", "-c", "1", "--name", "short"];
    let rest = ["--egress", "none", "busybox", "sh", "-c", short];
    system.run(words.iter().chain(&rest)).ok();
    let mut told = String::new();
    while !(told.contains("192.0.2.1:443/tcp") && told.contains("secret.example.org")) {
        line.clear();
        std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
        if line.contains("\"short\"") {
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["attributes"]["network"], "default", "{event}");
            told.push_str(&line);
        }
    }
    events.kill().unwrap();
    events.wait().unwrap();
}
