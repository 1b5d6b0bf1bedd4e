//! Networks whose processes are killed: one, or all at the same moment.

use rustix::process::Signal;

use super::{address, fetch, inspect, shell};
use crate::namespace::Namespace;
use crate::running_networks::events;
use crate::system::{System, eventually, kill};

/// Kills all processes of a network as one: none sees the end of another.
fn lose(system: &System, name: &str) {
    let of_it = |line: &str| line.contains(&format!("/networks/{name}"));
    let found: Vec<u32> = system
        .processes()
        .into_iter()
        .filter(|(_, line)| line.contains("container-network-bridge") && of_it(line))
        .map(|(pid, _)| pid)
        .collect();
    assert!(found.len() >= 2, "{found:?}");
    for signal in [Signal::STOP, Signal::KILL] {
        for pid in &found {
            kill(*pid, signal);
        }
    }
}

#[test]
fn a_network_that_is_lost_comes_back_to_its_containers() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("");
    system.set_up();
    system
        .run(["network", "create", "--subnet", "10.9.1.0/24", "b"])
        .ok();
    let server = "mkdir -p /w && echo hello >/w/index.html && exec httpd -f -p 80 -h /w";
    let small = ["run", "-d", "-m", "256M", "-c", "1", "--name"];
    let run = |words: &[&str]| system.run(small.iter().chain(words)).ok();
    run(&[
        "web",
        "--network",
        "default",
        "--network",
        "b",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        server,
    ]);
    run(&["db", "--network", "b", "busybox", "sleep", "1000"]);
    let reached = || {
        eventually("the container is reached by its port", || {
            fetch(&host, "127.0.0.1", "8080") == "hello\n"
        });
        eventually("both find each other", || {
            shell(&system, "db", "ping -c 1 -W 2 web").code == 0
                && shell(&system, "web", "ping -c 1 -W 2 db").code == 0
        });
    };
    reached();
    let (web, db) = (system.inspect("web"), system.inspect("db"));
    let script = "cat /etc/resolv.conf /etc/hosts; ip -o addr show eth0; ip route";
    let before = shell(&system, "web", script).ok().stdout;
    let told = events(&system);
    for network in ["b", "default"] {
        lose(&system, network);
        eventually("its containers are on it again", || {
            let members = inspect(&system, network)["status"]["containers"].clone();
            let members = members.as_array().unwrap();
            members.iter().all(|member| member["attached"] == true)
        });
        reached();
    }
    // All is as it was: addresses, ports, files and routes.
    let networks = |shown: &serde_json::Value| shown["status"]["networks"].clone();
    assert_eq!(networks(&system.inspect("web")), networks(&web));
    assert_eq!(networks(&system.inspect("db")), networks(&db));
    let ports = |shown: &serde_json::Value| shown["status"]["publishedPorts"].clone();
    assert_eq!(ports(&system.inspect("web")), ports(&web));
    let after = shell(&system, "web", script).ok().stdout;
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let without_numbers = |text: &str| {
        let lines = lines(text).into_iter();
        lines
            .map(|line| {
                line.trim_start_matches(|c: char| c.is_ascii_digit())
                    .to_owned()
            })
            .filter(|line| !line.contains("fe80"))
            .collect::<Vec<_>>()
    };
    assert_eq!(without_numbers(&after), without_numbers(&before));
    // It was told.
    let told: Vec<String> = told
        .take_while(|event| event != "connect default")
        .collect();
    assert_eq!(told, ["disconnect b", "connect b", "disconnect default"]);
    // Who connects while the process is killed does not learn of it.
    system
        .run(["create", "--name", "rests", "--network", "b", "busybox"])
        .ok();
    for round in 0..6_u64 {
        let serves = |line: &str| {
            line.contains("container-network-bridge start") && line.contains("/networks/default")
        };
        let words = ["connect", "disconnect"][usize::try_from(round % 2).unwrap()];
        let changed = system.spawn(["network", words, "default", "rests"]);
        // At one moment or another of it.
        std::thread::sleep(std::time::Duration::from_millis(round * 15));
        for (pid, _) in system.processes().iter().filter(|(_, line)| serves(line)) {
            kill(*pid, Signal::KILL);
        }
        changed.outcome().ok();
    }
    // Meanwhile what is known of it is shown.
    let shown = inspect(&system, "b");
    for member in shown["status"]["containers"].as_array().unwrap() {
        assert_ne!(member["ipv4Address"], serde_json::Value::Null, "{shown}");
    }
    assert!(address(&system, "db", "ipv4Address").starts_with("10.9.1."));

    // A route that came later is seen, and told to whoever starts there.
    host.ip("link add tun7 type veth peer name tun8");
    host.ip("link set tun7 up");
    host.ip("route add 10.9.1.128/25 dev tun7");
    let problem = inspect(&system, "b")["status"]["problem"].to_string();
    assert!(
        problem.contains("10.9.1.128/25 on tun7") && problem.contains("10.9.1.0/24"),
        "{problem}"
    );
    system
        .run(["start", "rests"])
        .ok()
        .says("the host has the route to 10.9.1.128/25 on tun7");
    let listed = system.run(["network", "list", "--format", "json"]).ok();
    assert!(listed.stdout.contains("tun7"), "{}", listed.stdout);
    system.run(["delete", "--force", "rests", "db", "web"]).ok();
}

