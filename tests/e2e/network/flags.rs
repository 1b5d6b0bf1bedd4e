//! What the flags of `run` say of networks, names and ports, in a container that runs.

use super::{fetch, shell};
use crate::namespace::Namespace;
use crate::system::{System, eventually};

#[test]
fn flags_of_networks_mean_what_they_say() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("");
    system.set_up();
    let subnets = ["--subnet", "10.9.2.0/24", "--subnet-v6", "fd09:2::/64", "b"];
    system
        .run(["network", "create"].iter().chain(&subnets))
        .ok();
    system
        .run(["network", "create", "--internal", "inner"])
        .ok();
    let small = ["run", "-d", "-m", "256M", "-c", "1", "--name"];
    let run = |words: &[&str]| system.run(small.iter().chain(words));
    let server = "mkdir -p /w && echo hello >/w/index.html && exec httpd -f -p 80 -h /w";
    let of_web = [
        "web",
        "--network",
        "b,ip=10.9.2.50,ip6=fd09:2::50,mac=02:00:00:00:09:50,mtu=1400,alias=shop,alias=store",
        "--network",
        "inner,alias=desk",
        "--dns-domain",
        "corp.test",
        "--add-host",
        "up:host-gateway",
        "--add-host",
        "fixed:192.0.2.1",
        "-P",
        "--expose",
        "80",
        "busybox",
        "sh",
        "-c",
        server,
    ];
    run(&of_web).ok();
    run(&[
        "db",
        "--network",
        "b",
        "--no-dns",
        "busybox",
        "sleep",
        "1000",
    ])
    .ok();
    // The line of its host is left out where it would lead nowhere, and that is said.
    let lost = [
        "lost",
        "--network",
        "inner",
        "--add-host",
        "up:host-gateway",
        "busybox",
        "sleep",
        "1000",
    ];
    run(&lost).ok().says("no network of it leads to the host");
    let hosts = shell(&system, "lost", "cat /etc/hosts").ok().stdout;
    assert!(!hosts.contains("up"), "{hosts}");
    for again in [false, true] {
        let own = shell(
            &system,
            "web",
            "ip addr show eth0; cat /etc/resolv.conf /etc/hosts; hostname",
        )
        .ok();
        for word in [
            "inet 10.9.2.50/24",
            "inet6 fd09:2::50/64",
            "link/ether 02:00:00:00:09:50",
            "mtu 1400",
            "domain corp.test\n",
            "192.0.2.1\tfixed\n",
            "10.9.2.254\tup\n",
        ] {
            assert!(own.stdout.contains(word), "{word}: {own:?}");
        }
        // By each of its names, with the network's behind it or not; what comes behind it by itself is in nobody's way.
        let names = ["web", "shop", "store", "web.b", "shop.b"];
        for name in names {
            let found = shell(&system, "db", &format!("nslookup {name} 10.9.2.1")).ok();
            assert!(found.stdout.contains("10.9.2.50"), "{name}: {found:?}");
            assert!(found.stdout.contains("fd09:2::50"), "{name}: {found:?}");
        }
        for name in ["db", "db.b", "lost", "web"] {
            shell(&system, "web", &format!("ping -c 1 -W 5 {name}")).ok();
        }
        // An alias counts on its network alone.
        shell(&system, "lost", "ping -c 1 -W 5 desk").ok();
        shell(&system, "lost", "nslookup shop").code(1);
        // Nobody has written the file of who wants none.
        let own = shell(&system, "db", "cat /etc/resolv.conf").stdout;
        assert!(!own.contains("10.9.2.1"), "{own}");
        // A port that it exposes is the host's, at a free one.
        let port = system.run(["port", "web", "80"]).ok().stdout;
        let port = port
            .lines()
            .next()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .to_owned();
        eventually("the published port leads to the container", || {
            fetch(&host, "127.0.0.1", &port) == "hello\n"
        });
        if !again {
            system.run(["stop", "-t", "0", "web"]).ok();
            system.run(["start", "web"]).ok();
        }
    }
    // A domain that is somebody else's is not taken, wherever this runs.
    for (domain, why) in [
        ("localhost", "the name of each computer for itself"),
        ("org", "a top-level domain of the internet"),
        ("8.in-addr.arpa", "those of addresses"),
    ] {
        system
            .run(["system", "dns", "create", domain])
            .code(1)
            .says(why);
    }
    system.run(["delete", "--force", "web", "db", "lost"]).ok();
}
