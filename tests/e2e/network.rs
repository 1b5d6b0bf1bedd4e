//! Networks, in network namespaces of the tests' own.

use serde_json::Value;

use crate::namespace::Namespace;
use crate::system::System;

/// The networks, as `network inspect` shows them.
fn inspect(system: &System, name: &str) -> Value {
    let shown = system.run(["network", "inspect", name]).ok();
    let mut shown: Vec<Value> = serde_json::from_str(&shown.stdout).unwrap();
    shown.remove(0)
}

#[test]
fn networks_are_made_listed_and_deleted() {
    let host = Namespace::new();
    host.ip("link add lan0 type bridge");
    host.ip("link set lan0 up");
    host.ip("addr add 10.77.0.5/24 dev lan0");
    let system = System::stopped().in_namespace(&host);
    system.configure("[container]\nstandby = false\n[network]\nsubnet = \"10.55.0.0/24\"\n");
    system.set_up();
    let listed = |quiet: &[&str]| {
        let words = ["network", "list"].iter().chain(quiet);
        system.run(words).ok().stdout
    };
    assert_eq!(listed(&[]), "NETWORK  SUBNET\ndefault  10.55.0.0/24\n");

    let created = system.run([
        "network",
        "create",
        "--subnet",
        "10.9.0.0/24",
        "--subnet-v6",
        "fd00:9::/64",
        "--label",
        "a=b",
        "--internal",
        "--egress",
        "allow=*.Example.org:443,10.0.0.0/8",
        "--option",
        "mtu=1400",
        "backend",
    ]);
    assert_eq!(created.ok().stdout, "backend\n");
    let backend = inspect(&system, "backend");
    let configuration = &backend["configuration"];
    assert_eq!(configuration["mode"], "hostOnly");
    assert_eq!(configuration["labels"]["a"], "b");
    assert_eq!(configuration["mtu"], 1400);
    assert_eq!(configuration["egress"][0], "*.example.org:443");
    assert_eq!(backend["status"]["ipv4Subnet"], "10.9.0.0/24");
    assert_eq!(backend["status"]["ipv4Gateway"], "10.9.0.1");
    assert_eq!(backend["status"]["ipv6Subnet"], "fd00:9::/64");
    assert_eq!(backend["status"]["containers"], serde_json::json!([]));
    assert_eq!(
        inspect(&system, "default")["configuration"]["labels"]["com.apple.container.resource.role"],
        "builtin"
    );

    // What clashes is named.
    let create = |words: &[&str]| system.run(["network", "create"].iter().chain(words));
    create(&["--subnet", "10.9.0.128/25", "other"])
        .code(1)
        .says("IPv4 subnet 10.9.0.128/25 overlaps an existing network with subnet 10.9.0.0/24: backend");
    create(&["--subnet", "10.77.0.0/16", "other"])
        .code(1)
        .says("overlaps the host's route to 10.77.0.0/24 on lan0");
    create(&["backend"])
        .code(1)
        .says("network already exists: backend");
    create(&["--subnet", "10.9.0.1/24", "other"])
        .code(64)
        .says("10.9.0.0/24 is meant");
    create(&["--plugin", "none", "other"])
        .code(1)
        .says("there is no network plugin 'none'");
    create(&["none"]).code(64).says("reserved");
    for name in ["first", "second"] {
        create(&[name]).ok();
    }
    assert_eq!(listed(&["-q"]), "backend\ndefault\nfirst\nsecond\n");
    assert_ne!(
        inspect(&system, "first")["status"]["ipv4Subnet"],
        inspect(&system, "second")["status"]["ipv4Subnet"]
    );

    // They outlive the system, as do domains.
    system.run(["system", "stop"]).ok();
    domains_need_a_resolver_of_the_host(&system);
    assert_eq!(inspect(&system, "backend")["configuration"], *configuration);

    // Of four none is used, and the builtin one stays.
    let usage = || {
        let shown = system.run(["system", "df", "--format", "json"]).ok().stdout;
        serde_json::from_str::<Value>(&shown).unwrap()["networks"].clone()
    };
    let before = usage();
    assert_eq!(
        (before["total"].as_u64(), before["active"].as_u64()),
        (Some(4), Some(0))
    );
    assert!(before["reclaimable"].as_u64().unwrap() > 0, "{before}");
    let delete = |words: &[&str]| system.run(["network", "delete"].iter().chain(words));
    delete(&["default"]).code(1).says("builtin");
    delete(&["absent"])
        .code(1)
        .says("network not found: absent");
    assert_eq!(delete(&["second", "second"]).ok().stdout, "second\n");
    let pruned = system.run(["network", "prune"]).ok();
    assert_eq!(pruned.stdout, "backend\nfirst\n");
    let left = usage();
    assert_eq!(
        (&left["total"], &left["reclaimable"]),
        (&1.into(), &0.into())
    );
    create(&["third"]).ok();
    assert_eq!(delete(&["--all"]).ok().stdout, "third\n");
    assert_eq!(listed(&["-q"]), "default\n");
    system
        .run(["network", "inspect", "default", "gone"])
        .code(1)
        .says("network not found: gone");
    system
        .run(["run", "--rm", "--network", "gone", "busybox", "true"])
        .code(1)
        .says("network not found: gone");
}

