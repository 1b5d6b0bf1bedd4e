//! Operations on files that are cut off: a process that takes part is killed while bytes are on their way. Nothing half made stays, and
//! the next one succeeds.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::system::{System, eventually, kill};

/// Bytes of the file that is copied: more than all buffers on the way hold.
const LARGE: usize = 24 << 20;

/// Who is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Client,
    Apiserver,
    Helper,
}

/// An operation in the middle of its work.
struct Begun {
    client: Child,
}

impl Begun {
    fn spawn(system: &System, words: &[&str]) -> Child {
        let mut command = system.with_deadline(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::null()).spawn().unwrap()
    }

    /// One that has taken the first half of `input`, and waits for the rest.
    fn reading(system: &System, words: &[&str], input: &[u8]) -> Self {
        let mut client = Self::spawn(system, words);
        let stdin = client.stdin.as_mut().unwrap();
        stdin.write_all(&input[..input.len() / 2]).unwrap();
        Self { client }
    }

    /// One whose archive has begun to come, and is not read.
    fn writing(system: &System, words: &[&str]) -> Self {
        let mut client = Self::spawn(system, words);
        let mut first = [0; 512];
        let stdout = client.stdout.as_mut().unwrap();
        stdout.read_exact(&mut first).unwrap();
        Self { client }
    }

    fn end(mut self, system: &System, victim: Victim) {
        let victims = match victim {
            // `timeout` hands a signal on, but not this one.
            Victim::Client => children(self.client.id()),
            Victim::Apiserver => system.pids("container-apiserver"),
            Victim::Helper => system.pids("container-runtime-linux"),
        };
        assert!(!victims.is_empty(), "{victim:?}");
        for pid in victims {
            kill(pid, Signal::KILL);
        }
        drop(self.client.stdin.take());
        drop(self.client.stdout.take());
        let ended = self.client.wait().unwrap();
        assert!(!ended.success(), "{victim:?}");
        system.run(["system", "start"]).ok();
    }
}

/// Process ids of the children of `process`, which has one thread.
fn children(process: u32) -> Vec<u32> {
    let path = format!("/proc/{process}/task/{process}/children");
    let children = fs::read_to_string(path).unwrap();
    children
        .split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

#[test]
fn what_is_cut_off_leaves_nothing_half_made() {
    let system = System::start();
    let scratch = system.scratch().to_owned();
    fs::write(scratch.join("large"), vec![7; LARGE]).unwrap();
    let tar = scratch.join("large.tar");
    let packed = Command::new("tar")
        .arg("-cf")
        .arg(&tar)
        .arg("-C")
        .arg(&scratch)
        .arg("large")
        .status();
    assert!(packed.unwrap().success());
    let bytes = fs::read(&tar).unwrap();
    let words = [
        "create", "--name", "box", "-m", "256M", "-c", "1", "busybox",
    ];
    system.run(words.iter().chain(&["true"])).ok();
    system.run(["volume", "create", "data"]).ok();
    let put = scratch.join("large");
    let put = put.to_str().unwrap();

    let nothing_is_left = |what: &str| {
        eventually(what, || {
            let names = |directory: &str| -> Vec<String> {
                let entries = fs::read_dir(system.app().join(directory)).unwrap();
                let names = entries.map(|entry| entry.unwrap().file_name());
                names.map(|name| name.into_string().unwrap()).collect()
            };
            names("transient").is_empty()
                && names("volumes") == ["data"]
                && system.pids("container-runtime-linux").is_empty()
        });
    };
    for victim in [Victim::Client, Victim::Apiserver, Victim::Helper] {
        Begun::reading(&system, &["volume", "import", "new"], &bytes).end(&system, victim);
        nothing_is_left(&format!("import, {victim:?}"));

        Begun::reading(&system, &["cp", "-", "box:/tmp"], &bytes).end(&system, victim);
        nothing_is_left(&format!("cp, {victim:?}"));
        let absent = system.run(["cp", "box:/tmp/large", put]).code(1);
        assert!(absent.stderr.contains("No such file"), "{absent:?}");
        assert_eq!(fs::metadata(put).unwrap().len(), LARGE as u64);
    }
    system.run(["volume", "cp", put, "data:/large"]).ok();
    system.run(["cp", put, "box:/large"]).ok();
    for (words, victim) in [
        (&["export", "box"][..], Victim::Apiserver),
        (&["export", "box"], Victim::Helper),
        (&["volume", "export", "data"], Victim::Client),
        (&["volume", "export", "data"], Victim::Apiserver),
        (&["cp", "box:/large", "-"], Victim::Helper),
    ] {
        Begun::writing(&system, words).end(&system, victim);
        nothing_is_left(&format!("{words:?}, {victim:?}"));
    }
    for victim in [Victim::Client, Victim::Apiserver] {
        let client = Begun::spawn(&system, &["commit", "box", "half"]);
        eventually("its machine is there", || {
            !system.pids("container-runtime-linux").is_empty()
        });
        Begun { client }.end(&system, victim);
        nothing_is_left(&format!("commit, {victim:?}"));
        let listed = system.run(["image", "list", "-q"]).ok().stdout;
        assert!(!listed.contains("half"), "{listed}");
    }
    // All of them work.
    let into = system.pipe(["volume", "import", "data"], &bytes);
    assert!(into.status.success(), "{into:?}");
    let out = system.pipe(["volume", "export", "data"], b"");
    assert!(out.status.success() && out.stdout.len() > LARGE);
    system.run(["commit", "box", "whole"]).ok();
    system.run(["start", "-a", "box"]).ok();
}
