//! What people are told by a real system when they ask for what cannot be. No machine is started.
//!
//! `UPDATE_MESSAGES=1` takes changed messages over into `tests/messages`. In a snapshot a line of standard output begins with `|`. What the command
//! says by itself is in the snapshots of crates/cli.

use std::fmt::Write as _;
use std::path::Path;

use crate::system::{Outcome, System};

/// Set to anything, this makes the test write the files instead of comparing them.
const UPDATE: &str = "UPDATE_MESSAGES";

/// Command lines that fail, or that are warned about, by what they are about. Words are parted by spaces, `''` is an empty one, and a word begins
/// with `'` where it holds spaces (`_` stands for them).
const GROUPS: [(&str, &[&str]); 6] = [
    (
        "containers",
        &[
            "create --name web busybox",
            "create --name a busybox",
            "create --name ../x busybox",
            "create --name -x busybox",
            "create --name 'a_b busybox",
            "create --name größe busybox",
            "create Not/A/Reference",
            "create busybox@sha256:../../x",
            "create --pull maybe busybox",
            "create --pull never absent",
            "create --platform linux/s390x busybox",
            "create --platform plan9 busybox",
            "create -m 1m busybox",
            "create -m 1potato busybox",
            "create -c 0 busybox",
            "create -c 4096 busybox",
            "create --storage-size 1 busybox",
            "create -p 99999:80 busybox",
            "create -p 8080 -p 8080:80 -p 8080:81 busybox",
            "create -p 80-90:80-81 busybox",
            "create --network none -p 80:80 busybox",
            "create --network absent busybox",
            "create --network none --network net busybox",
            "create --network net,ip=10.9.9.9 busybox",
            "create --network net,mac=zz busybox",
            "create --network net,colour=red busybox",
            "create -v /no/such:/x busybox",
            "create -v data:relative busybox",
            "create -v bad/../name:/x busybox",
            "create -v data:/x:sometimes busybox",
            "create -v data:/x -v data:/x busybox",
            "create --mount type=magic,target=/x busybox",
            "create --mount type=bind,source=/etc busybox",
            "create --mount type=bind,target=/x busybox",
            "create --mount type=volume,source=data,target=/x,colour=red busybox",
            "create --tmpfs relative busybox",
            "create -w relative busybox",
            "create --cap-add NOPE busybox",
            "create --restart sometimes busybox",
            "create --ulimit nofile=2:1 busybox",
            "create --ulimit colour=1 busybox",
            "create --dns somewhere busybox",
            "create --add-host here busybox",
            "create --sysctl nothing busybox",
            "create --runtime absent busybox",
            "create --runtime container-network-bridge busybox",
            "create --kernel /no/such busybox",
            "create --init-image absent --pull never busybox",
            "create --env-file /no/such busybox",
            "create --cidfile /no/such/file busybox",
            "create --health-cmd true --health-interval never busybox",
            "create --stop-signal NOPE busybox",
            "create --security-opt seccomp=/no/such busybox",
            "run --rm -d --restart always busybox",
            "run --detach --tty --interactive --attach busybox",
            "start absent",
            "start absent missing",
            "stop absent",
            "stop --time never web",
            "restart absent",
            "kill web",
            "kill --signal NOPE web",
            "exec web true",
            "exec absent true",
            "attach web",
            "logs absent",
            "logs --since later web",
            "logs -n minus web",
            "pause web",
            "unpause web",
            "top web",
            "stats --no-stream absent",
            "stats --no-stream web",
            "port absent",
            "wait absent",
            "rename web web",
            "rename absent other",
            "rename web ../x",
            "inspect absent",
            "delete absent",
            "delete",
            "copy absent:/x .",
            "copy a b",
            "copy no-such-file web:/",
            "export absent -o x.tar",
            "export web -o /no/such/x.tar",
            "commit absent other",
            "commit web Not/A/Reference",
            "diff absent",
        ],
    ),
    (
        "images",
        &[
            "image delete absent",
            "image delete busybox",
            "image inspect absent",
            "image tag absent other",
            "image tag busybox Not/A/Reference",
            "image save absent -o x.tar",
            "image save busybox -o /no/such/x.tar",
            "image load -i /no/such",
            "image load -i /etc/hostname",
            "image import /no/such new",
            "image import /etc/hostname new",
            "image push absent",
            "image pull --scheme gopher busybox",
            "image pull --platform plan9 busybox",
            "image pull ''",
            "registry logout registry.example",
            "registry login --username me registry.example",
        ],
    ),
    (
        "networks",
        &[
            "network create net",
            "network create none",
            "network create default",
            "network create Bad!",
            "network create --subnet 10.0.0.0/33 other",
            "network create --subnet 127.0.0.0/24 other",
            "network create --subnet 10.231.7.0/25 other",
            "network create --subnet 10.231.8.0/31 other",
            "network create --option mtu=1 other",
            "network create --option conversations=many other",
            "network create --plugin absent other",
            "network create --plugin container-runtime-linux other",
            "network delete absent",
            "network delete default",
            "network delete net",
            "network inspect absent",
            "network connect net absent",
            "network connect absent web",
            "network connect net web",
            "network disconnect absent web",
            "network disconnect default web",
        ],
    ),
    (
        "volumes",
        &[
            "volume create data",
            "volume create bad/name",
            "volume create --size 0 other",
            "volume create --size 1potato other",
            "volume create --opt colour=red other",
            "volume create --label =x other",
            "volume delete absent",
            "volume delete data",
            "volume inspect absent",
            "volume resize data 1k",
            "volume resize absent 2g",
            "volume export absent -o x.tar",
            "volume import absent /no/such",
            "volume copy absent:/x .",
        ],
    ),
    (
        "machines",
        &[
            "machine create --name Bad! busybox",
            "machine start absent",
            "machine stop absent",
            "machine run",
            "machine run -n absent true",
            "machine inspect absent",
            "machine delete absent",
            "machine logs absent",
            "machine set -n absent cpus=2",
            "machine set-default absent",
            "machine clone absent other",
            "machine snapshot create absent one",
            "machine snapshot list absent",
            "builder status",
            "builder stop",
            "builder delete",
        ],
    ),
    (
        "system",
        &[
            "system start",
            "system kernel set --binary /no/such",
            "system kernel set --binary /etc/hostname",
            "system kernel set --tar /no/such --binary x",
            "system kernel set --arch sparc --recommended",
            "system kernel set --recommended --binary x",
            "system dns create ''",
            "system dns create bad..name",
            "system dns delete absent",
            "system dns create --localhost nowhere test",
            "system logs --last never",
            "system logs --last 0",
            "system property list --format yaml",
            "system config check /no/such",
            "system df --format xml",
            "events --since later",
        ],
    ),
];

