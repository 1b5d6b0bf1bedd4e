//! What a file system has after its machine was killed.

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
