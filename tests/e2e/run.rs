//! `run`: what a process in a container sees and how its end comes back.

use crate::system::System;

#[test]
fn prints_from_a_kernel_of_its_own() {
    let system = System::shared();
    // The nested machine's kernel has no nftables, which a start would tell of.
    let nested = std::env::var_os("CONTAINER_TEST_ACCELERATOR").is_some();
    let network: &[&str] = if nested { &["--network", "none"] } else { &[] };
    let words = ["run", "--rm"].iter().chain(network);
    let outcome = system.run(words.chain(&["busybox", "echo", "hello"])).ok();
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("hello\n", "")
    );
    let host = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let guest = system
        .run([
            "run",
            "--rm",
            "busybox",
            "cat",
            "/proc/sys/kernel/random/boot_id",
        ])
        .ok()
        .stdout;
    assert_ne!(host, guest);
    assert_eq!(host.len(), guest.len());
}

#[test]
fn exit_codes_and_signals_come_through() {
    let system = System::shared();
    system
        .run(["run", "--rm", "busybox", "sh", "-c", "exit 42"])
        .code(42);
    system
        .run([
            "run",
            "--rm",
            // The kernel keeps a first process from killing itself; one below an init can.
            "--init",
            "busybox",
            "sh",
            "-c",
            "kill -TERM $$; sleep 5",
        ])
        .code(143);
}

#[test]
fn the_process_is_what_was_asked_for() {
    let system = System::shared();
    let script =
        "echo $$; hostname; pwd; id -u; id -g; echo $A $B; cat /proc/sys/kernel/hostname; nproc";
    let outcome = system
        .run([
            "run", "--rm", "--name", "asked", "-c", "2", "-e", "A=1", "-e", "B=2", "-w",
            "/tmp/new", "-u", "nobody", "busybox", "sh", "-c", script,
        ])
        .ok();
    let lines: Vec<_> = outcome.stdout.lines().collect();
    assert_eq!(
        lines,
        [
            "1", "asked", "/tmp/new", "65534", "65534", "1 2", "asked", "2"
        ]
    );
}

#[test]
fn the_root_is_writable_and_thrown_away_and_read_only_where_asked() {
    let system = System::shared();
    let outcome = system
        .run([
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo x > /etc/new && rm /etc/passwd && ls /etc/new && df -T / | tail -1",
        ])
        .ok();
    assert!(
        outcome.stdout.starts_with("/etc/new\n") && outcome.stdout.contains("overlay"),
        "{outcome:?}"
    );
    let outcome = system.run(["run", "--rm", "busybox", "cat", "/etc/new"]);
    assert_eq!(outcome.code, 1);
    system
        .run(["run", "--rm", "--read-only", "busybox", "touch", "/x"])
        .code(1)
        .says("Read-only file system");
}

#[test]
fn stderr_stays_apart() {
    let outcome = System::shared()
        .run([
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "echo out; echo err >&2",
        ])
        .ok();
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn entrypoint_cidfile_and_labels() {
    let system = System::shared();
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("id");
    let outcome = system
        .run([
            "run",
            "--name",
            "labelled",
            "-l",
            "a=b",
            "--cidfile",
            path.to_str().unwrap(),
            "--entrypoint",
            "echo",
            "busybox",
            "x",
            "y",
        ])
        .ok();
    assert_eq!(outcome.stdout, "x y\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "labelled");
    let shown = system.inspect("labelled");
    assert_eq!(shown["configuration"]["labels"]["a"], "b");
    assert_eq!(shown["status"]["state"], "stopped");
    assert_eq!(shown["status"]["exitCode"], 0);
    system.run(["delete", "labelled"]).ok();
}

#[test]
fn init_reaps_and_forwards() {
    let system = System::shared();
    let outcome = system
        .run([
            "run",
            "--rm",
            "--init",
            "busybox",
            "sh",
            "-c",
            "echo $$; exit 9",
        ])
        .code(9);
    assert_ne!(outcome.stdout, "1\n");
}

#[test]
fn the_name_is_free_again_after_a_failed_run() {
    let system = System::shared();
    for (arguments, text) in [
        (
            vec!["run", "--name", "again", "busybox", "no-such-program"],
            "no-such-program",
        ),
        (
            vec!["run", "--name", "again", "-u", "nosuch", "busybox", "true"],
            "nosuch",
        ),
        (
            vec!["run", "--name", "again", "busybox", "/etc/passwd"],
            "/etc/passwd",
        ),
    ] {
        let outcome = system.run(&arguments).says(text);
        assert_ne!(outcome.code, 0, "{outcome:?}");
        assert!(
            system
                .run(["inspect", "again"])
                .code(1)
                .stderr
                .contains("not found")
        );
    }
    assert!(!system.bundle("again").exists());
}

#[test]
fn an_image_s_volume_is_a_directory_with_the_image_s_content() {
    let system = System::shared();
    let script = "set -e; cd \"$0\"; mkdir -p v/bin v/data; cp /bin/busybox v/bin/; echo there > v/data/file; \
                  tar -C v -cf volume.tar .";
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(system.scratch())
        .status();
    assert!(made.unwrap().success());
    let tar = system.scratch().join("volume.tar");
    let changes = [
        "image",
        "import",
        "--change",
        "VOLUME /data /new",
        "--change",
        "EXPOSE 80/tcp",
    ];
    system
        .run(changes.into_iter().chain([tar.to_str().unwrap(), "volume"]))
        .ok();
    let shown = system.run(["image", "inspect", "volume"]).ok().stdout;
    assert!(shown.contains("80/tcp"), "{shown}");
    let script =
        "cd /data && /bin/busybox cat file && echo more >> file && /bin/busybox wc -l < file";
    let run = ["run", "--rm", "--pull", "never", "volume"];
    let words = run.into_iter().chain(["/bin/busybox", "sh", "-c", script]);
    assert_eq!(system.run(words).ok().stdout, "there\n2\n");
    system.run(["image", "delete", "volume"]).ok();
}