#[test]
fn a_network_s_process_that_hangs_is_named_and_replaced() {
    let host = Namespace::new();
    let system = System::stopped().in_namespace(&host);
    system.configure("");
    system.set_up();
    system.run(["network", "create", "b"]).ok();
    let small = ["run", "-d", "-m", "256M", "-c", "1", "--network", "b"];
    let run = |id: &str| {
        let words = ["--name", id, "busybox", "sleep", "1000"];
        system.run(small.iter().chain(&words))
    };
    run("web").ok();
    let processes = system.processes();
    let mut of_it = processes.iter().filter(|(_, line)| {
        line.contains("container-network-bridge start") && line.contains("/networks/b")
    });
    let (pid, _) = of_it.next().unwrap();
    kill(*pid, Signal::STOP);
    // Whoever looks learns which process it is, and what was known of the network.
    let shown = inspect(&system, "b");
    let reason = shown["status"]["reason"].as_str().unwrap();
    assert!(reason.contains("its process does not answer"), "{reason}");
    assert_eq!(shown["status"]["containers"][0]["id"], "web");
    // Whoever needs it gets the next one, which goes on with what is there.
    run("db").ok();
    eventually("both find each other", || {
        shell(&system, "db", "ping -c 1 -W 2 web").code == 0
    });
    assert!(inspect(&system, "b")["status"]["reason"].is_null());
    system.run(["delete", "--force", "db", "web"]).ok();
}

/// Ends everything as a power failure does, and begins on another host, which has nothing of it but the disk.
fn reboot(system: System, host: &Namespace) -> System {
    for signal in [Signal::STOP, Signal::KILL] {
        for (pid, _) in system.processes() {
            kill(pid, signal);
        }
    }
    eventually("nothing of it runs", || system.processes().is_empty());
    for entry in std::fs::read_dir(system.scratch()).unwrap().flatten() {
        let name = entry.file_name();
        if !["app", "config", "prefix"].iter().any(|kept| name == *kept) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    system.in_namespace(host)
}

#[test]
fn addresses_stay_over_a_reboot() {
    let (before, after) = (Namespace::new(), Namespace::new());
    let system = System::stopped().in_namespace(&before);
    system.configure("");
    system.set_up();
    system
        .run(["network", "create", "--subnet", "10.9.2.0/24", "b"])
        .ok();
    let server = "mkdir -p /w && echo hello >/w/index.html && exec httpd -f -p 80 -h /w";
    let small = ["-m", "256M", "-c", "1", "--name"];
    let web = [
        "web",
        "--network",
        "default",
        "--network",
        "b",
        "-p",
        "8080:80",
        "busybox",
        "sh",
        "-c",
        server,
    ];
    let db = [
        "db",
        "--network",
        "b,alias=data",
        "busybox",
        "sleep",
        "1000",
    ];
    for words in [&web[..], &db] {
        system
            .run([&["run", "-d"], &small[..], words].concat())
            .ok();
    }
    let networks =
        |system: &System| ["web", "db"].map(|id| system.inspect(id)["status"]["networks"].clone());
    let had = networks(&system);
    let system = reboot(system, &after);
    system.run(["system", "start"]).ok();
    // Whoever comes meanwhile gets none of theirs.
    let next = ["next", "--network", "b", "busybox", "sleep", "1000"];
    system
        .run([&["run", "-d"], &small[..], &next].concat())
        .ok();
    let started = system.run(["start", "web", "db"]).ok();
    assert_eq!(started.stdout, "web\ndb\n");
    assert_eq!(networks(&system), had);
    eventually("the container is reached by its port", || {
        fetch(&after, "127.0.0.1", "8080") == "hello\n"
    });
    eventually("it finds the other one", || {
        shell(&system, "web", "ping -c 1 -W 2 data").code == 0
    });
}
