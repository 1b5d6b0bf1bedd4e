//! Real programs in a Debian root (`images/debian.sh`): `make test-real`.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::system::{System, kill, within};
use crate::users::{Copy, User, stdout};

/// How long a program under emulation may take to be ready.
const PATIENCE: Duration = Duration::from_secs(240);

/// An image for the containers inside the container, made of Debian's busybox.
const IMAGE: &str = "mkdir -p /bb/bin && cp /bin/busybox /bb/bin/ && for name in sh cat; do \
                     ln -s busybox /bb/bin/$name; done && tar -C /bb -cf /bb.tar .";
const LIMITS: &str = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max";

fn debian() -> System {
    let image = PathBuf::from(std::env::var_os("CONTAINER_TEST_DEBIAN").unwrap());
    let system = System::start();
    system
        .run(["image", "import", image.to_str().unwrap(), "debian"])
        .ok();
    system
}

/// With `terminal`, a flag, or without one.
fn run(system: &System, terminal: &str, words: &[&str]) {
    let flags = [
        "run",
        "-d",
        terminal,
        "--privileged",
        "--name",
        "debian",
        "-m",
        "1g",
        "-c",
        "2",
    ];
    system
        .run(flags.iter().chain(&["debian"]).chain(words))
        .ok();
}

fn shell(system: &System, line: &str) -> String {
    system.run(["exec", "debian", "sh", "-c", line]).ok().stdout
}