/// Starts the system with each.
fn domains_need_a_resolver_of_the_host(system: &System) {
    let dns = |words: &[&str]| system.run(["system", "dns"].iter().chain(words));
    // One that is there and does not run, and one that does.
    let stand_in = system.scratch().join("bin");
    std::fs::create_dir(&stand_in).unwrap();
    let program = stand_in.join("resolvectl");
    let put = |script: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).unwrap();
    };
    put("exit 1");
    let path = format!("{}:{}", stand_in.display(), std::env::var("PATH").unwrap());
    let mut start = system.command(["system", "start"]);
    assert!(start.env("PATH", path).status().unwrap().success());
    let refused = dns(&["create", "test"]).code(1);
    let refused = refused.says("through systemd-resolved, and on this host it does not run");
    assert!(refused.stderr.contains("published ports"), "{refused:?}");
    assert_eq!(dns(&["list"]).ok().stdout, "DOMAIN\n");
    put(":");
    assert_eq!(dns(&["create", "Test"]).ok().stdout, "test\n");
    dns(&["create", "test"])
        .code(1)
        .says("domain already exists: test");
    dns(&["create", "a b"])
        .code(64)
        .says("invalid domain 'a b'");
    let own = ["create", "host.test", "--localhost", "203.0.113.113"];
    dns(&own).ok();
    let listed = dns(&["ls", "--format", "json"]).ok().stdout;
    assert_eq!(
        serde_json::from_str::<Value>(&listed).unwrap(),
        serde_json::json!(["host.test", "test"])
    );
    system.run(["system", "stop"]).ok();
    system.run(["system", "start"]).ok();
    assert_eq!(dns(&["list", "-q"]).ok().stdout, "host.test\ntest\n");
    assert_eq!(
        dns(&["rm", "test", "host.test"]).ok().stdout,
        "test\nhost.test\n"
    );
    dns(&["delete", "test"])
        .code(1)
        .says("domain not found: test");
}

