//! What is done with the files of a volume, whoever has it.

use std::fs;
use std::process::Command;

use super::{check, disk};
use crate::system::{System, eventually};

#[test]
fn a_volume_s_files_are_reached_whoever_has_it() {
    let system = System::start();
    let script = "mkdir -p /m/sub && echo one >/m/one && chown 33:44 /m/one && chmod 4750 /m/one && ln /m/one /m/hard && ln -s /etc/passwd /m/out \
                  && mkfifo /m/pipe && dd if=/dev/zero of=/m/sparse bs=1 count=1 seek=64M 2>/dev/null && chown 70:70 /m && chmod 1730 /m && touch -d @1000000000 /m/sub; \
                  echo ready; i=0; while :; do i=$((i+1)); echo $i >/m/sub/a; echo $i >/m/sub/b; done";
    let limits = ["-m", "256M", "-c", "1", "--network", "none"];
    let run = |words: &[&str]| {
        let (first, rest) = words.split_at(1);
        let words: Vec<&str> = [first, &limits[..], rest].concat();
        system.run(words)
    };
    run(&[
        "run", "-d", "--name", "writer", "-v", "data:/m", "busybox", "sh", "-c", script,
    ])
    .ok();
    eventually("the files are there", || {
        system.run(["logs", "writer"]).ok().stdout == "ready\n"
    });
    // Of one moment, though somebody writes: of the two one is not before the other by more than the last write.
    let tar = system.scratch().join("data.tar");
    let named = tar.to_str().unwrap();
    system.run(["volume", "export", "-o", named, "data"]).ok();
    let of = |name: &str| {
        let out = Command::new("tar")
            .arg("-xOf")
            .arg(&tar)
            .arg(name)
            .output()
            .unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    let listed = Command::new("tar")
        .args(["--numeric-owner", "-tvf"])
        .arg(&tar)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for line in [
        "drwx-wx--T 70/70",
        "-rwsr-x--- 33/44",
        "prw-r--r-- 0/0",
        " link to ",
    ] {
        assert!(listed.contains(line), "{line}: {listed}");
    }
    assert!(fs::metadata(&tar).unwrap().len() < 1 << 20);
    let [a, b] = ["sub/a", "sub/b"].map(|name| of(name).trim().parse::<i64>().unwrap_or(0));
    assert!((0..=1).contains(&(a - b)) || a == 0 || b == 0, "{a} {b}");
    // It goes on.
    let count = || {
        system
            .run(["exec", "writer", "cat", "/m/sub/a"])
            .ok()
            .stdout
    };
    let before = count();
    eventually("the writer goes on", || count() != before);

    // In the machine of who has it: nothing leads out, and there is no second machine.
    let host = system.scratch().join("host");
    fs::write(&host, "from the host\n").unwrap();
    let host = host.to_str().unwrap();
    assert_eq!(
        system
            .run(["volume", "cp", host, "data:/sub/in"])
            .ok()
            .stdout,
        "data:/sub/in\n"
    );
    assert_eq!(
        system
            .run(["exec", "writer", "cat", "/m/sub/in"])
            .ok()
            .stdout,
        "from the host\n"
    );
    system
        .run([
            "volume",
            "cp",
            "data:/out",
            system.scratch().to_str().unwrap(),
        ])
        .code(1)
        .says("No such file");
    system.run(["volume", "cp", host, "data:/../../up"]).ok();
    system.run(["exec", "writer", "test", "-f", "/m/up"]).ok();
    system
        .run(["volume", "cp", "none:/x", "."])
        .code(1)
        .says("volume not found: none");
    system
        .run(["volume", "export", "none"])
        .code(1)
        .says("volume not found: none");
    eventually("no machine is left", || {
        let mut left = fs::read_dir(system.app().join("transient")).unwrap();
        left.next().is_none()
    });
    system.run(["delete", "-f", "writer"]).ok();

    // Nobody has it.
    let copied = system.scratch().join("one");
    system
        .run(["volume", "cp", "data:/one", copied.to_str().unwrap()])
        .ok();
    assert_eq!(fs::read_to_string(&copied).unwrap(), "one\n");
    system
        .run(["volume", "cp", "data:/sub/.", "second:/"])
        .code(1)
        .says("volume not found: second");

    // What breaks off is not there; what is whole is as it was.
    let bytes = fs::read(&tar).unwrap();
    let cut = system.pipe(["volume", "import", "copy"], &bytes[..bytes.len() / 2]);
    assert_ne!(cut.status.code(), Some(0), "{cut:?}");
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, "data\n");
    // What a compressed backup says of itself is behind all its files.
    let mut packed = Command::new("gzip")
        .arg("-c")
        .stdin(fs::File::open(&tar).unwrap())
        .output()
        .unwrap()
        .stdout;
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    let damaged = system.pipe(["volume", "import", "copy"], &packed);
    assert_ne!(damaged.status.code(), Some(0), "{damaged:?}");
    assert_eq!(system.run(["volume", "list", "-q"]).ok().stdout, "data\n");
    let empty = system.pipe(["volume", "import", "copy"], b"");
    assert_ne!(empty.status.code(), Some(0), "{empty:?}");
    let flags = [
        "-s",
        "256m",
        "--label",
        "team=web",
        "--opt",
        "journal=writeback",
    ];
    let import = ["volume", "import"].iter().chain(&flags);
    let imported = system.run(import.clone().chain(&["copy", named])).ok();
    assert_eq!(imported.stdout, "copy\n");
    system
        .run(import.chain(&["copy", named]))
        .code(1)
        .says("exists");
    // What the tar lacks is told.
    system
        .run(["volume", "export", "-o", "/dev/null", "copy"])
        .ok()
        .says(
            "container volume import --opt journal=writeback --opt size=256m --label team=web copy",
        );
    let look = "stat -c '%a %u %g' /m /m/one; stat -c '%h %s' /m/one; readlink /m/out; test -p /m/pipe && stat -c '%s %b' /m/sparse; stat -c %Y /m/sub; ls -A /m | wc -l";
    let seen = run(&[
        "run",
        "--rm",
        "-v",
        "copy:/m:ro",
        "busybox",
        "sh",
        "-c",
        look,
    ])
    .ok()
    .stdout;
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(
        lines[..4],
        ["1730 70 70", "4750 33 44", "2 4", "/etc/passwd"],
        "{seen}"
    );
    assert!(
        lines[4].starts_with("67108865 ") && lines[4].len() < 14,
        "{seen}"
    );
    // Through a pipe, and into one that is there: what is not in the tar stays.
    let exported = system.pipe(["volume", "export", "copy"], b"");
    assert!(exported.status.success());
    system.run(["volume", "cp", host, "copy:/own"]).ok();
    assert!(
        system
            .pipe(["volume", "import", "copy", "-"], &exported.stdout)
            .status
            .success()
    );
    let seen = run(&[
        "run",
        "--rm",
        "-v",
        "copy:/m:ro",
        "busybox",
        "cat",
        "/m/own",
        "/m/one",
    ])
    .ok()
    .stdout;
    assert_eq!(seen, "from the host\none\n");
    // Who reads an archive slowly, or not at all, keeps nobody from the volume.
    let large = system.scratch().join("large");
    fs::write(&large, vec![7; 4 << 20]).unwrap();
    let large = large.to_str().unwrap();
    system.run(["volume", "cp", large, "copy:/"]).ok();
    let mut slow = system
        .with_deadline(["volume", "export", "copy"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut tar = slow.stdout.take().unwrap();
    let mut first = [0; 512];
    std::io::Read::read_exact(&mut tar, &mut first).unwrap();
    let flags = ["run", "--rm", "-v", "copy:/m", "busybox"];
    run(&[&flags[..], &["rm", "/m/large"]].concat()).ok();
    let rest = std::io::copy(&mut tar, &mut std::io::sink()).unwrap();
    assert!(rest > 4 << 20 && slow.wait().unwrap().success(), "{rest}");
    // Within one volume, which one machine has: nobody's, and a container's that runs.
    let within = |to: &str| system.run(["volume", "cp", "data:/sub/.", &format!("data:{to}")]);
    assert_eq!(within("/twin").ok().stdout, "data:/twin\n");
    within("/sub/own").code(1).says("into itself");
    let words = [
        "run", "-d", "--name", "has", "-v", "data:/m", "busybox", "sleep", "100000",
    ];
    run(&words).ok();
    system
        .run(["volume", "cp", "data:/one", "data:/twin/"])
        .ok();
    let look = "cd /m; cmp sub/a twin/a && stat -c '%u %a' twin/one && ls -A sub | grep -c own";
    let seen = system.run(["exec", "has", "sh", "-c", look]).code(1);
    assert_eq!(seen.stdout, "33 4750\n0\n");
    system.run(["delete", "-f", "has"]).ok();
    // One volume into another, with owners; what runs as somebody else does so only where that is asked for.
    system
        .run(["volume", "cp", "copy:/one", "data:/again"])
        .ok();
    system
        .run(["volume", "cp", "-a", "copy:/one", "data:/whole"])
        .ok();
    let look = [
        &["run", "--rm", "-v", "data:/m:ro", "busybox"][..],
        &["stat", "-c", "%u %a", "/m/again", "/m/whole"],
    ]
    .concat();
    assert_eq!(run(&look).ok().stdout, "33 750\n33 4750\n");
    // Contents alone; with all that is kept the directory that gets them is like theirs.
    let own = "chown 33:44 /m && chmod 1750 /m";
    run(&["run", "--rm", "-v", "copy:/m", "busybox", "sh", "-c", own]).ok();
    let made = "mkdir /m/like /m/as && chmod 3711 /m/like";
    run(&["run", "--rm", "-v", "bare:/m", "busybox", "sh", "-c", made]).ok();
    for (flags, expected) in [
        (&[][..], "0 0 755\n0 0 755\n"),
        (&["-a"], "33 44 1750\n0 0 3711\n"),
    ] {
        for (from, to) in [("copy:/.", "bare:/"), ("bare:/like/.", "bare:/as")] {
            let words = [&["volume", "cp"][..], flags, &[from, to]].concat();
            system.run(words).ok();
        }
        let look = ["run", "--rm", "-v", "bare:/m:ro", "busybox"];
        let look = [&look[..], &["stat", "-c", "%u %g %a", "/m", "/m/as"]].concat();
        assert_eq!(run(&look).ok().stdout, expected);
    }
    for name in ["copy", "data"] {
        check(&disk(&system, name), system.scratch());
    }
    eventually("nothing is left of the machines", || {
        fs::read_dir(system.app().join("transient"))
            .unwrap()
            .next()
            .is_none()
    });
}
