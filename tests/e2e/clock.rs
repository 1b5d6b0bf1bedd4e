//! The host's clock jumps while containers run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::system::{System, eventually, kill, within};
use crate::templates::{restored, wait_for_template};

/// Fakes the wall clock of the programs that it is loaded into (Debian's libfaketime), by what a file says.
const FAKE: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;

/// A system whose every program sees the clock of [`Clock`].
struct Clock {
    system: System,
    offset: PathBuf,
}

impl Clock {
    /// The prefix is a copy of the real one with wrappers that load the library.
    fn start() -> Self {
        let system = System::stopped();
        let real = system.prefix().to_owned();
        let prefix = system.scratch().join("prefix");
        let offset = system.scratch().join("offset");
        fs::create_dir_all(prefix.join("bin")).unwrap();
        for part in ["libexec", "share"] {
            symlink(real.join(part), prefix.join(part)).unwrap();
        }
        for program in ["container", "container-apiserver"] {
            let script = format!(
                "#!/bin/sh\nexport LD_PRELOAD={FAKE} FAKETIME_TIMESTAMP_FILE={} FAKETIME_NO_CACHE=1\n\
                 export FAKETIME_DONT_FAKE_MONOTONIC=1 CONTAINER_INSTALL_ROOT={}\nexec {} \"$@\"\n",
                offset.display(),
                prefix.display(),
                real.join("bin").join(program).display(),
            );
            let path = prefix.join("bin").join(program);
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let system = system.with_prefix(prefix);
        let clock = Self { system, offset };
        clock.jump(0);
        clock.system.set_up();
        clock
    }

    /// Sets the clock `seconds` off the true time.
    fn jump(&self, seconds: i64) {
        let new = self.offset.with_extension("new");
        fs::write(&new, format!("{seconds:+}\n")).unwrap();
        fs::rename(new, &self.offset).unwrap();
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

#[test]
fn a_clock_that_jumps_breaks_nothing() {
    let clock = Clock::start();
    let system = &clock.system;
    let shape = ["-m", "256M", "-c", "1"];
    let run = |id: &str, flags: &[&str], script: &str| {
        let words = ["run", "-d", "--name", id].into_iter().chain(shape);
        let words = words.chain(flags.iter().copied());
        let words = words.chain(["busybox", "sh", "-c", script]);
        system.run(words).ok();
    };
    let health = [
        "--health-cmd",
        "test -e /tmp/well",
        "--health-interval",
        "200ms",
        "--health-retries",
        "1",
    ];
    let says = "touch /tmp/well; while read -r line; do echo $line; done </fifo";
    run(
        "usual",
        &health,
        &format!("mkfifo /fifo; exec 3<>/fifo; {says}"),
    );
    let say = |text: &str| {
        let script = format!("echo {text} >/fifo");
        system.run(["exec", "usual", "sh", "-c", &script]).ok();
    };
    let health = || system.inspect("usual")["status"]["health"].clone();
    let logs = || system.run(["logs", "usual"]).ok().stdout;
    let guest = |id: &str| -> i64 {
        let date = system.run(["exec", id, "date", "+%s"]).ok().stdout;
        date.trim().parse().unwrap()
    };
    wait_for_template(system);
    say("before");
    within(Duration::from_secs(5), "it is told", || {
        logs() == "before\n"
    });
    let follower = system.spawn(["logs", "-f", "usual"]);

    let mut told = "before\n".to_owned();
    for (name, offset) in [("future", YEAR), ("past", -DAY)] {
        clock.jump(offset);
        say(name);
        told.extend([name, "\n"]);
        eventually("what is said now is told", || logs() == told);
        // Health goes on being looked at.
        eventually("it is healthy", || health() == "healthy");
        system.run(["exec", "usual", "rm", "/tmp/well"]).ok();
        eventually("it is unhealthy", || health() == "unhealthy");
        system.run(["exec", "usual", "touch", "/tmp/well"]).ok();
        // A start from a template that was made in another time. A helper that is confined cannot read what fakes the
        // clock: its guest has the true time.
        run(name, &[], "trap '' TERM; sleep 100000 & wait");
        assert!(restored(system, name));
        assert!(guest(name).abs_diff(now()) < 60);
        assert!(guest("usual").abs_diff(now()) < 60);
        system.sample(name);
        system.run(["list", "--all"]).ok();
        system.run(["image", "list", "--verbose"]).ok();
    }

    // A jump within a run makes that no longer: it does not renew the restarts.
    let fails = "until rm /go; do sleep 0.1; done; exit 3";
    run("fails", &["--restart", "on-failure:2"], fails);
    let status = || system.inspect("fails")["status"].clone();
    for (count, offset) in [(0, 0), (1, YEAR), (2, 2 * YEAR)] {
        eventually("it runs", || {
            let status = status();
            status["state"] == "running" && status["restartCount"].as_i64().unwrap_or(0) == count
        });
        clock.jump(offset);
        system.run(["exec", "fails", "touch", "/go"]).ok();
    }
    eventually("it is given up", || status()["state"] == "stopped");
    assert_eq!(status()["restartCount"], 2);

    // A jump within the grace of a stop makes that neither longer nor shorter.
    for offset in [YEAR, -DAY] {
        clock.jump(0);
        let begun = Instant::now();
        let stop = system.spawn([
            "stop",
            "-t",
            "2",
            if offset > 0 { "future" } else { "past" },
        ]);
        eventually("it is being stopped", || {
            system
                .list()
                .iter()
                .any(|container| container["status"]["state"] == "stopping")
        });
        clock.jump(offset);
        assert_eq!(stop.outcome().code, 0);
        let took = begun.elapsed();
        assert!((2..20).contains(&took.as_secs()), "{took:?}");
    }
    system.run(["stop", "-t", "0", "usual"]).ok();
    assert_eq!(follower.outcome().stdout, told);
    system.run(["start", "usual"]).ok();
    system.run(["delete", "--all", "--force"]).ok();
}

/// By how much the clock of container `id` differs from the host's, in microseconds, as well as that can be told from here: of many
/// answers the fastest one counts, and half of the time that it took is subtracted.
fn difference(system: &System, id: &str) -> i64 {
    use std::io::{BufRead as _, BufReader, Write as _};
    let script = "while read -r line; do echo $EPOCHREALTIME; done";
    let mut child = system
        .command(["exec", "-i", id, "sh", "-c", script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let us = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_micros()).unwrap()
    };
    let mut answer = || {
        let before = us(SystemTime::now());
        stdin.write_all(b"\n").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let after = us(SystemTime::now());
        let guest: i64 = line.trim().replace('.', "").parse().unwrap();
        let half = (after - before) / 2;
        (half, guest - before - half)
    };
    let (half, off) = (0..100).map(|_| answer()).min().unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    println!("{id}: {off} us, in an answer that took {} us", 2 * half);
    (off.abs() - half).max(0)
}

#[test]
fn a_guest_s_clock_is_the_host_s() {
    let system = System::start();
    let is_right = |id: &str| {
        // The container's start is left alone for a while; a look on a busy host is not exact at once.
        within(Duration::from_secs(20), "its clock is right", || {
            difference(&system, id) <= 5_000
        });
    };
    let run = |id: &str, more: &[&str]| {
        let words = ["run", "-d", "--name", id].into_iter();
        let words = words
            .chain(crate::system::SMALL)
            .chain(more.iter().copied());
        system.run(words.chain(["busybox", "sleep", "100000"])).ok();
    };
    run("cold", &["--no-template"]);
    is_right("cold");
    run("first", &[]);
    wait_for_template(&system);
    run("restored", &["--cap-add", "SYS_TIME"]);
    assert!(restored(&system, "restored"));
    is_right("restored");
    system.run(["pause", "restored"]).ok();
    system.run(["unpause", "restored"]).ok();
    is_right("restored");
    // Its whole machine stands still for a while.
    let vmm = system.vmm("restored");
    kill(vmm, rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_secs(1));
    kill(vmm, rustix::process::Signal::CONT);
    is_right("restored");
    // As after a night in which the host slept, or as with a counter that was measured wrong.
    for script in ["date -s @1000000000", "date -s @2000000000"] {
        system.run(["exec", "restored", "sh", "-c", script]).ok();
        within(Duration::from_secs(60), "its clock is set", || {
            difference(&system, "restored") <= 5_000
        });
    }
    system.run(["delete", "--all", "--force"]).ok();
}
