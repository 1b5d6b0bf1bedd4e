//! Bad arguments: a clear error, the right exit code, nothing left.

use crate::system::System;

#[test]
fn bad_input_is_refused_and_leaves_nothing() {
    let system = System::shared();
    system
        .run(["create", "--name", "taken", "busybox", "true"])
        .ok();
    let long = "n".repeat(64);
    let rows: &[(&[&str], i32, &str)] = &[
        (&["run", "no-such-image", "true"], 1, "no-such-image"),
        (&["run", "--no-such-flag", "busybox"], 64, "--no-such-flag"),
        (&["run", "--name", "../x", "busybox", "true"], 64, "../x"),
        (&["run", "--name", &long, "busybox", "true"], 64, "63"),
        (&["run", "--name", "-x", "busybox", "true"], 64, "-x"),
        (
            &["create", "--name", "taken", "busybox", "true"],
            1,
            "container already exists: taken",
        ),
        (
            &["run", "-m", "100M", "busybox", "true"],
            64,
            "minimum memory amount allowed is 200 MiB (got 104857600 bytes)",
        ),
        (
            &["run", "-m", "1p", "busybox", "true"],
            1,
            "memory of 1 PiB: a container may have from 200 MiB to ",
        ),
        (&["run", "-m", "much", "busybox", "true"], 64, "much"),
        (&["run", "-m", "900T", "busybox", "true"], 1, "memory"),
        (&["run", "-c", "0", "busybox", "true"], 64, "cpus"),
        (
            &["run", "-c", "1000", "busybox", "true"],
            1,
            "1000 CPUs: this host has ",
        ),
        (&["run", "-e", "", "busybox", "true"], 64, "env"),
        (
            &["run", "--ulimit", "nofile=2:1", "busybox", "true"],
            64,
            "ulimit 'nofile' soft limit (2) cannot exceed hard limit (1)",
        ),
        (
            &["run", "--cap-add", "NONSENSE", "busybox", "true"],
            64,
            "NONSENSE",
        ),
        (
            &["run", "--kernel", "/no/such/kernel", "busybox", "true"],
            64,
            "/no/such/kernel",
        ),
        (
            &["run", "--kernel", "/etc/passwd", "busybox", "true"],
            1,
            "/etc/passwd",
        ),
        (&["start", "no-such"], 1, "container not found: no-such"),
        (
            &["start", "--attach", "taken", "no-such"],
            64,
            "--attach and --interactive are for one container",
        ),
        (
            &["inspect", "--format", "{{.Id}}", "taken"],
            64,
            "there is no --format: the output is JSON",
        ),
        (
            &["stop"],
            64,
            "no containers specified and --all not supplied",
        ),
        (&["stop", "--all", "taken"], 64, "conflict"),
        (&["kill", "-s", "NOSUCH", "taken"], 64, "NOSUCH"),
        (&["kill", "taken"], 1, "is not running"),
        (&["inspect", "no-such"], 1, "no-such"),
        (
            &["exec", "taken", "true"],
            1,
            "container taken is not running",
        ),
        (&["image", "delete", "no-such"], 1, "no-such"),
        (
            &["image", "delete"],
            64,
            "no images specified and --all not supplied",
        ),
        (
            &["image", "delete", "busybox"],
            1,
            // Other tests' containers may, too.
            "unable to delete image busybox (must be forced): container",
        ),
        (
            &["run", "--rm", "--restart", "always", "busybox", "true"],
            64,
            "conflicting options: --restart and --rm",
        ),
        (
            &["run", "--env-file", "/no/such", "busybox", "true"],
            64,
            "Error: --env-file /no/such: No such file or directory\n",
        ),
        (
            &["run", "--group-add", "1", "busybox", "true"],
            64,
            "Error: --group-add is not available yet\n",
        ),
        (&["ps"], 64, "use `container list`\n"),
        (
            &["image", "history", "busybox"],
            64,
            "`container image history` is not available yet\n",
        ),
        (&["no-such-command"], 64, "no-such-command"),
    ];
    let mut wrong = Vec::new();
    for (arguments, code, text) in rows {
        let outcome = system.run(*arguments);
        if outcome.code != *code || !outcome.stderr.contains(text) || !outcome.stdout.is_empty() {
            wrong.push(format!(
                "{arguments:?}: expected {code} and {text:?}, got {outcome:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    system.run(["delete", "taken"]).ok();
}

#[test]
fn the_daemon_must_run() {
    let system = System::stopped();
    system
        .run(["list"])
        .code(1)
        .says("Ensure container system service has been started with `container system start`");
    system.run(["system", "status"]).code(1);
    system.run(["system", "stop"]).ok();
}
