//! The host's clock jumps while containers run.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::system::{System, eventually, within};
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
