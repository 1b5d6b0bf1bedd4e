//! Layers of millions of files, and the memory that the workers take for them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use command_fds::{CommandFdExt, FdMapping};
use support::tarball::{self, BLOCK, checksum};

const PROGRAM: &str = env!("CARGO_BIN_EXE_container-core-images");
/// The most that a worker may take of 4 million files with ordinary names, in MiB.
const MOST: i64 = 2048;

/// The largest resident size of any child that has ended, in MiB.
fn peak() -> i64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` has room for what the kernel writes.
    let told = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr()) };
    assert_eq!(told, 0);
    // SAFETY: the kernel has written it, and zeros were a valid one already.
    let usage = unsafe { usage.assume_init() };
    usage.ru_maxrss / 1024
}

/// Unpacks a layer of `count` empty files, a thousand in each directory, and merges it; gives both workers' verdicts.
fn unpack(count: u32) -> [String; 2] {
    let image = tempfile::tempfile().unwrap();
    let mut worker = Command::new(PROGRAM)
        .args(["unpack-layer", "--budget", "17179869184"])
        .stdin(Stdio::piped())
        .stdout(image.try_clone().unwrap())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = BufWriter::new(worker.stdin.take().unwrap());
    let mut header: [u8; BLOCK] = *tarball::file("", "").first_chunk().unwrap();
    for number in 0..count {
        let path = format!("usr/lib/modules/{:05}/file-{number:08}.ko", number / 1000);
        header[..path.len()].copy_from_slice(path.as_bytes());
        checksum(&mut header);
        // A worker that refuses has ended.
        if input.write_all(&header).is_err() {
            break;
        }
    }
    let _ = input.write_all(&tarball::end());
    drop(input);
    let unpacked = verdict(worker);
    let mut merger = Command::new(PROGRAM);
    let identity = format!("sha256:{}", "0".repeat(64));
    merger
        .args(["merge-layers", "--layers", "1", "--identity", &identity])
        .stdin(Stdio::null())
        .stdout(tempfile::tempfile().unwrap())
        .stderr(Stdio::piped());
    let parent_fd = OwnedFd::from(File::from(OwnedFd::from(image)));
    let mapping = FdMapping {
        parent_fd,
        child_fd: 3,
    };
    merger.fd_mappings(vec![mapping]).unwrap();
    [unpacked, verdict(merger.spawn().unwrap())]
}

fn verdict(mut worker: std::process::Child) -> String {
    let mut text = String::new();
    worker
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    worker.wait().unwrap();
    text
}

#[test]
#[ignore = "four million files: by hand, in a release build"]
fn four_million_files_fit_into_the_stated_memory() {
    let [unpacked, merged] = unpack(4_100_000);
    assert!(unpacked.contains("converted"), "{unpacked}");
    assert!(merged.contains("merged"), "{merged}");
    println!("peak of both workers: {} MiB", peak());
    assert!(peak() < MOST, "{} MiB", peak());
    let [unpacked, _] = unpack(4_300_000);
    assert!(
        unpacked.contains("there are more than 4194304 files"),
        "{unpacked}"
    );
}
