//! What a process in a container can see and do.

use crate::system::{System, eventually};

#[test]
fn capabilities_paths_and_devices() {
    let system = System::shared();
    let script = "grep -E 'Cap(Eff|Bnd)' /proc/self/status; cat /proc/kcore 2>/dev/null | wc -c; \
                  echo x 2>&1 > /proc/sys/kernel/hostname; ls /dev | tr '\\n' ' '; \
                  mknod /tmp/vda b 254 0 && head -c 1 /tmp/vda 2>&1; df /dev/shm | tail -1; ulimit -n";
    let outcome = system.run([
        "run",
        "--rm",
        "--ulimit",
        "nofile=77:88",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    let text = &outcome.stdout;
    // The 14 default capabilities of Docker and Apple.
    assert!(
        text.contains("CapEff:\t00000000a80425fb") && text.contains("CapBnd:\t00000000a80425fb"),
        "{outcome:?}"
    );
    assert!(text.contains("\n0\n"), "/proc/kcore is masked: {outcome:?}");
    assert!(text.contains("Read-only file system"), "{outcome:?}");
    assert!(text.contains("null"), "{outcome:?}");
    assert!(
        text.contains("Operation not permitted"),
        "the disk can be opened: {outcome:?}"
    );
    assert!(text.contains("65536"), "{outcome:?}");
    assert!(text.ends_with("77\n"), "{outcome:?}");
}

#[test]
fn a_masked_list_of_users_is_empty_to_those_it_names() {
    let system = System::shared();
    let mask = ["--masked-path", "/etc/passwd", "-u", "www-data"];
    let words = ["run", "-d", "--name", "masked", "-m", "256M"].iter();
    let script = "id -u; echo $HOME; cat /etc/passwd; exec sleep 1000";
    let process = ["busybox", "sh", "-c", script];
    system.run(words.chain(&mask).chain(&process)).ok();
    eventually("it has looked", || {
        system.run(["logs", "masked"]).ok().stdout == "33\n/var/www\n"
    });
    let id = system.run(["exec", "-u", "5", "masked", "id", "-u"]).ok();
    assert_eq!(id.stdout, "5\n");
    system
        .run(["exec", "-u", "www-data", "masked", "id"])
        .code(1)
        .says("user 'www-data' not found");
    system.run(["delete", "--force", "masked"]).ok();
}

#[test]
fn memory_and_processes_are_limited() {
    let system = System::shared();
    let outcome = system
        .run([
            "run",
            "--rm",
            "-m",
            "256M",
            "-c",
            "1",
            "busybox",
            "sh",
            "-c",
            "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max",
        ])
        .ok();
    assert_eq!(outcome.stdout, "268435456\n100000 100000\n");
}

#[test]
fn a_read_only_image_stays_as_it_is() {
    let system = System::shared();
    let layers = || {
        let mut sums: Vec<_> = std::fs::read_dir(system.app().join("layers"))
            .unwrap()
            .map(|entry| {
                std::fs::read(entry.unwrap().path())
                    .unwrap()
                    .iter()
                    .fold(0_u64, |sum, byte| {
                        sum.wrapping_mul(31).wrapping_add(u64::from(*byte))
                    })
            })
            .collect();
        sums.sort_unstable();
        sums
    };
    // The first start unpacks the layer.
    system.run(["run", "--rm", "busybox", "true"]).ok();
    let before = layers();
    assert!(!before.is_empty());
    // Even a container that may do everything in its guest writes to its own layer only.
    let script = "mknod /tmp/vda b 254 0; for node in /tmp/vda /dev/vda; do echo damage > $node; done; echo x > /bin/new";
    system.run([
        "run",
        "--rm",
        "--cap-add",
        "ALL",
        "busybox",
        "sh",
        "-c",
        script,
    ]);
    assert_eq!(before, layers());
    system
        .run(["run", "--rm", "busybox", "ls", "/bin/new"])
        .code(1);
}

#[test]
fn a_container_may_run_virtual_machines_if_asked() {
    let system = System::shared();
    let script = "grep -qE 'svm|vmx' /proc/cpuinfo && : < /dev/kvm";
    let run = |flags: &[&str]| {
        let words = ["run", "--rm", "-m", "256M", "-c", "1", "--pull", "never"];
        let command = ["busybox", "sh", "-c", script];
        system.run(words.iter().chain(flags).chain(&command))
    };
    let asked = run(&["--virtualization"]);
    if asked.code != 0 {
        // KVM without nesting: told, not ignored.
        asked
            .code(1)
            .says("nested virtualization is off on this host");
    }
    assert_ne!(run(&[]).code, 0);
}

#[test]
fn a_seccomp_profile_of_docker_s_means_what_docker_makes_of_it() {
    let system = System::shared();
    let path = system.scratch().join("profile.json");
    let profile = serde_json::json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "args": [], "comment": "",
             "includes": {"caps": ["CAP_SYS_ADMIN"]}, "excludes": {}},
            {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO",
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
        ],
    });
    std::fs::write(&path, profile.to_string()).unwrap();
    let option = format!("seccomp={}", path.display());
    let script = "mkdir /d 2>/dev/null && echo made; ln -s a /l 2>/dev/null && echo linked; true";
    for (flags, allowed) in [
        (&[][..], "made\n"),
        (&["--cap-add", "SYS_ADMIN"], "linked\n"),
    ] {
        let run = ["run", "--rm", "-m", "256M", "--security-opt", &option];
        let process = ["busybox", "sh", "-c", script];
        let words = run.iter().chain(flags).chain(&process);
        assert_eq!(system.run(words).ok().stdout, allowed, "{flags:?}");
    }
}