/// The first line that a web server at `address` of the host's answers with behind its headers.
pub fn fetch(host: &Namespace, address: &str, port: &str) -> String {
    let script =
        format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | busybox nc {address} {port} | tail -1");
    let output = host
        .command("timeout")
        .args(["20", "sh", "-c", &script])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a line of shell in a container.
pub fn shell(system: &System, id: &str, line: &str) -> crate::system::Outcome {
    system.run(["exec", id, "sh", "-c", line])
}

/// The container's address on its only network, without the length of its prefix.
fn address(system: &System, id: &str, key: &str) -> String {
    let shown = system.inspect(id);
    let address = shown["status"]["networks"][0][key].as_str().unwrap();
    address.split('/').next().unwrap().to_owned()
}

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
    assert!(system.sample("peer")["networkRxBytes"].as_u64().unwrap() > 0);
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
    shell(system, "both", "nc -w 5 192.0.2.1 80").code(1);
    let mut line = String::new();
    let mut lines = std::io::BufReader::new(events.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut lines, &mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(event["id"], "both", "{event}");
    assert_eq!(event["attributes"]["network"], "default", "{event}");
    events.kill().unwrap();
    events.wait().unwrap();
    system.run(["delete", "--force", "both"]).ok();
}

#[test]
fn a_network_is_the_default_and_never_a_hindrance() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("[container]\nstandby = true\n[dns]\ndomain = \"test\"\n");
    system.set_up();
    let own = "ip -o addr show eth0 | grep -c 'inet6\\? ' && cat /etc/resolv.conf && grep -c $(hostname) /etc/hosts";
    let run = || {
        system.run([
            "run", "--rm", "-m", "256M", "-c", "1", "busybox", "sh", "-c", own,
        ])
    };
    let first = run().ok();
    assert_eq!(first.stderr, "");
    assert!(first.stdout.contains("nameserver "), "{first:?}");
    assert!(first.stdout.contains("\ndomain test\n"), "{first:?}");
    // The same from a template and from the machine that waits.
    let waits = || {
        let listed = system
            .run(["system", "template", "list", "--format", "json"])
            .ok();
        let templates: Vec<Value> = serde_json::from_str(&listed.stdout).unwrap();
        templates.iter().any(|template| template["standby"] == true)
    };
    crate::system::eventually("a machine waits", waits);
    assert_eq!(run().ok().stdout, first.stdout);
    assert_eq!(run().ok().stdout, first.stdout);
    // They have given everything back.
    crate::system::eventually("nobody is on the network", || {
        inspect(&system, "default")["status"]["containers"] == serde_json::json!([])
    });

    // Flags that write files.
    let files = system.run([
        "run",
        "--rm",
        "-m",
        "256M",
        "-c",
        "1",
        "--dns",
        "192.0.2.53",
        "--dns-search",
        "example.org",
        "--dns-option",
        "ndots:2",
        "--add-host",
        "db:192.0.2.7",
        "--hostname",
        "web.example.org",
        "busybox",
        "sh",
        "-c",
        "cat /etc/resolv.conf; grep -w db /etc/hosts; hostname -f",
    ]);
    assert_eq!(
        files.ok().stdout,
        "nameserver 192.0.2.53\ndomain test\nsearch example.org\noptions ndots:2\n192.0.2.7\tdb\nweb.example.org\n"
    );

    // A host without what it takes.
    system.run(["system", "stop"]).ok();
    let plugin = system
        .prefix()
        .join("libexec/container/plugins/container-network-bridge/bin/container-network-bridge");
    let lacking = lacking_network(&system, &plugin);
    let system = system.with_prefix(lacking);
    system.run(["system", "start"]).ok();
    let words = [
        "run",
        "--rm",
        "-m",
        "256M",
        "-c",
        "1",
        "busybox",
        "ls",
        "/sys/class/net",
    ];
    let without = system
        .run(words)
        .ok()
        .says("has no network: network default: there is no nft here");
    assert!(!without.stdout.contains("eth"), "{without:?}");
    assert!(
        without.stderr.contains("container system doctor"),
        "{without:?}"
    );
    assert_eq!(without.stderr.lines().count(), 1, "{without:?}");
    let asked = [
        "run",
        "--rm",
        "-m",
        "256M",
        "-c",
        "1",
        "--network",
        "default",
        "busybox",
        "true",
    ];
    system
        .run(asked)
        .code(1)
        .says("network default: there is no nft here");
    let none = [
        "run",
        "--rm",
        "-m",
        "256M",
        "-c",
        "1",
        "--network",
        "none",
        "busybox",
        "true",
    ];
    assert_eq!(system.run(none).ok().stderr, "");
}

/// A prefix as the system's, whose networks' program finds that the host lacks something.
fn lacking_network(system: &System, plugin: &std::path::Path) -> std::path::PathBuf {
    let prefix = system.scratch().join("lacking");
    let copied = std::process::Command::new("cp")
        .args(["-r", "--reflink=auto"])
        .arg(system.prefix())
        .arg(&prefix)
        .status()
        .unwrap();
    assert!(copied.success());
    let program = prefix.join(plugin.strip_prefix(system.prefix()).unwrap());
    std::fs::remove_file(&program).unwrap();
    // The descriptor on which a network's process says why it ends.
    let script = "#!/bin/sh\nprintf 'there is no nft here' >&5\nexit 1\n";
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    prefix
}

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