/// The words of a line.
fn words(line: &str) -> Vec<String> {
    let word = |word: &str| match word.strip_prefix('\'') {
        Some("'") => String::new(),
        Some(text) => text.replace('_', " "),
        None => word.to_owned(),
    };
    line.split(' ').map(word).collect()
}

/// `text` without what is of this run alone.
fn plain(system: &System, text: &str) -> String {
    let prefix = system.prefix().to_str().unwrap();
    let text = text
        .replace(system.scratch().to_str().unwrap(), "/PLACE")
        .replace(prefix, "/PREFIX");
    // Digests and ids.
    let hexadecimal =
        |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    text.split_inclusive(|c: char| !c.is_ascii_alphanumeric())
        .map(|part| {
            let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            if hexadecimal(word) {
                part.replace(word, "HEX")
            } else {
                part.to_owned()
            }
        })
        .collect()
}

fn told(system: &System, line: &str) -> String {
    let mut command = system.with_deadline(words(line));
    let command = command
        .current_dir(system.scratch())
        .stdin(std::process::Stdio::null());
    let Outcome {
        stdout,
        stderr,
        code,
    } = command.output().unwrap().into();
    let mut text = format!("$ container {line}\n");
    for said in plain(system, &stdout).lines() {
        let _ = writeln!(text, "| {said}");
    }
    for said in plain(system, &stderr).lines() {
        let _ = writeln!(text, "{said}");
    }
    let _ = writeln!(text, "({code})\n");
    text
}

#[test]
fn what_people_are_told_is_as_committed() {
    let system = System::start();
    for made in [
        "network create --subnet 10.231.7.0/24 net",
        "volume create data",
        "create --name web -m 256M --network net -v data:/data busybox",
    ] {
        system.run(made.split(' ')).ok();
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("messages");
    let mut wrong = String::new();
    for (name, lines) in GROUPS {
        let text: String = lines.iter().map(|line| told(&system, line)).collect();
        let path = directory.join(format!("{name}.txt"));
        if std::env::var_os(UPDATE).is_some() {
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        if committed != text {
            let changed = text
                .split("\n\n")
                .filter(|block| !committed.contains(block));
            let _ = write!(
                wrong,
                "\n--- {name}\n{}",
                changed.collect::<Vec<_>>().join("\n\n")
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "messages differ from {}; {UPDATE}=1 takes them over\n{wrong}",
        directory.display()
    );
}
