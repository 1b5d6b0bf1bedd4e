//! Options as people spell them elsewhere, in one container.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use crate::system::System;

#[test]
fn docker_s_spellings_mean_what_docker_makes_of_them() {
    let system = System::shared();
    let script = "cat /sys/fs/cgroup/cpu.max; nproc; pwd; printf %s \"$BYTES\" | od -An -tx1; echo $FILE; \
                  grep -c ' /t tmpfs .*size=64k' /proc/mounts; df -k /dev/shm | tail -1 | awk '{print $2}'; \
                  test -t 0 || echo no terminal";
    let file = system.scratch().join("spelling.env");
    std::fs::write(&file, "\u{feff}# comment\r\nFILE=\"a b\"\r\n").unwrap();
    let options: &[&str] = &[
        "run",
        "-it=false",
        "-d",
        "-d=false",
        "--rm=false",
        "--rm",
        "--rm=true",
        "--restart",
        "no",
        "-m",
        "1g",
        "-m",
        "256m",
        "--cpus",
        "4",
        "--cpus",
        "1.5",
        "-w",
        "/tmp",
        "-w",
        "",
        "-u",
        "bin",
        "-u",
        "",
        "--name",
        "",
        "--hostname",
        "",
        "--stop-signal",
        "",
        "--stop-timeout=-1",
        "--shm-size",
        "0",
        "--health-cmd",
        "true",
        "--health-interval",
        "0",
        "--health-start-period",
        "0s",
        "--security-opt",
        "label=disable",
        "--security-opt",
        "apparmor=unconfined",
        "--net",
        "none",
        "--mount",
        "type=tmpfs,dst=/t,tmpfs-size=64k",
        "-e",
        "BYTES",
        "--env-file",
    ];
    let mut words: Vec<OsString> = options.iter().map(OsString::from).collect();
    words.push(file.into());
    words.extend(["busybox", "sh", "-c", script].map(OsString::from));
    let mut command = system.command(words);
    command.env("BYTES", OsStr::from_bytes(b"a\xffb"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "150000 100000",
            "2",
            "/",
            "61 ef bf bd 62",
            "\"a b\"",
            "1",
            "65536",
            "no terminal"
        ],
        "{errors}"
    );
    assert_eq!(
        errors,
        "Warning: environment variable BYTES is not UTF-8: each wrong byte of it becomes U+FFFD\n"
    );
}

#[test]
fn an_app_root_is_one_however_it_is_spelled() {
    let system = System::start();
    let app = system.app();
    let link = system.scratch().join("link");
    std::os::unix::fs::symlink(&app, &link).unwrap();
    for spelling in [
        app.join(""),
        app.join("../app"),
        link.clone(),
        link.join("containers/.."),
    ] {
        let output = system
            .command(["system", "status", "--format", "json"])
            .env("CONTAINER_APP_ROOT", &spelling)
            .output()
            .unwrap();
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(status["paths"]["appRoot"], app.to_str().unwrap());
        assert_eq!(status["resources"]["images"], 1);
    }
    let output = system
        .command(["system", "start"])
        .env("CONTAINER_APP_ROOT", &link)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    // Sockets in another place are another system's.
    let output = system
        .command(["system", "start", "--timeout", "20"])
        .env("XDG_RUNTIME_DIR", system.scratch().join("elsewhere"))
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("is running already"), "{errors}");
}
