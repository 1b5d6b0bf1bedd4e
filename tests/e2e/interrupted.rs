//! Operations on files that are cut off: a process that takes part is killed while bytes are on their way. Nothing half made stays, and
//! the next one succeeds.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use crate::system::{System, eventually, image, kill};

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
        command.stderr(Stdio::piped()).spawn().unwrap()
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
        let mut told = String::new();
        let stderr = self.client.stderr.as_mut().unwrap();
        stderr.read_to_string(&mut told).unwrap();
        // Nobody's archive is damaged.
        let is_said = told.contains("the machine of these files ended before that was done");
        assert!(is_said || !matches!(victim, Victim::Helper), "{told}");
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

/// Bytes of each file of a tree that is copied.
const FILE: u64 = 3 << 20;
/// How many files it has.
const FILES: usize = 4;

/// Names below `directory` that are of something unfinished.
fn unfinished(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let begins = [".unfinished-", ".writing-", ".removing-"];
    names
        .filter(|name| begins.iter().any(|begin| name.starts_with(begin)))
        .collect()
}

/// The mask of this process (`umask(2)`), which its clients have, too.
fn mask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    u32::from_str_radix(mask.unwrap().trim(), 8).unwrap()
}

/// Bytes of each file at and below `path`.
fn file_sizes(path: &Path) -> Vec<u64> {
    match fs::read_dir(path) {
        Ok(entries) => entries
            .flat_map(|entry| file_sizes(&entry.unwrap().path()))
            .collect(),
        Err(_) => fs::metadata(path).iter().map(fs::Metadata::len).collect(),
    }
}

/// Starts `words` and kills the client `after` that, whatever it does then.
fn cut_off(system: &System, words: &[&str], after: Duration) {
    let mut client = Begun::spawn(system, words);
    drop(client.stdin.take());
    // The moment is what is tried: no event tells of it.
    std::thread::sleep(after);
    // It may have ended by itself.
    for pid in children(client.id()) {
        kill(pid, Signal::KILL);
    }
    client.wait().unwrap();
}

#[test]
fn clients_that_are_killed_at_any_moment_leave_nothing_half_made() {
    let system = System::start();
    let at = |name: &str| system.scratch().join(name).to_str().unwrap().to_owned();
    fs::create_dir(at("tree")).unwrap();
    for number in 0..FILES {
        fs::write(
            at(&format!("tree/{number}")),
            vec![7; usize::try_from(FILE).unwrap()],
        )
        .unwrap();
    }
    let packed = Command::new("tar")
        .args(["-cf", &at("tree.tar"), "-C", &at("tree"), "."])
        .status();
    assert!(packed.unwrap().success());
    let image = image().display().to_string();
    let box_words = ["create", "--name", "box", "-m", "256M", "busybox", "true"];
    system.run(box_words).ok();
    system.run(["volume", "create", "data"]).ok();
    system
        .run(["volume", "import", "data", &at("tree.tar")])
        .ok();
    system.run(["cp", &at("tree"), "box:/tree"]).ok();

    let (out, in_tar) = (at("out"), at("out.tar"));
    let (tar, tree) = (at("tree.tar"), at("tree"));
    let operations: [&[&str]; 10] = [
        &["volume", "import", "new", &tar],
        &["volume", "export", "-o", &in_tar, "data"],
        &["volume", "cp", &tree, "data:/copy"],
        &["cp", &tree, "box:/copy"],
        &["cp", "box:/tree", &out],
        &["export", "-o", &in_tar, "box"],
        &["commit", "box", "half"],
        &[
            "create", "--name", "new", "-v", "fresh:/v", "busybox", "true",
        ],
        &["image", "load", "-i", &image],
        &[
            "run", "--rm", "--name", "new", "-v", "fresh:/v", "busybox", "true",
        ],
    ];
    let sizes = |directory: &str| file_sizes(Path::new(directory));
    let clear = || {
        let _ = fs::remove_file(&in_tar);
        let _ = fs::remove_dir_all(&out);
        system.run(["delete", "--force", "new"]);
        for volume in ["new", "fresh"] {
            system.run(["volume", "delete", "--force", volume]);
        }
        system.run(["image", "delete", "--force", "half"]);
    };
    let rounds = std::env::var("CONTAINER_TEST_ROUNDS").map_or(2, |rounds| rounds.parse().unwrap());
    for words in operations {
        clear();
        let begun = Instant::now();
        system.run(words).ok();
        let took = begun.elapsed();
        for round in 0..rounds {
            clear();
            // Each part of its time, and somewhere in that.
            let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos();
            let part = (f64::from(round) + f64::from(now % 1000) / 1000.0) / f64::from(rounds);
            let what = format!("{words:?}, killed after {part:.2} of {took:?}");
            cut_off(&system, words, took.mul_f64(part));
            eventually(&what, || {
                let transient = fs::read_dir(system.app().join("transient")).unwrap();
                let volumes = unfinished(&system.app().join("volumes"));
                let layers = unfinished(&system.app().join("layers"));
                let blobs = fs::read_dir(system.app().join("content/ingest")).unwrap();
                transient.count() == 0
                    && volumes.is_empty()
                    && layers.is_empty()
                    && blobs.count() == 0
                    && unfinished(&system.app().join("containers")).is_empty()
                    && system.helpers().is_empty()
            });
            // A file is whole or not there, in the container, in the volume and on the host, and a directory can be read by all who may.
            assert!(sizes(&out).iter().all(|size| *size == FILE), "{what}");
            if let Ok(found) = fs::metadata(&out) {
                // As it was begun, or as it is in the end.
                let mode = found.permissions().mode() & 0o777;
                assert!(mode == 0o755 || mode == 0o755 & !mask(), "{what}: {mode:o}");
            }
            if let Ok(found) = fs::metadata(&in_tar) {
                assert!(found.len() > FILE * FILES as u64, "{what}");
            }
            for (volume, command) in [(false, &["cp"][..]), (true, &["volume", "cp"])] {
                let from = if volume { "data:/copy" } else { "box:/copy" };
                let back = at("back");
                let copied = system.run(command.iter().copied().chain([from, &back]));
                if copied.code == 0 {
                    assert!(sizes(&back).iter().all(|size| *size == FILE), "{what}");
                    fs::remove_dir_all(&back).unwrap();
                }
            }
            // Whole or not there, and it works.
            let volumes = system
                .run(["volume", "list", "--format", "json"])
                .ok()
                .stdout;
            assert!(!volumes.contains("damage"), "{what}: {volumes}");
        }
    }
}
