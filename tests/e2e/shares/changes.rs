//! What one side changes, and when the other one sees it.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::files::build;
use super::{bind, directory, exec, servers, start, told};
use crate::system::{System, eventually};

#[test]
fn what_the_host_changes_is_seen_within_a_second() {
    let system = System::shared();
    let data = directory(&system, "changing");
    let file = data.join("file");
    fs::write(&file, "first\n").unwrap();
    let bound = bind(&data, "/data");
    start(&system, "coherent", &["-v", &bound]).ok();
    // A file that is open all the time, one that is opened again, and a name.
    let watch = "echo watching; exec 3< /data/file; read line <&3; while :; do read line <&3 && echo open; \
                 grep -q second /data/file && echo again; test -e /data/name && echo name; \
                 done | awk '!seen[$0]++ { print; fflush(); if (++n == 3) exit }'";
    let watcher = system.spawn(["exec", "coherent", "sh", "-c", watch]);
    eventually("the guest looks", || watcher.has_output());
    let begun = Instant::now();
    let mut open = fs::OpenOptions::new().append(true).open(&file).unwrap();
    std::io::Write::write_all(&mut open, b"second\n").unwrap();
    fs::write(data.join("name"), "").unwrap();
    eventually("the guest has seen all three", || {
        let ended = rustix::process::Pid::from_raw(i32::try_from(watcher.pid()).unwrap()).unwrap();
        rustix::process::waitid(
            rustix::process::WaitId::Pid(ended),
            rustix::process::WaitIdOptions::EXITED
                | rustix::process::WaitIdOptions::NOHANG
                | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap()
        .is_some()
    });
    // Beside a second, what an emulated guest takes to look.
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(3), "{taken:?}");
    watcher.outcome().ok();

    // The space of a deleted file comes back, though the guest has known it.
    let script = "dd if=/dev/zero of=/data/large bs=1M count=32 2>/dev/null; cat /data/large > /dev/null; rm /data/large";
    exec(&system, "coherent", script).ok();
    let inside = servers(&system, "coherent")[1];
    eventually("nobody holds the deleted file", || {
        let held = fs::read_dir(format!("/proc/{inside}/fd")).unwrap();
        held.flatten().all(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            !target.to_string_lossy().contains("large")
        })
    });
    system.run(["delete", "--force", "coherent"]).ok();
}

/// Who has a file mapped asks for nothing: what the host writes gets into the mapping, and what is written there gets to the host.
#[test]
fn a_mapping_follows_the_host_within_a_second() {
    let system = System::shared();
    let data = directory(&system, "mapped");
    let path = data.join("file");
    fs::write(&path, [0; 8192]).unwrap();
    build("mapped.c", &data.join("program"));
    let bound = bind(&data, "/data");
    start(&system, "mapped", &["-v", &bound]).ok();
    let watcher = system.spawn(["exec", "mapped", "/data/program", "/data/file"]);
    eventually("it is mapped", || watcher.has_output());

    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    for change in ["1", "2", "3", "."] {
        let begun = Instant::now();
        file.write_all_at(change.as_bytes(), 4096).unwrap();
        eventually("the mapping has answered", || {
            let mut answer = [0];
            file.read_exact_at(&mut answer, 0).unwrap();
            answer == change.as_bytes()
        });
        // A second for each way, and what an emulated guest takes beside.
        let taken = begun.elapsed();
        assert!(taken < Duration::from_secs(3), "{change}: {taken:?}");
    }
    assert_eq!(watcher.outcome().ok().stdout, "mapped\n1\n2\n3\n.\n");
    system.run(["delete", "--force", "mapped"]).ok();
}

/// How often the threads of `pid` have waited for something.
fn waits(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| -> Option<u64> {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
            .trim()
            .parse()
            .ok()
    };
    tasks.flatten().filter_map(of).sum()
}

