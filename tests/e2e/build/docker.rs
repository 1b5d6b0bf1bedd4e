//! The same context, built by Docker's own client in the builder.

use std::collections::BTreeMap;

use super::Place;
use crate::system::System;

/// Files, modes, owners, links, and configuration.
const DOCKERFILE: &str = "FROM busybox
LABEL a=b
ENV A=1 B=\"2 3\"
ARG C=4
WORKDIR /w
COPY --chown=12:34 . .
COPY script /bin/mine
RUN echo $C > made && chmod 6711 made && ln made hard && ln -s made soft && mkdir -m 1777 sticky && mkfifo pipe
EXPOSE 80/tcp 53/udp
VOLUME /v
USER 12:34
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s CMD true
ENTRYPOINT [\"sh\"]
CMD [\"-c\", \"true\"]
";
/// What a container adds to its image, by itself: a link of dockerd's, and the place of a volume.
const OWN: [&str; 9] = [
    ".dockerenv",
    "dev/",
    "proc/",
    "sys/",
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "etc/mtab",
    "v/",
];

/// Both make the same of it.
pub fn same(system: &System) {
    let place = Place::new(system, "same");
    place
        .write("Dockerfile", DOCKERFILE)
        .write("file", "file\n")
        .write("deep/er/est", "deepest\n")
        .write("script", "#!/bin/sh\n")
        .write("dropped", "x")
        .write(".dockerignore", "dropped\n");
    std::os::unix::fs::symlink("deep/er", place.0.join("link")).unwrap();
    let modes = std::process::Command::new("chmod")
        .args(["-R", "u=rwX,g=rX,o=", place.0.to_str().unwrap()])
        .status();
    assert!(modes.unwrap().success());
    place.build(system, &["-t", "ours"]).ok();
    let context = format!("{}/.", place.0.to_str().unwrap());
    system.run(["exec", "buildkit", "mkdir", "/same"]).ok();
    system.run(["copy", &context, "buildkit:/same"]).ok();
    let inside = |line: &str| {
        system
            .run(["exec", "buildkit", "sh", "-c", line])
            .ok()
            .stdout
    };
    inside("DOCKER_BUILDKIT=1 docker build -t theirs /same");
    let theirs = inside(
        "docker export $(docker create theirs) > /theirs.tar && tar --numeric-owner -tvf /theirs.tar",
    );
    let config = inside("docker image inspect --format '{{json .Config}}' theirs");
    let archive = system.scratch().join("ours.tar");
    let archive = archive.to_str().unwrap();
    system.run(["create", "--name", "ours", "ours"]).ok();
    system.run(["export", "-o", archive, "ours"]).ok();
    system.run(["delete", "ours"]).ok();
    let listed = std::process::Command::new("tar")
        .args(["--numeric-owner", "-tvf", archive])
        .output()
        .unwrap();
    let ours = String::from_utf8(listed.stdout).unwrap();
    let (ours, theirs) = (entries(&ours), entries(&theirs));
    assert!(ours.contains_key("w/deep/er/est") && !ours.contains_key("w/dropped"));
    for name in ours.keys().chain(theirs.keys()) {
        assert_eq!(ours.get(name), theirs.get(name), "{name}");
    }
    let shown = system.run(["image", "inspect", "ours"]).ok().stdout;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let ours = &shown[0]["variants"][0]["config"]["config"];
    let theirs: serde_json::Value = serde_json::from_str(&config).unwrap();
    // What dockerd shows of an image that says nothing of it is left out there.
    let theirs = theirs.as_object().unwrap();
    for (key, value) in ours.as_object().unwrap() {
        assert_eq!(Some(value), theirs.get(key), "{key}: {ours} {theirs:?}");
    }
    for key in [
        "Env",
        "Cmd",
        "Entrypoint",
        "User",
        "WorkingDir",
        "Labels",
        "Volumes",
        "ExposedPorts",
        "StopSignal",
        "Healthcheck",
    ] {
        assert!(!ours[key].is_null(), "{key}: {ours}");
    }
}

/// Mode, owner and size (of a file), by name, of what `tar -tv` lists.
fn entries(listing: &str) -> BTreeMap<String, String> {
    let mut entries = BTreeMap::new();
    for line in listing.lines() {
        let mut words = line.split_whitespace();
        let (mode, owner, size) = (
            words.next().unwrap(),
            words.next().unwrap(),
            words.next().unwrap(),
        );
        // Day and time.
        let name = words.skip(2).collect::<Vec<_>>().join(" ");
        let (name, target) = name.split_once(" -> ").unwrap_or((&name, ""));
        // Which name of a file comes first is the archiver's choice.
        let (name, is_hard) = match name.split_once(" link to ") {
            Some((name, _)) => (name, true),
            None => (name, false),
        };
        let name = name.trim_start_matches("./");
        if OWN.iter().any(|own| name.starts_with(own)) || name.is_empty() {
            continue;
        }
        let mode = mode.replacen('h', "-", usize::from(is_hard));
        let size = if mode.starts_with('-') && !name.ends_with("/hard") && !name.ends_with("/made")
        {
            size
        } else {
            ""
        };
        entries.insert(name.to_owned(), format!("{mode} {owner} {size} {target}"));
    }
    entries
}
