//! A close of a file is told to the server, and nobody waits for its answer: what holds all the same.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::files::build;
use super::{bind, directory, servers, told};
use crate::system::{System, eventually};

/// A container `id` with two CPUs, and its directory on the host with the program of `closing.c`.
fn container(system: &System, id: &str) -> PathBuf {
    let data = directory(system, id);
    build("closing.c", &data.join("program"));
    run(system, id, &data);
    data
}

fn run(system: &System, id: &str, data: &Path) {
    let bound = bind(data, "/data");
    let words = ["run", "-d", "--privileged", "--name", id, "-m", "256M"];
    let process = ["-c", "2", "-v", &bound, "busybox", "sleep", "100000"];
    system.run(words.iter().chain(&process)).ok();
}

/// Runs `path` of the host. The time until that could be started: while somebody has it open for writing, it cannot.
fn started(path: &Path) -> Duration {
    let begun = Instant::now();
    eventually("it can be started", || {
        match Command::new(path).arg("runs").status() {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::TXTBSY) => false,
            status => {
                assert_eq!(status.unwrap().code(), Some(7));
                true
            }
        }
    });
    begun.elapsed()
}

#[test]
fn what_was_written_is_on_the_host_when_the_file_is_closed() {
    let system = System::shared();
    let data = container(&system, "closing");
    let words = ["exec", "-i", "closing", "/data/program"];
    let mut process = system
        .command(words.iter().chain(&["steps", "/data", "/data/program"]))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = process.stdin.take().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    for number in 0..30 {
        writeln!(input, "{number}").unwrap();
        let mut said = String::new();
        output.read_line(&mut said).unwrap();
        assert_eq!(said, format!("{number}\n"));
        let file = fs::read_to_string(data.join(format!("file-{number}"))).unwrap();
        assert_eq!(file, number.to_string());
        let taken = started(&data.join(format!("program-{number}")));
        assert!(taken < Duration::from_secs(1), "{taken:?}");
    }
    drop(input);
    assert!(process.wait().unwrap().success());

    // A container that ends at once.
    let bound = bind(&data, "/data");
    let script = "for n in $(seq 300); do echo $n > /data/last-$n; done";
    let words = ["run", "--rm", "-v", &bound, "busybox", "sh", "-c", script];
    system.run(words).ok();
    for number in 1..=300 {
        let found = fs::read_to_string(data.join(format!("last-{number}"))).unwrap();
        assert_eq!(found, format!("{number}\n"));
    }
    system.run(["delete", "-f", "closing"]).ok();
}

#[test]
fn who_comes_after_a_close_finds_no_trace_of_it() {
    let system = System::shared();
    let data = container(&system, "closed");
    fs::create_dir(data.join("work")).unwrap();
    let said = told(&system, "closed", "/data/program files /data/work");
    assert_eq!(said, "done\n");
    let inside = servers(&system, "closed")[1];
    eventually("nobody has a file open that has no name", || {
        let held = fs::read_dir(format!("/proc/{inside}/fd")).unwrap();
        held.flatten().all(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            !target.to_string_lossy().contains("nameless")
        })
    });

    fs::write(data.join("lock"), "").unwrap();
    let said = told(&system, "closed", "/data/program locks /data/lock");
    assert_eq!(said, "done\n");
    let host = fs::File::open(data.join("lock")).unwrap();
    flock(&host, FlockOperation::NonBlockingLockExclusive).unwrap();
    system.run(["delete", "-f", "closed"]).ok();
}

/// A mount of the host below a share, where the test may make one: in the guest a file system of its own.
struct Below(PathBuf);

impl Below {
    fn mount(path: PathBuf) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "none"]).arg(&path);
        let is_mounted = command.status().is_ok_and(|status| status.success());
        is_mounted.then_some(Self(path))
    }
}

impl Drop for Below {
    fn drop(&mut self) {
        let _ended = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_share_and_what_is_mounted_below_it_can_go_as_soon_as_files_are_closed() {
    let system = System::shared();
    let data = directory(&system, "below");
    build("closing.c", &data.join("program"));
    let Some(below) = Below::mount(data.join("mounted")) else {
        return;
    };
    run(&system, "below", &data);
    let said = told(&system, "below", "/data/program mounts /data/mounted");
    assert_eq!(said, "done\n");
    // It was one of its own, and none was left with something in it.
    assert!(below.0.join("3").exists());
    // The whole share as well, which then is mounted anew.
    let script = "umount /data/mounted /data; mkdir /all; for n in $(seq 30); do mount -t virtiofs shares /all && \
                  for f in $(seq 8); do echo $n > /all/0/all-$f; done && umount /all || exit; done; echo done";
    assert_eq!(told(&system, "below", script), "done\n");
    assert_eq!(fs::read_to_string(data.join("all-8")).unwrap(), "30\n");
    let script = "dmesg | grep -iE 'busy inodes|warning:|bug:|virtio-fs:'";
    let log = system.run(["exec", "--privileged", "below", "sh", "-c", script]);
    assert_eq!((log.stdout.as_str(), log.code), ("", 1));
    system.run(["delete", "-f", "below"]).ok();
}