fn nested(system: &System, program: &str) {
    shell(system, &format!("{program} import /bb.tar bb"));
    let limits = "--rm --network none --memory 64m --pids-limit 33";
    let seen = shell(
        system,
        &format!("{program} run {limits} bb sh -c '{LIMITS}'"),
    );
    assert_eq!(seen, "67108864\n33\n", "{program}");
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn systemd_comes_up_and_runs_docker_and_podman() {
    let system = debian();
    run(&system, "-t", &["/sbin/init"]);
    let state = || {
        system
            .run(["exec", "debian", "systemctl", "is-system-running"])
            .stdout
    };
    within(PATIENCE, "systemd is up", || {
        ["running\n", "degraded\n"].contains(&state().as_str())
    });
    assert_eq!(shell(&system, "cat /proc/1/cgroup"), "0::/init.scope\n");
    // systemd opens its console for each line, and closes it.
    let console = system.run(["logs", "debian"]).ok().stdout;
    assert!(console.contains("Reached target"), "{console}");
    shell(&system, IMAGE);
    for program in ["docker", "podman"] {
        nested(&system, program);
    }
    system.run(["delete", "--force", "debian"]).ok();
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn docker_and_podman_run_without_systemd() {
    let system = debian();
    run(&system, "--tty=false", &["dockerd"]);
    within(PATIENCE, "dockerd is up", || {
        system.run(["exec", "debian", "docker", "info"]).code == 0
    });
    shell(&system, IMAGE);
    for program in ["docker", "podman"] {
        nested(&system, program);
    }
    system.run(["delete", "--force", "debian"]).ok();
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn a_machine_of_debian_lives() {
    let system = debian();
    let machine = |words: &[&str]| system.run(["machine"].iter().chain(words));
    let create = "create --name dev --home-mount none -m 1g -c 2 debian";
    machine(&create.split(' ').collect::<Vec<_>>()).ok();
    let line = |line: &str| machine(&["run", "--root", "sh", "-c", line]);
    let is_up = || {
        let state = line("systemctl is-system-running").stdout;
        // What has failed is told.
        let failed = line("systemctl list-units --failed --plain --no-legend").stdout;
        assert_eq!(failed, "", "{state}");
        state == "running\n"
    };
    within(PATIENCE, "systemd is up", is_up);
    assert_eq!(line("cat /proc/1/comm; hostname").stdout, "systemd\ndev\n");
    // A service of its own, which the next boots start.
    line("printf '[Service]\\nType=oneshot\\nExecStart=/bin/sh -c \"echo up >> /var/log/mine\"\\n[Install]\\nWantedBy=multi-user.target\\n' \
          > /etc/systemd/system/mine.service && systemctl enable --now mine.service")
    .ok();
    line("systemctl reboot");
    let boots = |number: &str| {
        within(PATIENCE, "its service was started", || {
            line("grep -c up /var/log/mine").stdout.trim() == number && is_up()
        });
    };
    boots("2");
    // systemd shuts down in order: the grace of a machine is long enough for that.
    machine(&["stop", "--time", "60"]).ok();
    let journal = machine(&["logs"]).ok().stdout;
    assert!(
        journal.contains("System Power Off") || journal.contains("Power-Off"),
        "{journal}"
    );
    // As soon as it can be entered it takes orders, and a shutdown from inside stays one.
    machine(&["start"]).ok();
    line("poweroff").ok();
    let state = || {
        let shown = machine(&["inspect", "dev"]).ok().stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let of = |key: &str| shown[0][key].as_str().unwrap().to_owned();
        (of("status"), of("containerId"))
    };
    within(PATIENCE, "it is off", || state().0 == "stopped");

    // A disk that is full, or whose machine is killed, is none that does not boot.
    line(
        "fallocate -l $(($(df --output=avail -B1 / | tail -n 1) - 1000000)) /var/full; cat /dev/zero > /var/rest; sync",
    );
    let seen = line("echo more > /var/more || df --output=avail / | tail -n 1");
    assert!(seen.stdout.trim() == "0", "{seen:?}");
    kill(system.vmm(&state().1), Signal::KILL);
    within(PATIENCE, "it has ended", || state().0 == "stopped");
    machine(&["start"]).ok();
    within(PATIENCE, "systemd is up", || {
        let state = line("systemctl is-system-running").stdout;
        ["running\n", "degraded\n"].contains(&state.as_str())
    });
    line("rm /var/full /var/rest").ok();
    machine(&["stop", "--time", "60"]).ok();
    machine(&["start"]).ok();
    within(PATIENCE, "systemd is up", is_up);
    machine(&["delete", "--force", "dev"]).ok();
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn a_machine_of_openrc_lives() {
    let image = PathBuf::from(std::env::var_os("CONTAINER_TEST_OPENRC").unwrap());
    let system = System::start();
    system
        .run(["image", "import", image.to_str().unwrap(), "openrc"])
        .ok();
    let machine = |words: &[&str]| system.run(["machine"].iter().chain(words));
    let create = "create --name rc --home-mount none -m 512m -c 1 openrc";
    machine(&create.split(' ').collect::<Vec<_>>()).ok();
    let line = |line: &str| machine(&["run", "--root", "sh", "-c", line]);
    let status = || {
        let shown = machine(&["inspect", "rc"]).ok().stdout;
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown[0]["status"].as_str().unwrap().to_owned()
    };
    // A command would boot a machine that is off.
    let is_up = || status() == "running" && line("rc-status -r").stdout == "default\n";
    within(PATIENCE, "OpenRC is up", is_up);
    assert_eq!(line("cat /proc/1/comm; hostname").stdout, "init\nrc\n");
    assert_eq!(line("rc-status --crashed").stdout, "");
    line("printf '#!/sbin/openrc-run\\nstart() {\\n echo up >> /var/log/mine\\n}\\n' > /etc/init.d/mine && \
          chmod +x /etc/init.d/mine && rc-update add mine default")
    .ok();
    let starts = |number: &str| {
        within(PATIENCE, "its service was started", || {
            is_up() && line("grep -c up /var/log/mine").stdout.trim() == number
        });
    };
    line("reboot");
    starts("1");
    line("poweroff");
    within(PATIENCE, "it is off", || status() == "stopped");
    machine(&["start"]).ok();
    starts("2");
    machine(&["stop", "--time", "60"]).ok();
    let console = machine(&["logs"]).ok().stdout;
    assert!(console.contains("Will now halt"), "{console}");
    machine(&["delete", "rc"]).ok();
}

#[test]
#[ignore = "a Debian root is made for it: make test-real"]
fn a_user_has_a_machine_of_debian() {
    let user = User::make();
    let copy = Copy::make();
    let image = copy.take(&PathBuf::from(
        std::env::var_os("CONTAINER_TEST_DEBIAN").unwrap(),
    ));
    let lines = [
        "trap 'container system stop' EXIT; set -e; container system start --enable-kernel-install".to_owned(),
        format!("container image import {image} debian; mkdir here; echo seen > here/f; cd here"),
        "container machine create --name dev -m 1g -c 2 debian".to_owned(),
        // Who they are, where they are, and what they may.
        "container machine run sh -c 'id -un; id -u; id -Gn; pwd; echo $HOME; cat f; sudo -n id -u; getent passwd $USER | cut -d: -f7'".to_owned(),
        // Files have the same owner on both sides, whoever makes them there.
        "container machine run sh -c 'stat -c %U f; echo made > g; stat -c %U g; mkdir d; mv g d; chmod 600 d/g; sudo sh -c \"echo root > d/r\"'".to_owned(),
        "stat -c '%U %a' d d/g; cat d/r; touch new; container machine run stat -c %U new".to_owned(),
        "id -u; container machine delete -f dev".to_owned(),
    ];
    let text = stdout(&user.shell(&copy.prefix(), &lines.join("\n")));
    let (name, uid) = (&user.name, text.lines().rev().nth(1).unwrap());
    let expected = format!(
        "dev\n{name}\n{uid}\n{name} sudo\n/home/{name}/here\n/home/{name}\nseen\n0\n/bin/sh\n{name}\n{name}\n{name} 755\n{name} 600\nroot\n{name}\n"
    );
    assert!(text.contains(&expected), "{text}");
}
