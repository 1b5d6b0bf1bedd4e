//! Ways out of a share: nothing of the host beside it is read, written or made.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{bind, directory, exec, servers, start, told};
use crate::system::System;

/// Links are exchanged with directories, by the guest and by the host, while paths through them are walked on the other side's behalf.
#[test]
fn links_that_are_swapped_lead_nowhere() {
    let system = System::shared();
    let data = directory(&system, "swapped");
    let outside = directory(&system, "outside");
    fs::write(outside.join("secret"), "secret\n").unwrap();
    fs::create_dir(data.join("d")).unwrap();
    fs::write(data.join("d/secret"), "inside\n").unwrap();
    symlink(&outside, data.join("link")).unwrap();
    symlink("../outside", data.join("up")).unwrap();
    // As the host has it, and from the server's root.
    symlink("/proc/self/root/etc", data.join("proc")).unwrap();
    let bound = bind(&data, "/data");
    start(&system, "swapped", &["-v", &bound]).ok();

    // What the guest walks by a link is the guest's own.
    let script = "cd /data; for l in link up proc; do cat $l/secret $l/shadow; echo x > $l/planted; mkdir $l/made; ln d/secret $l/hard; done; \
                  cat d/../../outside/secret ../outside/secret; rm -f proc/planted; rm -rf proc/made";
    let outcome = exec(&system, "swapped", script);
    assert!(!outcome.stdout.contains("secret\n"), "{outcome:?}");

    // Two in the guest and one on the host.
    let swap = "cd /data; for n in $(seq 150); do mv d x; ln -s ../outside d; rm d; mv x d; done";
    let read = "cd /data; for n in $(seq 300); do cat d/secret; echo x > d/planted; mkdir d/made; rmdir d/made; done 2>/dev/null | sort | uniq -c";
    let swapping = system.spawn(["exec", "swapped", "sh", "-c", swap]);
    let reading = system.spawn(["exec", "swapped", "sh", "-c", read]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(2) {
        let renamed = fs::rename(data.join("d"), data.join("y")).is_ok();
        let linked = renamed && symlink(&outside, data.join("d")).is_ok();
        if linked {
            let _ = fs::remove_file(data.join("d"));
        }
        if renamed {
            let _ = fs::rename(data.join("y"), data.join("d"));
        }
    }
    swapping.outcome();
    let outcome = reading.outcome();
    assert!(!outcome.stdout.contains("secret"), "{outcome:?}");
    let names: Vec<_> = fs::read_dir(&outside)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["secret"]);
    assert_eq!(
        fs::read_to_string(outside.join("secret")).unwrap(),
        "secret\n"
    );
    assert!(!servers(&system, "swapped").is_empty());
    system.run(["delete", "--force", "swapped"]).ok();
}

/// Special files of the host in a share, which root of the host has put there.
#[test]
fn special_files_of_the_host_are_not_opened_there() {
    let system = System::shared();
    let data = directory(&system, "special");
    for (name, words) in [
        ("pipe", &["p"][..]),
        // The host's log of the kernel.
        ("device", &["c", "1", "11"]),
    ] {
        let made = Command::new("mknod")
            .arg(data.join(name))
            .args(words)
            .status()
            .unwrap();
        assert!(made.success() || !rustix::process::geteuid().is_root());
    }
    let listener = std::os::unix::net::UnixListener::bind(data.join("socket")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let bound = bind(&data, "/data");
    let read_only = format!("{bound}:ro").replace("/data:ro", "/read:ro");
    start(
        &system,
        "special",
        &["-v", &bound, "-v", &read_only, "--privileged"],
    )
    .ok();
    // A pipe is the guest's own: nobody of the host is at its other end, nor waits the server for one.
    let script = "cd /data; (echo through > pipe &); cat pipe; mknod made c 1 11 || echo refused; mknod disk b 8 0 || echo refused; \
                  nc -U socket </dev/null 2>/dev/null || echo alone; mount -o remount,rw,dev /read; touch /read/x || echo kept; echo on > on; cat on";
    let text = told(&system, "special", script);
    assert_eq!(text, "through\nrefused\nrefused\nalone\nkept\non\n");
    listener.accept().unwrap_err();
    // It holds no device or pipe open for reading or writing: those that it knows are names only.
    let inside = servers(&system, "special")[1];
    for entry in fs::read_dir(format!("/proc/{inside}/fd"))
        .unwrap()
        .flatten()
    {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        if !["pipe", "device", "socket"]
            .iter()
            .any(|name| target.ends_with(name))
        {
            continue;
        }
        let number = entry.file_name().into_string().unwrap();
        let told = fs::read_to_string(format!("/proc/{inside}/fdinfo/{number}")).unwrap();
        let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = u32::from_str_radix(flags.unwrap().trim(), 8).unwrap();
        // O_PATH
        assert_ne!(flags & 0o10_000_000, 0, "{}: {flags:o}", target.display());
    }
    system.run(["delete", "--force", "special"]).ok();
    fs::remove_file(data.join("socket")).unwrap();
}
