//! `container build` with real builders: Debian's dockerd, whose BuildKit it is (`images/debian.sh builder`), of this release and of the next:
//! `make test-real`. What the client does with a builder that misbehaves is tested in crates/buildkit/tests.

mod cases;
mod docker;
mod newer;

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use cases::{CASES, Case};

use crate::system::{Outcome, System, kill, within};

/// How long a builder may take, under emulation.
const PATIENCE: Duration = Duration::from_secs(240);
/// What runs in the image of a builder. One that was killed has left its process id, which is another's in the next machine.
const DOCKERD: &str = "rm -rf /run/docker*; exec dockerd";

/// A system whose builder is made of the image that the variable `image` names, and runs `program`.
fn system(image: &str, program: &str) -> System {
    let system = System::stopped();
    system.configure(
        "[build]\nimage = \"builder\"\nmemory = \"1gb\"\n[container]\nstandby = false\n",
    );
    system.set_up();
    let image = PathBuf::from(std::env::var_os(image).unwrap());
    let entry = format!("ENTRYPOINT {}", serde_json::json!(["sh", "-c", program]));
    let change = ["--change", &entry, "--change", "VOLUME /var/lib/docker"];
    let words = ["image", "import"].iter().chain(&change);
    system
        .run(words.chain(&[image.to_str().unwrap(), "builder"]))
        .ok();
    system
}

trait Prints {
    /// Itself, if standard output holds `text`.
    fn prints(self, text: &str) -> Self;
}

impl Prints for Outcome {
    #[track_caller]
    fn prints(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "stdout lacks {text:?}: {self:?}"
        );
        self
    }
}

/// A context of its own.
struct Place(PathBuf);