/// What the guest knows it does not ask for again, and each change of the host ends that, whoever makes it.
#[test]
fn what_does_not_change_is_not_asked_for_again() {
    let system = System::shared();
    let data = directory(&system, "leased");
    fs::create_dir(data.join("d")).unwrap();
    for number in 0..400 {
        fs::write(data.join("d").join(number.to_string()), "1\n").unwrap();
    }
    let bound = bind(&data, "/data");
    start(&system, "leased", &["-v", &bound]).ok();
    start(&system, "neighbour", &["-v", &bound]).ok();
    let inside = servers(&system, "leased")[1];
    let warm = "cd /data/d; stat * >/dev/null; stat * none >/dev/null 2>&1; for f in *; do read x < $f; done; sleep 1.2";
    let look = "cd /data/d; stat * >/dev/null; stat none 2>/dev/null || echo none; for f in *; do read x < $f; done; cat 7; \
                stat -c %a-%s 8";
    let mut asked = u64::MAX;
    // Somebody else's change of the directory above, or the longest time of a lease, may come between, but not always.
    for _ in 0..5 {
        exec(&system, "leased", warm).ok();
        let before = waits(inside);
        assert_eq!(told(&system, "leased", look), "none\n1\n644-2\n");
        asked = asked.min(waits(inside) - before);
        if asked < 100 {
            break;
        }
    }
    // ext, XFS, Btrfs, tmpfs, F2FS: others tell of changes with newer kernels, or not at all.
    let told_by = [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994, 0xF2F5_2010];
    let is_told = told_by.contains(&rustix::fs::statfs(&data).unwrap().f_type);
    assert!(
        asked < 100 || !is_told,
        "{asked} waits for 400 files that are known"
    );

    // Another container's process changes what this one has leases for, and the host itself.
    let change = "cd /data/d; echo 22 > 7; mv 9 none; rm 10; ln 11 other; chmod 600 12; mkdir made";
    exec(&system, "neighbour", change).ok();
    fs::set_permissions(data.join("d/8"), fs::Permissions::from_mode(0o755)).unwrap();
    let begun = Instant::now();
    let seen = "cd /data/d; for n in $(seq 400); do \
                [ \"$(cat 7; cat none; cat 9 10 2>/dev/null; stat -c %h 11; stat -c %a 12 8; ls -d made 2>/dev/null)\" = \"$1\" ] && break; done; echo $n";
    let expected = "22\n1\n2\n600\n755\nmade";
    let words = ["exec", "leased", "sh", "-c", seen, "sh", expected];
    let outcome = system.run(words).ok();
    assert_ne!(outcome.stdout, "400\n");
    // Beside a second, what an emulated guest takes to look.
    let taken = begun.elapsed();
    assert!(taken < Duration::from_secs(4), "{taken:?}");
    for id in ["leased", "neighbour"] {
        system.run(["delete", "--force", id]).ok();
    }
}

