//! `exec`: further processes in a running container.

use crate::system::System;

#[test]
fn runs_beside_the_first_process() {
    let system = System::shared();
    system
        .run([
            "run",
            "-d",
            "--name",
            "exec",
            "-e",
            "FROM=container",
            "-w",
            "/tmp",
            "busybox",
            "sleep",
            "1000",
        ])
        .ok();
    let outcome = system
        .run([
            "exec",
            "-e",
            "OWN=exec",
            "exec",
            "sh",
            "-c",
            "echo $FROM $OWN; pwd; exit 4",
        ])
        .code(4);
    assert_eq!(outcome.stdout, "container exec\n/tmp\n");
    let processes = system
        .run(["exec", "exec", "ps", "-o", "pid,args"])
        .ok()
        .stdout;
    assert!(processes.contains("sleep 1000"), "{processes}");
    let output = system.pipe(["exec", "-i", "exec", "wc", "-c"], &vec![b'x'; 1_000_000]);
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "1000000");
    system
        .run(["exec", "-u", "nobody", "exec", "id", "-un"])
        .ok();
    system
        .run(["exec", "exec", "no-such-program"])
        .says("no-such-program");
    let detached = system
        .run(["exec", "-d", "exec", "sh", "-c", "echo x > /tmp/detached"])
        .ok();
    assert_eq!(detached.stdout, "exec\n");
    crate::system::eventually("the detached process has run", || {
        system.run(["exec", "exec", "cat", "/tmp/detached"]).stdout == "x\n"
    });
    system.run(["stop", "-t", "1", "exec"]).ok();
    system
        .run(["exec", "exec", "true"])
        .code(1)
        .says("is not running");
    system.run(["delete", "exec"]).ok();
}

#[test]
fn many_at_once() {
    let system = System::shared();
    system.sleeper("many");
    let running: Vec<_> = (0..20)
        .map(|number| {
            (
                number,
                system.spawn([
                    "exec",
                    "many",
                    "sh",
                    "-c",
                    &format!("echo {number}; exit {number}"),
                ]),
            )
        })
        .collect();
    for (number, command) in running {
        let outcome = command.outcome().code(number);
        assert_eq!(outcome.stdout, format!("{number}\n"));
    }
    system.run(["delete", "--force", "many"]).ok();
}
