//! Images from archives.

use std::process::Command;

use serde_json::Value;

use crate::system::{System, image};

#[test]
fn loaded_listed_tagged_and_deleted() {
    let system = System::start();
    let listed: Vec<Value> = serde_json::from_str(
        &system
            .run(["image", "list", "--format", "json"])
            .ok()
            .stdout,
    )
    .unwrap();
    assert_eq!(
        listed[0]["configuration"]["name"],
        "docker.io/library/busybox:latest"
    );
    assert_eq!(
        system
            .run(["image", "tag", "busybox", "example.test/other:1"])
            .ok()
            .stdout,
        "example.test/other:1\n"
    );
    assert_eq!(system.run(["i", "ls", "-q"]).ok().stdout.lines().count(), 2);
    assert_eq!(
        system
            .run(["run", "--rm", "example.test/other:1", "echo", "x"])
            .ok()
            .stdout,
        "x\n"
    );
    system.run(["image", "delete", "busybox"]).ok();
    system
        .run(["run", "--rm", "busybox", "true"])
        .code(1)
        .says("busybox");
    system
        .run([
            "create",
            "--name",
            "keeps",
            "example.test/other:1",
            "echo",
            "kept",
        ])
        .ok();
    // A container keeps what it was made of, and its last name goes only by force.
    system
        .run(["image", "delete", "example.test/other:1"])
        .code(1)
        .says("container keeps is using it");
    system
        .run(["image", "delete", "--force", "example.test/other:1"])
        .ok();
    assert_eq!(system.run(["start", "-a", "keeps"]).ok().stdout, "kept\n");
    let inspected = system.run(["image", "inspect", "gone"]).code(1);
    assert!(
        inspected.stderr.contains("image not found: gone"),
        "{inspected:?}"
    );
}

#[test]
fn the_store_is_an_image_layout_that_others_read() {
    let system = System::start();
    let layout = format!(
        "oci:{}:docker.io/library/busybox:latest",
        system.app().join("content").display()
    );
    let seen = Command::new("skopeo")
        .args(["inspect", &layout])
        .output()
        .unwrap();
    assert!(
        seen.status.success(),
        "{}",
        String::from_utf8_lossy(&seen.stderr)
    );
}

#[test]
fn an_archive_comes_from_a_pipe_as_well() {
    let system = System::shared();
    let output = system.pipe(["image", "load"], &std::fs::read(image()).unwrap());
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "docker.io/library/busybox:latest\n"
    );
}

#[test]
fn damaged_archives_are_refused_and_leave_nothing() {
    let system = System::start();
    let whole = std::fs::read(image()).unwrap();
    let blobs =
        || std::fs::read_dir(system.app().join("content/blobs/sha256")).map_or(0, Iterator::count);
    let before = blobs();
    let load = |name: &str, bytes: &[u8]| {
        let path = system.scratch().join(name);
        std::fs::write(&path, bytes).unwrap();
        let outcome = system
            .run(["image", "load", "-i", path.to_str().unwrap()])
            .code(1);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.contains("Error: "),
            "{name}: {outcome:?}"
        );
        assert_eq!(blobs(), before, "{name} left blobs");
        outcome
    };
    load("truncated.tar", &whole[..whole.len() / 2]);
    load("empty.tar", b"");
    load("noise.tar", &vec![0xa5; 4096]);
    let mut tampered = whole.clone();
    // The layer is the largest member: its middle is in the middle of the archive.
    tampered[whole.len() / 2] ^= 1;
    load("tampered.tar", &tampered).says("tampered");

    let evil = system.scratch().join("evil");
    std::fs::create_dir(&evil).unwrap();
    let script = "cd \"$0\" && tar -xf \"$1\" && echo x > ../outside && \
                  tar -cf ../evil.tar --transform 's,^outside$,../../outside,' -P . ../outside";
    let made = Command::new("sh")
        .args(["-c", script])
        .arg(&evil)
        .arg(image())
        .status()
        .unwrap();
    assert!(made.success());
    load(
        "escape.tar",
        &std::fs::read(system.scratch().join("evil.tar")).unwrap(),
    )
    .says("outside");
    system
        .run(["image", "load", "-i", "/no/such/file"])
        .code(1)
        .says("file does not exist");
}