impl Place {
    fn new(system: &System, name: &str) -> Self {
        let path = system.scratch().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> &Self {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn build(&self, system: &System, flags: &[&str]) -> Outcome {
        let path = self.0.to_str().unwrap();
        system.run(["build"].iter().chain(flags).chain(&[path]))
    }
}

/// Builds all of `cases`, and then runs what was built.
fn corpus(system: &System, cases: &[Case]) {
    let place = Place::new(system, "corpus");
    for (name, text) in [
        ("file", "file\n"),
        ("other", "other\n"),
        ("with space", "space\n"),
        ("one.txt", "1\n"),
        ("two.txt", "2\n"),
        ("deep/er/est", "deepest\n"),
        ("empty", ""),
        ("script", "#!/bin/sh\n"),
        ("hard/a", "hard\n"),
    ] {
        place.write(name, text);
    }
    let at = |name: &str| place.0.join(name);
    std::fs::set_permissions(at("script"), std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink("file", at("link")).unwrap();
    std::fs::create_dir(at("links")).unwrap();
    symlink("../file", at("links/to")).unwrap();
    std::fs::hard_link(at("hard/a"), at("hard/b")).unwrap();
    std::fs::write(system.scratch().join("inside"), "inside\n").unwrap();
    let tar = std::process::Command::new("tar")
        .args([
            "-C",
            system.scratch().to_str().unwrap(),
            "-cf",
            at("files.tar").to_str().unwrap(),
            "inside",
        ])
        .status();
    assert!(tar.unwrap().success());
    // The files are there before the first build: a context that changes in between is another one.
    let mut failures = Vec::new();
    for (name, dockerfile, flags, _, _) in cases {
        let file = system.scratch().join(format!("{name}.Dockerfile"));
        std::fs::write(&file, format!("FROM busybox AS base\n{dockerfile}\n")).unwrap();
        let tag = format!("case-{name}");
        let own = ["-f", file.to_str().unwrap(), "-t", &tag];
        let built = place.build(system, &[&own[..], *flags].concat());
        if built.code != 0 {
            failures.push(format!("{name}: {}", built.stderr));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    for (name, _, _, command, expected) in cases {
        let tag = format!("case-{name}");
        let ran = system.run(["run", "--rm", "--entrypoint", "sh", &tag, "-c", command]);
        if ran.stdout != *expected {
            failures.push(format!("{name}: {:?} {}", ran.stdout, ran.stderr));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What cannot be built says why, and where.
fn failures(system: &System) {
    let place = Place::new(system, "failures");
    for (dockerfile, words) in [
        (
            "FROM busybox\nRUN echo before\nRUN exit 3\nRUN true\n",
            &["   3 | >>> RUN exit 3", "exit code: 3"][..],
        ),
        (
            "FROM busybox\nFRM x\n",
            &["   2 | >>> FRM x", "unknown instruction"],
        ),
        ("FROM busybox\nCOPY missing /\n", &["missing"]),
        (
            // Each of the other.
            "FROM busybox AS a\nCOPY --from=b / /\nFROM busybox AS b\nCOPY --from=a / /\n",
            &["failed to build"],
        ),
        ("", &["failed to build"]),
        (
            // Nobody listens there.
            "FROM localhost:1/missing\nRUN true\n",
            &["localhost:1/missing"],
        ),
    ] {
        place.write("Dockerfile", dockerfile);
        let failed = place.build(system, &["-t", "failed"]).code(1);
        for words in words {
            assert!(
                failed.stderr.contains(words),
                "{dockerfile}: {}",
                failed.stderr
            );
        }
    }
    assert_eq!(system.run(["image", "inspect", "failed"]).code, 1);
    // A large one is none of them.
    let large = "# comment\n".repeat(100_000);
    place.write("Dockerfile", &format!("{large}FROM busybox\n"));
    place.build(system, &["-q"]).ok();
}

/// The files that are sent: by `.dockerignore`, odd ones, and none that the builder has.
fn context(system: &System) {
    let place = Place::new(system, "context");
    place
        .write("Dockerfile", "FROM busybox\nCOPY . /d/\n")
        .write(
            ".dockerignore",
            "*\n!keep\n!*.md\nREADME-secret.md\nkeep/not\n",
        )
        .write("keep/this", "this")
        .write("keep/not", "not")
        .write("a.md", "a")
        .write("README-secret.md", "secret")
        .write("dropped/deep/file", "dropped");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        place.0.join("fifo"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(place.0.join("socket")).unwrap();
    place.build(system, &["-t", "ignored"]).ok();
    std::fs::remove_file(place.0.join("socket")).unwrap();
    let list = |tag: &str| {
        let found = [
            "run",
            "--rm",
            tag,
            "sh",
            "-c",
            "cd /d && find . -type f | sort",
        ];
        system.run(found).ok().stdout
    };
    assert_eq!(list("ignored"), "./a.md\n./keep/this\n");
    place
        .write("Dockerfile.dockerignore", "*\n!a.md\n")
        .build(system, &["-t", "ignored"])
        .ok();
    assert_eq!(list("ignored"), "./a.md\n");
    std::fs::remove_file(place.0.join("fifo")).unwrap();
    // 20 MB, of which nothing is sent again.
    place.write("Dockerfile.dockerignore", "");
    for number in 0..200 {
        place.write(&format!("many/{number}"), &"x".repeat(100_000));
    }
    place.build(system, &["-t", "many"]).ok();
    let begun = Instant::now();
    let again = place.build(system, &["-t", "many"]).ok();
    let sent = again
        .stderr
        .lines()
        .find(|line| line.contains("transferring context: "));
    let sent = sent.unwrap_or_default().to_owned();
    assert!(sent.contains("KiB") || sent.contains(" B "), "{sent}");
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

/// Where a context comes from, and where a result goes.
fn ways(system: &System) {
    let place = Place::new(system, "ways");
    place
        .write(
            "Dockerfile",
            // What nobody needs is not looked for.
            "FROM missing.invalid/x AS unused\nFROM scratch AS files\nCOPY file /sub/\nFROM busybox\nCOPY file /\n",
        )
        .write("file", "content");
    let at = |name: &str| system.scratch().join(name).to_str().unwrap().to_owned();
    let out = at("local");
    place
        .build(
            system,
            &["--target", "files", "-o", &format!("type=local,dest={out}")],
        )
        .ok()
        .prints(&out);
    assert_eq!(
        std::fs::read(Path::new(&out).join("sub/file")).unwrap(),
        b"content"
    );
    let tar = at("files.tar");
    place
        .build(
            system,
            &["--target", "files", "-o", &format!("type=tar,dest={tar}")],
        )
        .ok();
    assert!(std::fs::metadata(&tar).unwrap().len() > 512);
    for kind in ["oci", "docker"] {
        let archive = at(kind);
        let output = format!("type={kind},dest={archive}");
        place.build(system, &["-t", "archived", "-o", &output]).ok();
        system
            .run(["image", "load", "-i", &archive])
            .ok()
            .prints("archived");
    }
    let ids = (at("id"), at("metadata"));
    let quiet = place.build(
        system,
        &[
            "-q",
            "-t",
            "named:v1",
            "-t",
            "other",
            "--iidfile",
            &ids.0,
            "--metadata-file",
            &ids.1,
        ],
    );
    let id = quiet.ok().stdout.trim().to_owned();
    assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
    assert_eq!(std::fs::read_to_string(&ids.0).unwrap(), id);
    assert!(std::fs::read_to_string(&ids.1).unwrap().contains(&id));
    system
        .run(["run", "--rm", "other", "cat", "/file"])
        .ok()
        .prints("content");
    // A key that a step may use through an agent, and no other step.
    let key = at("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f", &key])
        .status();
    assert!(made.unwrap().success());
    let keys = Place::new(system, "keys");
    keys.write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo agent > /a\n",
    );
    keys.build(system, &[]).code(1);
    let ssh = format!("default={key}");
    keys.build(system, &["-t", "keys", "--ssh", &ssh]).ok();
    system
        .run(["run", "--rm", "keys", "cat", "/a"])
        .ok()
        .prints("agent");
    // A tar, and a Dockerfile, on standard input.
    let packed = std::process::Command::new("tar")
        .args(["-C", place.0.to_str().unwrap(), "-czf", "-", "."])
        .output()
        .unwrap();
    let pipe = |words: &[&str], input: &[u8]| Outcome::from(system.pipe(words, input)).ok();
    pipe(&["build", "-t", "piped", "-"], &packed.stdout);
    system
        .run(["run", "--rm", "piped", "cat", "/file"])
        .ok()
        .prints("content");
    pipe(
        &["build", "-t", "piped", "-"],
        b"FROM busybox\nRUN echo p > /p\n",
    );
    system
        .run(["run", "--rm", "piped", "cat", "/p"])
        .ok()
        .prints("p");
    let path = place.0.to_str().unwrap();
    pipe(
        &["build", "-f", "-", "-t", "piped", path],
        b"FROM busybox\nCOPY file /q\n",
    );
    system
        .run(["run", "--rm", "piped", "cat", "/q"])
        .ok()
        .prints("content");
}

/// Steps of another CPU are run by the QEMU of the builder's image; a CPU for which there is none is told before any step.
fn foreign(system: &System) {
    let place = Place::new(system, "foreign");
    let program = place.0.join("busybox");
    let copy = [
        "copy",
        "buildkit:/srv/busybox-arm64",
        program.to_str().unwrap(),
    ];
    system.run(copy).ok();
    place.write(
        "Dockerfile",
        "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox uname -m > /made\"]\n",
    );
    let out = system.scratch().join("foreign-out");
    let output = format!("type=local,dest={}", out.display());
    place
        .build(system, &["--platform", "linux/s390x", "-o", &output])
        .code(1)
        .says("cannot run programs of linux/s390x");
    place
        .build(system, &["--platform", "linux/arm64", "-o", &output])
        .ok();
    let made = std::fs::read_to_string(out.join("made")).unwrap();
    assert_eq!(made, "aarch64\n");
}

/// Builds that end before they have ended, and two at once.
fn ends(system: &System) {
    let place = Place::new(system, "ends");
    place.write("Dockerfile", "FROM busybox\nRUN echo begun && sleep 600\n");
    let path = place.0.to_str().unwrap();
    let steps = || {
        let lines = system.run(["exec", "buildkit", "sh", "-c", "cat /proc/[0-9]*/cmdline"]);
        lines.stdout.matches("sleep\x00600").count()
    };
    for signal in [Signal::INT, Signal::KILL] {
        let building = system.spawn(["build", path]);
        within(PATIENCE, "the step runs", || steps() > 0);
        kill(building.pid(), signal);
        within(PATIENCE, "the step is given up", || steps() == 0);
        assert_ne!(building.outcome().code, 0);
    }
    // Two at once share the builder.
    let two = ["one", "two"].map(|name| {
        let place = Place::new(system, &format!("at-once-{name}"));
        place.write(
            "Dockerfile",
            &format!("FROM busybox\nRUN sleep 3 && echo {name} > /name\n"),
        );
        system.spawn(["build", "-t", name, place.0.to_str().unwrap()])
    });
    for building in two {
        building.outcome().ok();
    }
    for name in ["one", "two"] {
        system
            .run(["run", "--rm", name, "cat", "/name"])
            .ok()
            .prints(name);
    }
    // A builder that dies takes its builds along, and no others.
    let building = system.spawn(["build", path]);
    within(PATIENCE, "the step runs", || steps() > 0);
    kill(system.vmm("buildkit"), Signal::KILL);
    let failed = building.outcome().code(1);
    assert!(failed.stderr.contains("went away"), "{}", failed.stderr);
    place.write("Dockerfile", "FROM busybox\nRUN echo alive > /a\n");
    place.build(system, &["-t", "alive"]).ok();
    system
        .run(["run", "--rm", "alive", "cat", "/a"])
        .ok()
        .prints("alive");
}

/// A builder whose disk is full says so, and builds again when there is room. It keeps the rules of its network until it gets others.
fn full(system: &System) {
    system
        .run(["volume", "create", "-s", "300M", "small-cache"])
        .ok();
    let rules = "default,egress=none";
    system
        .run(["builder", "start", "--builder", "small", "--network", rules])
        .ok();
    let egress =
        || system.inspect("small")["configuration"]["networks"][0]["options"]["egress"].clone();
    assert_eq!(egress(), serde_json::json!([]));
    let place = Place::new(system, "full");
    let build = |dockerfile: &str| {
        place.write("Dockerfile", dockerfile);
        place.build(system, &["--builder", "small", "-t", "full"])
    };
    build("FROM busybox\nRUN dd if=/dev/zero of=/x bs=1M count=400\n")
        .code(1)
        .says("No space left on device");
    build("FROM busybox\nRUN echo room > /x\n").ok();
    assert_eq!(egress(), serde_json::json!([]));
    system
        .run(["run", "--rm", "full", "cat", "/x"])
        .ok()
        .prints("room");
    system.run(["builder", "stop", "--builder", "small"]).ok();
    system.run(["builder", "delete", "--builder", "small"]).ok();
}

/// The builder's own life.
fn life(system: &System) {
    let shown = system
        .run(["builder", "status", "--format", "json"])
        .ok()
        .stdout;
    assert!(
        shown.contains(r#""id":"buildkit""#) && shown.contains("running"),
        "{shown}"
    );
    assert!(
        !system
            .run(["list", "--all"])
            .ok()
            .stdout
            .contains("buildkit")
    );
    system.run(["builder", "prune"]).ok().says("Reclaimed");
    system.run(["builder", "delete"]).code(1);
    system.run(["builder", "stop"]).ok().prints("buildkit");
    system.run(["builder", "stop"]).ok();
    system.run(["builder", "delete"]).ok().prints("buildkit");
    assert!(
        !system
            .run(["volume", "list"])
            .ok()
            .stdout
            .contains("buildkit")
    );
}

#[test]
#[ignore = "a builder is made for it: make test-real"]
fn images_are_built_by_a_real_builder() {
    let system = system("CONTAINER_TEST_BUILDER", DOCKERD);
    corpus(&system, &CASES);
    let label = system.run(["image", "inspect", "case-flag-label"]);
    let label = label.ok().stdout;
    assert!(label.contains(r#""x": "y""#), "{label}");
    failures(&system);
    context(&system);
    ways(&system);
    docker::same(&system);
    foreign(&system);
    ends(&system);
    full(&system);
    life(&system);
}

#[test]
#[ignore = "a builder is made for it: make test-real"]
fn images_are_built_by_a_newer_builder() {
    let program = format!("{}{DOCKERD}", newer::CONTAINERD);
    let system = system("CONTAINER_TEST_BUILDER_NEWER", &program);
    newer::layouts(&system);
    newer::repository(&system);
    ways(&system);
    failures(&system);
    foreign(&system);
    corpus(&system, &[&newer::CASES[..], &CASES[..]].concat());
    ends(&system);
    life(&system);
}
