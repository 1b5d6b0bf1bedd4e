//! What a BuildKit of today has beyond that of Docker 20.10: newer Dockerfiles, image layouts, caches in directories, descriptions of images.

use super::cases::Case;
use super::{Place, Prints as _};
use crate::system::System;

/// What dockerd is told first: with containerd's image store its BuildKit is a whole one.
pub const CONTAINERD: &str = "mkdir -p /etc/docker; \
    echo '{\"features\":{\"containerd-snapshotter\":true}}' > /etc/docker/daemon.json; ";

/// Beyond Dockerfile 1.2.
pub const CASES: [Case; 13] = [
    (
        "heredoc",
        "RUN <<E\necho a > /a\necho b >> /a\nE",
        &[],
        "cat /a",
        "a\nb\n",
    ),
    (
        "heredoc-copy",
        "COPY <<E /a\nhello\nE",
        &[],
        "cat /a",
        "hello\n",
    ),
    (
        "heredoc-quoted",
        "ARG X=1\nCOPY <<'E' <<F /d/\n$X\nE\n$X\nF",
        &[],
        "cat /d/E /d/F",
        "$X\n1\n",
    ),
    (
        "copy-link-flag",
        "COPY --link file /a/b",
        &[],
        "cat /a/b",
        "file\n",
    ),
    (
        "copy-link-from",
        "RUN echo s > /s\nFROM busybox\nCOPY --link --from=base /s /a",
        &[],
        "cat /a",
        "s\n",
    ),
    (
        "copy-chmod",
        "COPY --chmod=741 file /a",
        &[],
        "stat -c %a /a",
        "741\n",
    ),
    (
        "add-chmod",
        "ADD --chmod=640 file /a",
        &[],
        "stat -c %a /a",
        "640\n",
    ),
    (
        "arg-pattern",
        "ARG A=x-y\nRUN echo ${A%-*} ${A#*-} > /a",
        &[],
        "cat /a",
        "x y\n",
    ),
    (
        "run-network-none",
        "RUN --network=none ls -d /sys/class/net/eth0 > /a || echo none > /a",
        &[],
        "cat /a",
        "none\n",
    ),
    (
        "run-tmpfs-size",
        "RUN --mount=type=tmpfs,target=/t,size=4194304 df -k /t | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2 > /a",
        &[],
        "cat /a",
        "4096\n",
    ),
    (
        "flag-shm-size",
        "RUN df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d ' ' -f 2 > /a",
        &["--shm-size", "8m"],
        "cat /a",
        "8192\n",
    ),
    (
        "flag-ulimit",
        "RUN ulimit -n > /a",
        &["--ulimit", "nofile=77:77"],
        "cat /a",
        "77\n",
    ),
    (
        "flag-no-cache-filter",
        "RUN echo f > /a",
        &["--no-cache-filter", "base"],
        "cat /a",
        "f\n",
    ),
];

