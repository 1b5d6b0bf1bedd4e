//! What a file system has after its machine was killed.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::{check, disk};
use crate::system::{System, eventually, kill, within};

/// What was fsynced is there after the VMM was killed, and the file system is whole.
fn kill_rounds(modes: &[&str], rounds: u32) {
    let system = System::start();
    for mode in modes {
        let name = &format!("v-{mode}");
        system
            .run([
                "volume",
                "create",
                "-s",
                "256M",
                "--opt",
                &format!("journal={mode}"),
                name,
            ])
            .ok();
        for round in 0..rounds {
            let id = &format!("{mode}-{round}");
            // Told only when it is on the disk.
            let script = "i=0; while :; do i=$((i+1)); head -c 20000 /dev/urandom >/m/$i; md5sum /m/$i >/m/$i.sum; sync /m/$i /m/$i.sum /m; echo done $i; rm -f /m/$((i-40)) /m/$((i-40)).sum; done";
            let volume = format!("{name}:/m");
            let run = |flags: &[&str], script: &str| {
                let small = ["run", "-m", "256M", "-c", "1", "--network", "none"];
                let process = ["-v", &volume, "busybox", "sh", "-c", script];
                system.run(small.iter().chain(flags).chain(&process)).ok()
            };
            run(&["-d", "--name", id], script);
            let count = || system.run(["logs", id]).ok().stdout.lines().count();
            // A moment that is another one in each round.
            let wanted = 5 + usize::try_from(round * 7 % 30).unwrap();
            within(Duration::from_secs(60), "some files are written", || {
                count() >= wanted
            });
            kill(system.vmm(id), Signal::KILL);
            eventually("the container has ended", || system.state(id) == "stopped");
            let told = system.run(["logs", id]).ok().stdout;
            let last: u32 = told
                .lines()
                .last()
                .unwrap()
                .trim_start_matches("done ")
                .parse()
                .unwrap();
            check(&disk(&system, name), system.scratch());
            system.run(["delete", id]).ok();
            let verify = format!(
                "cd / && for i in $(seq $(({last} > 38 ? {last} - 38 : 1)) {last}); do md5sum -c /m/$i.sum >/dev/null || echo lost $i; done; rm -rf /m/*"
            );
            let verified = run(&["--rm"], &verify);
            assert_eq!(
                verified.stdout, "",
                "{mode}, round {round}, {last} files: {verified:?}"
            );
        }
    }
}

#[test]
fn what_was_fsynced_outlives_a_killed_machine() {
    kill_rounds(&["ordered", "writeback", "journal"], 1);
}

#[test]
#[ignore = "takes minutes: make test-real"]
fn what_was_fsynced_outlives_many_killed_machines() {
    kill_rounds(&["ordered"], 34);
}

#[test]
#[ignore = "takes minutes: make test-real"]
fn what_was_fsynced_outlives_many_killed_machines_with_writeback() {
    kill_rounds(&["writeback"], 33);
}

#[test]
#[ignore = "takes minutes: make test-real"]
fn what_was_fsynced_outlives_many_killed_machines_with_data_journaled() {
    kill_rounds(&["journal"], 33);
}

/// Runs a program of the host, which succeeds.
fn host<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> String {
    let mut words = words.into_iter();
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A file system of the host in a file, mounted at a directory. What is in that file is what a disk has: bytes that wait in the host's memory to
/// be written are not there yet.
struct HostDisk {
    image: PathBuf,
    at: PathBuf,
}

impl HostDisk {
    fn new(image: PathBuf, at: PathBuf) -> Self {
        fs::File::create(&image).unwrap().set_len(2 << 30).unwrap();
        let make = ["/sbin/mke2fs", "-q", "-t", "ext4"].map(OsStr::new);
        host(make.into_iter().chain([image.as_ref()]));
        Self::mount(image, at)
    }

    fn mount(image: PathBuf, at: PathBuf) -> Self {
        fs::create_dir_all(&at).unwrap();
        let loops = ["mount", "-t", "ext4", "-o", "loop"].map(OsStr::new);
        host(loops.into_iter().chain([image.as_ref(), at.as_ref()]));
        Self { image, at }
    }

    /// What is there after the power failed now, mounted at `at`.
    fn after_a_power_cut(&self, at: PathBuf) -> Self {
        let image = self.image.with_extension("cut");
        let copy = ["cp", "--sparse=always"].map(OsStr::new);
        host(
            copy.into_iter()
                .chain([self.image.as_ref(), image.as_ref()]),
        );
        Self::mount(image, at)
    }
}

impl Drop for HostDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
        let _ = fs::remove_file(&self.image);
    }
}

/// The content of the file at `path` of the ext4 disk `disk`, whose journal is replayed; nothing where there is no such file.
fn file_of(disk: &Path, path: &str) -> String {
    let replayed = Command::new("/sbin/e2fsck")
        .args(["-E", "journal_only", "-y"])
        .arg(disk)
        .output()
        .unwrap();
    assert!(replayed.status.code() <= Some(1), "{replayed:?}");
    let cat = format!("cat {path}");
    host([
        OsStr::new("/sbin/debugfs"),
        OsStr::new("-R"),
        cat.as_ref(),
        disk.as_ref(),
    ])
}

#[test]
fn what_was_fsynced_outlives_the_host_s_power() {
    // Only root may mount a file system from a file.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let system = System::stopped();
    let scratch = system.scratch().to_owned();
    let power = HostDisk::new(scratch.join("power"), system.app());
    system.set_up();
    // Begun long before the loss, so nothing but what was told to be kept is on its way.
    let script = "sync; for d in /m /; do echo kept >$d/kept; sync $d/kept $d; echo lost >$d/lost; done; echo told; sleep 100000";
    let run = [
        "run",
        "-d",
        "--name",
        "kept",
        "-m",
        "256M",
        "-c",
        "1",
        "--network",
        "none",
    ];
    let rest = ["-v", "v:/m", "busybox", "sh", "-c", script];
    system.run(run.iter().chain(&rest)).ok();
    eventually("it was told that they are kept", || {
        system.run(["logs", "kept"]).ok().stdout == "told\n"
    });
    let cut = power.after_a_power_cut(scratch.join("cut"));
    let left = |path: &str| cut.at.join(path);
    for (disk, below) in [
        (left("volumes/v/volume.img"), "data"),
        (left("containers/kept/upper.ext4"), "upper"),
    ] {
        let found = ["kept", "lost"].map(|name| file_of(&disk, &format!("{below}/{name}")));
        assert_eq!(found, ["kept\n", ""], "{}", disk.display());
    }
    drop(cut);
    system.run(["delete", "-f", "kept"]).ok();
    system.run(["system", "stop"]).ok();
    drop(power);
}
