//! What one side changes, and when the other one sees it.

use std::fs;
use std::time::{Duration, Instant};

use super::{bind, directory, exec, servers, start};
use crate::system::{System, eventually};

#[test]
fn what_the_host_changes_is_seen_within_a_second() {
    let system = System::shared();
    let data = directory(&system, "changing");
    let file = data.join("file");
    fs::write(&file, "first\n").unwrap();
    let bound = bind(&data, "/data");
    start(&system, "coherent", &["-v", &bound]).ok();
    // A file that is open all the time, one that is opened again, and a name.
    let watch = "echo watching; exec 3< /data/file; read line <&3; while :; do read line <&3 && echo open; \
                 grep -q second /data/file && echo again; test -e /data/name && echo name; \
                 done | awk '!seen[$0]++ { print; fflush(); if (++n == 3) exit }'";
    let watcher = system.spawn(["exec", "coherent", "sh", "-c", watch]);
    eventually("the guest looks", || watcher.has_output());
    let begun = Instant::now();
    let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut open, b"second\n").unwrap();
    fs::write(data.join("name"), "").unwrap();
    eventually("the guest has seen all three", || {
        let ended = rustix::process::Pid::from_raw(i32::try_from(watcher.pid()).unwrap()).unwrap();
        rustix::process::waitid(
            rustix::process::WaitId::Pid(ended),
            rustix::process::WaitIdOptions::EXITED
                | rustix::process::WaitIdOptions::NOHANG
                | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap()
        .is_some()
    });
    // Beside a second, what an emulated guest takes to look.
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(3), "{taken:?}");
    watcher.outcome().ok();

    // The space of a deleted file comes back, though the guest has known it.
    let script = "dd if=/dev/zero of=/data/large bs=1M count=32 2>/dev/null; cat /data/large > /dev/null; rm /data/large";
    exec(&system, "coherent", script).ok();
    let inside = servers(&system, "coherent")[1];
    eventually("nobody holds the deleted file", || {
        let held = fs::read_dir(format!("/proc/{inside}/fd")).unwrap();
        held.flatten().all(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            !target.to_string_lossy().contains("large")
        })
    });
    system.run(["delete", "--force", "coherent"]).ok();
}