/// Caches in a directory, several results, several platforms, named contexts, and what is told beside an image.
pub fn layouts(system: &System) {
    let place = Place::new(system, "layouts");
    let at = |name: &str| system.scratch().join(name).to_str().unwrap().to_owned();
    place
        .write(
            "Dockerfile",
            "FROM busybox\nCOPY file /\nRUN echo made > /made\n",
        )
        .write("file", "content");
    let cache = at("cache");
    let (to, from) = (
        format!("type=local,dest={cache},mode=max"),
        format!("type=local,src={cache}"),
    );
    let first = place.build(
        system,
        &["-t", "first", "--cache-from", &from, "--cache-to", &to],
    );
    first.ok().says("the cache is left out");
    system.run(["builder", "prune", "--all"]).ok();
    place
        .build(system, &["-t", "second", "--cache-from", &from])
        .ok();
    let made = |tag: &str| system.run(["run", "--rm", tag, "cat", "/made"]).ok().stdout;
    assert_eq!(made("first"), made("second"));
    let inline = ["-t", "inline", "--cache-to", "type=inline"];
    place.build(system, &inline).ok();
    // Each result is the same image.
    let (archive, files) = (at("several.oci"), at("several"));
    let several = place.build(
        system,
        &[
            "-t",
            "several",
            "-o",
            &format!("type=oci,dest={archive}"),
            "-o",
            &format!("type=local,dest={files}"),
            "-o",
            "type=image",
        ],
    );
    several.ok().prints("several");
    assert_eq!(
        std::fs::read_to_string(system.scratch().join("several/made")).unwrap(),
        "made\n"
    );
    system.run(["image", "load", "-i", &archive]).ok();
    // Further files, from a directory and from an image layout.
    let layout = at("layout");
    std::fs::create_dir(&layout).unwrap();
    let unpacked = std::process::Command::new("tar")
        .args(["-C", &layout, "-xf", &archive])
        .status();
    assert!(unpacked.unwrap().success());
    let digest = index_digest(&layout);
    let other = Place::new(system, "other");
    other.write("named", "named");
    place.write(
        "Dockerfile",
        "FROM busybox\nCOPY --from=extra named /\nCOPY --from=whole made /\n",
    );
    let extra = format!("extra={}", other.0.to_str().unwrap());
    let whole = format!("whole=oci-layout://{layout}@{digest}");
    let named = [
        "--build-context",
        &extra,
        "--build-context",
        &whole,
        "-t",
        "named",
    ];
    place.build(system, &named).ok();
    let seen = system
        .run(["run", "--rm", "named", "cat", "/named", "/made"])
        .ok();
    assert_eq!(seen.stdout, format!("named{}", made("several")));
    // Two platforms that the builder runs, and one of which it runs nothing.
    place.write("Dockerfile", "FROM scratch\nCOPY file /\n");
    let two = ["-t", "both", "--platform", "linux/amd64,linux/amd64/v2"];
    place.build(system, &two).ok();
    let both = system.run(["image", "inspect", "both"]).ok().stdout;
    assert!(both.contains("\"variant\": \"v2\""), "{both}");
    place
        .build(system, &["-t", "other", "--platform", "linux/s390x"])
        .ok();
    let other = system.run(["image", "inspect", "other"]).ok().stdout;
    assert!(other.contains("s390x"), "{other}");
    // Who made it, and how.
    place.write("Dockerfile", "FROM busybox\nCOPY file /\n");
    let metadata = at("metadata.json");
    let told = [
        "-t",
        "told",
        "--provenance=mode=max",
        "--metadata-file",
        &metadata,
    ];
    place.build(system, &told).ok();
    system
        .run(["run", "--rm", "told", "cat", "/file"])
        .ok()
        .prints("content");
    let archive = at("told.oci");
    system.run(["image", "save", "-o", &archive, "told"]).ok();
    let members = std::process::Command::new("tar")
        .args(["-xOf", &archive, "--wildcards", "blobs/sha256/*"])
        .output();
    let members = String::from_utf8_lossy(&members.unwrap().stdout).into_owned();
    assert!(members.contains("slsa.dev/provenance"), "no provenance");
}

fn index_digest(layout: &str) -> String {
    let text = std::fs::read_to_string(format!("{layout}/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&text).unwrap();
    index["manifests"][0]["digest"].as_str().unwrap().to_owned()
}

/// A context that is a repository, which the builder clones: here it serves it to itself. Its Dockerfile is seen by the builder alone, which has no
/// registry here to ask for a base image.
pub fn repository(system: &System) {
    let serve = "set -e; mkdir -p /srv/r; cd /srv/r; git init -q -b main .; printf 'FROM scratch\\nCOPY here /\\n' > Dockerfile; \
                 echo there > here; git add .; git -c user.name=x -c user.email=x@example.test commit -qm x; \
                 git daemon --detach --base-path=/srv --export-all --listen=127.0.0.1";
    system.run(["exec", "buildkit", "sh", "-c", serve]).ok();
    let out = system.scratch().join("cloned");
    let output = format!("type=local,dest={}", out.display());
    let built = system.run(["build", "-o", &output, "git://127.0.0.1/r#main"]);
    built.ok();
    let here = std::fs::read_to_string(out.join("here")).unwrap();
    assert_eq!(here, "there\n");
}
