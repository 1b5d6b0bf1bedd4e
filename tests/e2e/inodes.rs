//! Inode numbers of the whole root: small enough for JavaScript and 32-bit programs, unique, and the same after a restart.

use std::collections::{HashMap, HashSet};

use crate::system::System;

/// Files of the image, copied up by content and by mode, renamed, linked, replaced; a directory renamed and one merged; new ones.
const CHANGE: &str = "[ -e /new ] || { echo x >> /etc/passwd; chmod 600 /etc/group; mv /bin/cat /bin/moved; ln /etc/passwd /etc/linked; \
                      ln /bin/busybox /bin/linked; mv /home /house; mkdir /home; rm /bin/tac; echo new > /bin/tac; \
                      mkdir -p /new/deep; i=0; while [ $i -lt 50 ]; do echo $i > /new/deep/$i; i=$((i+1)); done; \
                      mkfifo /new/fifo; ln -s x /new/link; }; exec sleep 100000";
const LOOK: &str = "find / -xdev -exec stat -c '%d %i %h %F|%n' {} +";

/// JavaScript's numbers are whole up to here.
const MAX: u64 = 1 << 53;

#[test]
fn inode_numbers_are_small_unique_and_stable() {
    let system = System::shared();
    let words = ["run", "-d", "--name", "inodes", "-m", "256M"].iter();
    let process = ["busybox", "busybox", "sh", "-c", CHANGE];
    system.run(words.chain(&process)).ok();
    let done = "while ! [ -L /new/link ]; do sleep 0.1; done";
    let look = || {
        system.run(["exec", "inodes", "sh", "-c", done]).ok();
        let seen = system
            .run(["exec", "inodes", "busybox", "sh", "-c", LOOK])
            .ok();
        numbers(&seen.stdout)
    };
    let before = look();
    assert!(before.len() > 250, "{}", before.len());
    system.run(["stop", "-t", "0", "inodes"]).ok();
    system.run(["start", "inodes"]).ok();
    let after = look();
    for (path, number) in &before {
        assert_eq!(after.get(path), Some(number), "{path}");
    }
    system.run(["delete", "--force", "inodes"]).ok();
}

/// The inode number of each path, checked.
fn numbers(listing: &str) -> HashMap<String, u64> {
    let mut all = HashMap::new();
    let mut once = HashSet::new();
    let mut device = None;
    for line in listing.lines() {
        let (stat, path) = line.split_once('|').unwrap();
        let mut fields = stat.split(' ');
        let mut number = || fields.next().unwrap().parse::<u64>().unwrap();
        let (dev, inode, links) = (number(), number(), number());
        let is_directory = stat.ends_with("directory");
        // Mounts are listed, and not entered.
        if ["/proc", "/sys", "/dev"].contains(&path) {
            continue;
        }
        assert_eq!(*device.get_or_insert(dev), dev, "{line}");
        assert!(inode < MAX, "{line}");
        if links == 1 || is_directory {
            assert!(once.insert(inode), "twice: {line}");
        }
        all.insert(path.to_owned(), inode);
    }
    all
}
