//! Too little of something: processes, memory, disk, descriptors, and output without end.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::system::{System, eventually, within};

#[test]
fn a_fork_bomb_harms_its_container_only() {
    let system = System::shared();
    let run = [
        "run",
        "-d",
        "--name",
        "forks",
        "--pids-limit",
        "50",
        "-m",
        "256M",
        "-c",
        "1",
        "busybox",
        "sh",
        "-c",
        "f() { f | f & }; f; sleep 100000",
    ];
    system.run(run).ok();
    let processes = || system.sample("forks")["numProcesses"].as_u64().unwrap();
    eventually("the limit is reached", || processes() == 50);
    system.run(["run", "--rm", "busybox", "true"]).ok();
    system.run(["stop", "-t", "0", "forks"]).ok();
    system.run(["delete", "forks"]).ok();
}

#[test]
fn a_memory_bomb_ends_itself_and_is_told_of() {
    const BOMB: &str = "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done";
    let system = System::shared();
    system.sleeper("memory");
    system.run(["exec", "memory", "sh", "-c", BOMB]).code(137);
    system.run(["exec", "memory", "true"]).ok();
    system.run(["delete", "--force", "memory"]).ok();
    let run = [
        "run", "--name", "memory", "-m", "256M", "-c", "1", "busybox", "sh", "-c", BOMB,
    ];
    system.run(run).code(137);
    let status = &system.inspect("memory")["status"];
    assert_eq!(
        (status["exitCode"].as_i64(), status["oomKilled"].as_bool()),
        (Some(137), Some(true)),
        "{status}"
    );
    system.run(["delete", "memory"]).ok();
}

#[test]
fn output_without_end_takes_bounded_memory_and_disk() {
    flood(72);
}

#[test]
#[ignore = "long"]
fn a_line_of_a_gibibyte_takes_bounded_memory_and_disk() {
    flood(1024);
}

/// A line of `mebibytes`, then bytes that are no text, to the log of a container that nobody is attached to.
fn flood(mebibytes: u32) {
    let system = System::start();
    let script = format!(
        "dd if=/dev/zero bs=1M count={mebibytes} 2>/count; gzip -c /bin/busybox; echo end >&2; sleep 100000"
    );
    let run = [
        "run", "-d", "--name", "flood", "-m", "256M", "-c", "1", "busybox", "sh", "-c", &script,
    ];
    system.run(run).ok();
    within(Duration::from_secs(100), "all of it was written", || {
        system.run(["logs", "-n", "1", "flood"]).stderr == "end\n"
    });
    let count = system.run(["exec", "flood", "cat", "/count"]).ok().stdout;
    let all = format!("{mebibytes}+0 records out");
    assert!(count.contains(&all), "{count}");
    let helper = system.helper("flood").unwrap();
    let status = std::fs::read_to_string(format!("/proc/{helper}/status")).unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 20 << 10, "the helper had {peak} KiB");
    let logs: u64 = ["stdio.log", "stdio.log.1"]
        .map(|log| system.bundle("flood").join(log))
        .iter()
        .map(|log| log.metadata().map_or(0, |metadata| metadata.len()))
        .sum();
    // One that is full, and the present one.
    assert!(
        (32 << 20..70 << 20).contains(&logs),
        "the logs have {logs} bytes"
    );
    system.run(["exec", "flood", "true"]).ok();
    system.run(["delete", "--force", "flood"]).ok();
}