#[test]
fn an_image_without_layers_is_refused() {
    let system = System::start();
    let script = r#"
        set -e; cd "$0"; mkdir -p l/blobs/sha256
        put() { d=$(sha256sum "$1" | cut -d' ' -f1); mv "$1" "l/blobs/sha256/$d"; echo "$d"; }
        printf '{"architecture":"amd64","os":"linux","config":{"Cmd":["sh"]},"rootfs":{"type":"layers","diff_ids":[]}}' > c
        cs=$(stat -c %s c); c=$(put c)
        printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%s},"layers":[]}' "$c" "$cs" > m
        ms=$(stat -c %s m); m=$(put m)
        printf '{"imageLayoutVersion":"1.0.0"}' > l/oci-layout
        printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%s,"annotations":{"org.opencontainers.image.ref.name":"docker.io/library/nothing:latest"}}]}' "$m" "$ms" > l/index.json
        tar -C l -cf nothing.tar .
    "#;
    assert!(
        Command::new("bash")
            .args(["-c", script])
            .arg(system.scratch())
            .status()
            .unwrap()
            .success()
    );
    let path = system.scratch().join("nothing.tar");
    let loaded = system.run(["image", "load", "-i", path.to_str().unwrap()]);
    if loaded.code == 0 {
        system
            .run(["run", "--rm", "nothing", "true"])
            .code(1)
            .says("layers");
    } else {
        loaded.says("layers");
    }
    assert!(system.list().is_empty());
}

/// What an image says of its first process, and what comes of it.
#[test]
fn an_image_s_configuration_cannot_lead_out() {
    let system = System::start();
    let script = r#"
        set -e; cd "$0"; mkdir -p r/bin r/etc r/dir
        cp /bin/busybox r/bin/; ln -s / r/link; ln -s /proc/self/fd r/fds
        printf 'root:x:0:0::/:/bin/sh\n' > r/etc/passwd
        tar -C r -cf r.tar .
    "#;
    let made = Command::new("bash")
        .args(["-c", script])
        .arg(system.scratch())
        .status()
        .unwrap();
    assert!(made.success());
    let tar = system.scratch().join("r.tar");
    let run = |changes: &[String], program: &str| {
        let mut words = vec!["image", "import"];
        for change in changes {
            words.extend(["--change", change]);
        }
        words.extend([tar.to_str().unwrap(), "configured"]);
        system.run(words).ok();
        system.run(["run", "--rm", "configured", "/bin/busybox", program])
    };
    for (change, says) in [
        ("WORKDIR /proc/self/fd/8", "working directory"),
        ("WORKDIR /fds/3", "working directory"),
        ("USER nobody-there", "user 'nobody-there' not found"),
        ("USER 1:2:x", "invalid user"),
        ("USER 99999999999", "not found"),
        ("VOLUME /link", "cannot mount /link"),
    ] {
        run(&[change.into()], "true").code(1).says(says);
    }
    let through_links = ["WORKDIR /link/dir".into()];
    assert_eq!(run(&through_links, "pwd").ok().stdout, "/dir\n");
    let many: Vec<String> = (0..20)
        .map(|part| {
            let pairs = (0..5000).map(|n| format!(" V{part}_{n}=x"));
            pairs.fold("ENV".to_owned(), |line, pair| line + &pair)
        })
        .collect();
    let environment = run(&many, "env").ok().stdout;
    assert_eq!(environment.matches("\nV").count(), 100_000);
    assert!(system.list().is_empty());
}

#[test]
fn short_names_are_of_the_configured_registry() {
    let system = System::stopped();
    let configure =
        |domain: &str| system.configure(&format!("[registry]\ndomain = \"{domain}\"\n"));
    configure("registry");
    system
        .run(["system", "start", "--enable-kernel-install"])
        .code(1)
        .says("registry.domain");
    configure("registry.example:5000");
    system
        .run(["system", "start", "--enable-kernel-install"])
        .ok();
    let archive = image();
    let load = ["image", "load", "-i", archive.to_str().unwrap()];
    let loaded = system.run(load).ok().stdout;
    assert_eq!(loaded, "docker.io/library/busybox:latest\n");
    let tagged = system.run(["image", "tag", "docker.io/busybox", "tool"]);
    assert_eq!(tagged.ok().stdout, "registry.example:5000/tool:latest\n");
    let listed = system.run(["image", "list", "-q"]).ok().stdout;
    let mut listed: Vec<&str> = listed.lines().collect();
    listed.sort_unstable();
    assert_eq!(listed, ["docker.io/library/busybox:latest", "tool:latest"]);
    let ran = system.run(["run", "--rm", "tool", "echo", "short"]).ok();
    assert_eq!(ran.stdout, "short\n");
    system
        .run(["run", "--pull", "never", "--rm", "busybox", "true"])
        .code(1)
        .says("busybox");
}
