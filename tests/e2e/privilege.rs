//! What `--privileged`, `--cap-add SYS_ADMIN`, `--device` and `exec --privileged` give, and what they do not.

use std::process::Command;

use crate::system::{System, eventually};

/// Divides the container's control group, enters a part, tries to be more than the limits allow, and uses devices.
const ADMINISTER: &str = r"
set -e
cd /sys/fs/cgroup
echo limits $(cat memory.max pids.max)
mkdir -p a/b 2>&1
echo '+memory +pids' > cgroup.subtree_control
echo $$ > a/cgroup.procs
echo group $(cat /proc/self/cgroup)
echo max > pids.max
(i=0; while [ $i -lt 60 ]; do sleep 1 > /dev/null 2>&1 & i=$((i+1)); done) 2>&1 | grep -o fork | sort -u
cd /
echo heard > /dev/kmsg
mkdir -p /mnt
cat > /disk
mount -o loop /disk /mnt
echo mounted $(grep -c ' /mnt ext' /proc/mounts)
umount /mnt
dd if=/dev/zero of=/swap bs=1M count=4 2> /dev/null
mkswap /swap > /dev/null
losetup /dev/loop5 /swap
swapon /dev/loop5
echo swaps $(grep -c loop5 /proc/swaps)
swapoff /dev/loop5
";

/// A small ext4 file system.
fn disk(system: &System) -> Vec<u8> {
    let path = system
        .scratch()
        .join(format!("{:?}.ext4", std::thread::current().id()));
    let mut command = Command::new("/sbin/mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal"]);
    assert!(command.arg(&path).arg("512k").status().unwrap().success());
    std::fs::read(path).unwrap()
}

#[test]
fn who_administers_the_machine_divides_its_groups_within_the_limits() {
    let system = System::shared();
    for flags in [&["--privileged"][..], &["--cap-add", "SYS_ADMIN"]] {
        let words = ["run", "-i", "--rm", "-m", "256M", "--pids-limit", "40"].iter();
        let process = ["busybox", "sh", "-c", ADMINISTER];
        let output = system.pipe(words.chain(flags).chain(&process), &disk(&system));
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "limits 268435456 40\ngroup 0::/a\nfork\nmounted 1\nswaps 1\n",
            "{flags:?} {output:?}"
        );
    }
}

#[test]
fn the_privileged_see_and_change_their_machine() {
    let system = System::shared();
    let script = "grep CapEff /proc/self/status; ls /dev/vda /dev/loop-control /dev/ptmx /dev/shm/; \
                  echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward; \
                  head -c 2 /dev/vda | wc -c; \
                  grep -cE ' /(sys|proc/sys|sys/fs/cgroup) [a-z0-9]+ ro' /proc/mounts";
    let run = ["run", "--rm", "-m", "256M", "--privileged"].iter();
    let process = ["busybox", "sh", "-c", script];
    let outcome = system.run(run.chain(&process));
    assert_eq!(
        outcome.stdout,
        "CapEff:\t000001ffffffffff\n/dev/loop-control\n/dev/ptmx\n/dev/vda\n\n/dev/shm/:\n1\n2\n0\n",
        "{outcome:?}"
    );
}

#[test]
fn others_get_the_devices_and_the_rights_that_they_ask_for() {
    let system = System::shared();
    let words = ["run", "-d", "--name", "asks", "-m", "256M"].iter();
    let devices = [
        "--device",
        "/dev/loop3:/dev/disk:r",
        "--hostname",
        "asks.example",
    ];
    let process = ["busybox", "sleep", "100000"];
    system.run(words.chain(&devices).chain(&process)).ok();
    let script = "mkdir /sys/fs/cgroup/x 2> /dev/null || echo no groups; : < /dev/disk && echo read; \
                  (: >> /dev/disk) 2> /dev/null || echo not written; : < /dev/fuse && echo fuse; \
                  stat -c '%A' /dev/net/tun; (mknod /other b 7 4 && : < /other) 2> /dev/null || echo no other; \
                  cat /proc/self/cgroup; hostname -f; readlink /etc/mtab; ls /etc/resolv.conf; \
                  cd /proc/sys/net/ipv4; echo $(cat ip_unprivileged_port_start ping_group_range); \
                  grep Groups /proc/self/status";
    let seen = system.run(["exec", "asks", "sh", "-c", script]).ok();
    let expected = "no groups\nread\nnot written\nfuse\ncrw-rw-rw-\nno other\n0::/\nasks.example\n\
                    /proc/mounts\n/etc/resolv.conf\n0 0 2147483647\nGroups:\t0 \n";
    assert_eq!(seen.stdout, expected);
    let capabilities = ["asks", "grep", "CapEff", "/proc/self/status"].iter();
    let all = system.run(["exec", "--privileged"].iter().chain(capabilities));
    assert_eq!(all.ok().stdout, "CapEff:\t000001ffffffffff\n");
    system.run(["delete", "--force", "asks"]).ok();
    let words = ["run", "--rm", "-m", "256M", "--device", "/dev/sdz"].iter();
    system
        .run(words.chain(&["busybox", "true"]))
        .says("the container's machine has no device /dev/sdz; those of the host");
}

/// A process that waits for a frozen disk keeps the container from ending for as long as the disk is frozen.
#[test]
fn a_container_that_dies_slowly_says_so() {
    const DIE: &str = "set -e; mkdir /mnt; while ! [ -e /disk ]; do sleep 0.1; done; losetup /dev/loop0 /disk; mount -t ext4 /dev/loop0 /mnt; \
                       fsfreeze --freeze /mnt; (echo x > /mnt/x) & while ! [ -e /die ]; do sleep 0.1; done";
    let system = System::shared();
    let words = ["run", "-d", "--name", "dying", "-m", "256M", "--privileged"].iter();
    let process = ["busybox", "sh", "-c", DIE];
    system.run(words.chain(&process)).ok();
    let put = ["exec", "-i", "dying", "sh", "-c", "cat > /d && mv /d /disk"];
    assert!(system.pipe(put, &disk(&system)).status.success());
    eventually("somebody waits for the disk", || {
        let states = "grep -l '^State:.D' /proc/[0-9]*/status";
        system.run(["exec", "dying", "sh", "-c", states]).code == 0
    });
    system.run(["exec", "dying", "touch", "/die"]).ok();
    // The first answer that is no success comes while it dies, which takes as long as the disk stands still; on a slow host one that
    // was let in before, and is killed with the others, may take all of that time.
    let refused = std::cell::RefCell::new(None);
    eventually("it is dying", || {
        let answer = system.run(["exec", "dying", "true"]);
        let is_let_in = [0, 137].contains(&answer.code);
        *refused.borrow_mut() = (!is_let_in).then_some(answer);
        !is_let_in
    });
    let refused = refused.into_inner().unwrap();
    if !refused.stderr.contains("container dying is not running") {
        refused.code(1).says("is stopping");
    }
    system.run(["delete", "--force", "dying"]).ok();
}