/// A program of the host that has a file mapped, and not open.
struct Mapping {
    process: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Mapping {
    fn start(program: &Path, file: &Path) -> Self {
        let mut process = Command::new(program)
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut started = Self { process, output };
        started.says("mapped\n");
        started
    }

    fn says(&mut self, expected: &str) {
        let mut said = String::new();
        self.output.read_line(&mut said).unwrap();
        assert_eq!(said, expected);
    }

    fn write(&mut self, line: &str) {
        let input = self.process.stdin.as_mut().unwrap();
        writeln!(input, "{line}").unwrap();
        self.says("written\n");
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

/// Data that the guest keeps are seen to change within a second, whoever changes them and however: what it has read and what it has made, by a
/// mapping that was there before, and by one of which nobody is told but by an open.
#[test]
fn data_that_the_guest_keeps_follow_the_host() {
    let system = System::shared();
    let data = directory(&system, "followed");
    let within = data.join("d");
    let file = |name: &str| within.join(name);
    fs::create_dir(&within).unwrap();
    build("mapping.c", &data.join("mapping"));
    for name in [
        "1-before",
        "2-later",
        "3-over",
        "4-cut",
        "5-renamed",
        "6-other",
    ] {
        fs::write(file(name), format!("first {name}\n")).unwrap();
    }
    let mut before = Mapping::start(&data.join("mapping"), &file("1-before"));
    let bound = bind(&data, "/data");
    for id in ["followed", "follower"] {
        start(&system, id, &["-v", &bound]).ok();
    }
    // It is known, and kept where that may be. busybox's cat has no part in that: it reads with sendfile(2).
    let all =
        "cd /data/d; all() { for file in *; do read -r line < $file; echo \"$line\"; done; }; ";
    let know = "[ -e 7-made ] || { printf 'made in part' > 7-made; printf ' and whole\\n' >> 7-made; }; \
                for n in 1 2 3; do stat * >/dev/null; all; done | tail -n 7";
    let know = format!("{all}{know}");
    let first = "first 1-before\nfirst 2-later\nfirst 3-over\nfirst 4-cut\nfirst 5-renamed\nfirst 6-other\n\
                 made in part and whole\n";
    for _ in 0..2 {
        assert_eq!(told(&system, "followed", &know), first);
    }
    assert_eq!(
        fs::read_to_string(file("7-made")).unwrap(),
        "made in part and whole\n"
    );

    let see = "read now rest < /proc/uptime; end=$((${now%.*} + 5)); \
               while [ \"$(all)\" != \"$1\" ]; do read now rest < /proc/uptime; \
               [ ${now%.*} -lt $end ] || { all; exit; }; done; echo seen";
    let see = format!("{all}{see}");
    let seen = |expected: &str, what: &str, begun: Instant| {
        let words = ["exec", "followed", "sh", "-c", &see, "sh", expected];
        assert_eq!(system.run(words).ok().stdout, "seen\n", "{what}");
        // Beside a second, what an emulated guest takes to look.
        let taken = begun.elapsed();
        assert!(taken < Duration::from_secs(4), "{what}: {taken:?}");
    };
    let mut expected = first.to_owned();
    let mut change = |from: &str, to: &str| -> String {
        assert!(expected.contains(from));
        expected = expected.replacen(from, to, 1);
        expected.trim_end().to_owned()
    };

    let begun = Instant::now();
    before.write("FIRST");
    seen(
        &change("first 1-", "FIRST 1-"),
        "a mapping of before",
        begun,
    );
    before.end();

    let mut later = Mapping::start(&data.join("mapping"), &file("2-later"));
    let begun = Instant::now();
    later.write("FIRST");
    seen(&change("first 2-", "FIRST 2-"), "a later mapping", begun);
    let begun = Instant::now();
    later.write("third");
    seen(&change("FIRST 2-", "third 2-"), "the same once more", begun);

    let begun = Instant::now();
    let open = |name| fs::OpenOptions::new().write(true).open(file(name)).unwrap();
    open("3-over").write_all_at(b"FIRST", 0).unwrap();
    change("first 3-", "FIRST 3-");
    open("4-cut").set_len(5).unwrap();
    change("first 4-cut\n", "first\n");
    fs::write(data.join("new"), "FIRST 5-renamed\n").unwrap();
    fs::rename(data.join("new"), file("5-renamed")).unwrap();
    change("first 5-", "FIRST 5-");
    open("7-made").write_all_at(b"Made", 0).unwrap();
    seen(&change("made in", "Made in"), "each in another way", begun);

    let begun = Instant::now();
    exec(
        &system,
        "follower",
        "printf FIRST | dd of=/data/d/6-other conv=notrunc 2>/dev/null",
    )
    .ok();
    seen(&change("first 6-", "FIRST 6-"), "another container", begun);
    later.end();
    for id in ["followed", "follower"] {
        system.run(["delete", "--force", id]).ok();
    }
}