#[test]
fn a_full_disk_is_an_error_and_then_forgotten() {
    // Only root may mount a small one.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let system = System::stopped();
    std::fs::create_dir(system.app()).unwrap();
    let disk = Disk::mount(system.app());
    let reserve = |size: &str| {
        let text = format!("[container]\nstandby = false\n[storage]\nreserve = \"{size}\"\n");
        system.configure(&text);
    };
    reserve("0");
    system.set_up();
    let create = |name| {
        let words = [
            "create",
            "--name",
            name,
            "--no-template",
            "--pull",
            "never",
            "-m",
            "256M",
            "-c",
            "1",
            "busybox",
            "sh",
            "-c",
        ];
        system.run(words.into_iter().chain(["echo said; sleep 100000"]))
    };
    create("writes").ok();
    create("rests").ok();
    system.run(["start", "writes"]).ok();

    let fill = disk.fill();
    for outcome in [create("refused"), system.run(["start", "rests"])] {
        let outcome = outcome.code(1).says("No space left on device");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome:?}");
    }
    let list = system.run(["list", "--all", "-q"]).ok().stdout;
    assert_eq!(list, "rests\nwrites\n");
    for name in ["rests", "writes"] {
        let half = std::fs::read_dir(system.bundle(name))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .find(|name| name.starts_with('.') || name.ends_with("partial"));
        assert_eq!(half, None);
    }
    // Of operations on files nothing is there that is not whole.
    let large = system.scratch().join("large");
    std::fs::write(&large, vec![7; 16 << 20]).unwrap();
    let large = large.to_str().unwrap();
    let inside = system.app().join("out");
    let inside = inside.to_str().unwrap();
    for words in [
        &["volume", "create", "none"][..],
        &["volume", "import", "none", large],
        &["cp", large, "rests:/large"],
        &["cp", large, "writes:/large"],
        &["cp", "writes:/bin/busybox", inside],
        &["export", "-o", inside, "writes"],
        &["export", "-o", inside, "rests"],
        &["commit", "writes", "none"],
        &["commit", "rests", "none"],
    ] {
        let outcome = system.run(words).code(1);
        assert!(outcome.stderr.starts_with("Error: "), "{outcome:?}");
    }
    assert!(!Path::new(inside).exists());
    for words in [["volume", "list"], ["image", "list"]] {
        let listed = system.run(words).ok().stdout;
        assert!(!listed.contains("none"), "{listed}");
    }
    for directory in ["transient", "volumes"] {
        let mut left = std::fs::read_dir(system.app().join(directory)).unwrap();
        assert!(left.next().is_none(), "{directory}");
    }
    assert_eq!(system.run(["logs", "writes"]).ok().stdout, "said\n");
    std::fs::remove_file(fill).unwrap();
    // It stood still meanwhile, and goes on.
    eventually("there is room", || {
        system.run(["exec", "writes", "true"]).code == 0
    });

    system.run(["cp", large, "rests:/large"]).ok();
    system.run(["start", "rests"]).ok();
    create("refused").ok();
    system.run(["stop", "-t", "0", "refused", "rests"]).ok();
    system.run(["system", "stop"]).ok();

    // What is kept free is kept from what would begin, and from nothing else.
    reserve("1gb");
    system.run(["system", "start"]).ok();
    let outcome = create("reserved")
        .code(1)
        .says("less than the reserve of 1024 MiB (storage.reserve)");
    assert!(outcome.stderr.lines().count() <= 2, "{outcome:?}");
    // What exists can be started, and so made smaller.
    system.run(["start", "rests"]).ok();
    assert_eq!(system.run(["logs", "writes"]).ok().stdout, "said\n");
    assert!(!system.bundle("reserved").exists());
    system.run(["delete", "--all", "--force"]).ok();
    system.run(["system", "stop"]).ok();
}

#[test]
fn too_few_descriptors_are_an_error_and_leave_nothing() {
    let system = System::start();
    system.run(["system", "stop"]).ok();
    let start_with = |limits: &str| {
        let mut start = Command::new("sh");
        start
            .args(["-c", &format!("ulimit {limits}; exec \"$0\" system start")])
            .arg(system.prefix().join("bin/container"));
        system.environment(&mut start);
        run(&mut start);
    };
    start_with("-n 30");
    let words = ["run", "-d", "--pull", "never", "busybox", "sleep", "1000"];
    system.run(words).code(1).says("Too many open files");
    assert!(system.list().is_empty());
    assert_eq!(system.helpers(), []);
    system.run(["system", "stop"]).ok();

    // Some have what they need, at some moments: whoever fails leaves nothing either, sooner or later.
    start_with("-n 48");
    let words = [
        "run", "--rm", "--pull", "never", "-m", "256M", "-c", "1", "busybox", "true",
    ];
    let at_once: Vec<_> = (0..10).map(|_| system.spawn(words)).collect();
    for outcome in at_once.into_iter().map(crate::system::Background::outcome) {
        assert!(
            outcome.code == 0 || outcome.stderr.contains("Error: "),
            "{outcome:?}"
        );
    }
    eventually("nothing is left", || {
        let left = std::fs::read_dir(system.app().join("containers")).unwrap();
        left.count() == 0 && system.helpers().is_empty()
    });
    assert!(system.list().is_empty());
    system.run(["system", "stop"]).ok();

    // A soft limit binds nobody.
    start_with("-S -n 30");
    system.run(words).ok();
}

/// A file system with little room at `0`.
pub struct Disk(PathBuf);

impl Disk {
    pub fn mount(at: PathBuf) -> Self {
        // Images are taken in as long as half a GiB is left to others.
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=700M,mode=700", "none"])
            .arg(&at));
        Self(at)
    }

    /// Takes all that is left.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("fill");
        let file = std::fs::File::create(&path).unwrap();
        let mut length = 700 << 20;
        let mut offset = 0;
        while length >= 4096 {
            let flags = rustix::fs::FallocateFlags::empty();
            match rustix::fs::fallocate(&file, flags, offset, length) {
                Ok(()) => offset += length,
                Err(_) => length /= 2,
            }
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a failed test still runs in it keeps it until it ends.
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
