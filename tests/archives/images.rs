//! Archives with something odd about them, all the way to a process.

use std::path::Path;
use std::process::Command;

use crate::system::System;

/// Writes one archive with an image for each of its arguments, all made of the busybox of this machine.
const CRAFT: &str = r#"
import hashlib, io, json, sys, tarfile
def sha(b): return "sha256:" + hashlib.sha256(b).hexdigest()
def header(name, data, prefix):
    h = bytearray(512); h[0:len(name)] = name; h[100:108] = b"0000755\0"; h[108:116] = b"\x80\0\0\0\0\x20\0\1"
    h[116:124] = b"0000000\0"; h[124:136] = b"%011o\0" % len(data); h[136:148] = b"00000000000\0"; h[156:157] = b"0"
    h[257:265] = b"ustar  \0"; h[345:345 + len(prefix)] = prefix
    h[148:156] = b"        "; h[148:156] = b"%06o\0 " % sum(h)
    return bytes(h) + data + b"\0" * (-len(data) % 512)
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as t:
    t.add("/bin/busybox", "bin/busybox"); s = tarfile.TarInfo("bin/sh"); s.type = tarfile.SYMTYPE; s.linkname = "busybox"; t.addfile(s)
prefix = b"opt/" + b"a-long-directory-name/" * 6
layer = header(b"index.js", b"hello\n", prefix[:-1]) + layer.getvalue()
blobs, entries = {}, []
def put(b): blobs[sha(b)] = b; return {"digest": sha(b), "size": len(b)}
def image(name, config, config_type, **more):
    c = dict({"config": config, "rootfs": {"type": "layers", "diff_ids": [sha(layer)]}}, **more)
    m = {"schemaVersion": 2, "config": dict(put(json.dumps(c).encode()), mediaType=config_type),
         "layers": [dict(put(layer), mediaType="application/vnd.oci.image.layer.v1.tar")]}
    entries.append(dict(put(json.dumps(m).encode()), mediaType="application/vnd.oci.image.manifest.v1+json",
                        annotations={"org.opencontainers.image.ref.name": name}))
old, new = "application/octet-stream", "application/vnd.oci.image.config.v1+json"
image("old:1", {"Cmd": ["/bin/sh", "-c", "cat /opt/*/*/*/*/*/*/index.js; /bin/busybox ls /"]}, old, os="linux", architecture="amd64")
image("bare:1", {"Entrypoint": "/bin/busybox", "Cmd": ["echo", "bare"]}, new)
image("odd:1", {"Cmd": ["/bin/busybox", "env"], "Env": ["HOME", "*", "A=1"], "Labels": {"a": None},
                "Healthcheck": {"Test": ["CMD", "/bin/sh"], "Interval": -1, "Timeout": 3e10, "Retries": 1.5}}, new, os="", architecture="")
image("bad:1", {"Cmd": 7}, new, os="linux", architecture="amd64")
with tarfile.open(sys.argv[1], "w") as t:
    def add(name, b): i = tarfile.TarInfo(name); i.size = len(b); t.addfile(i, io.BytesIO(b))
    for d, b in blobs.items(): add("blobs/sha256/" + d[7:], b)
    add("blobs/sha256/.DS_Store", b"x"); add("index.json", json.dumps({"schemaVersion": 2, "manifests": entries}).encode())
"#;

fn craft(archive: &Path) {
    let made = Command::new("python3")
        .arg("-c")
        .arg(CRAFT)
        .arg(archive)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// One bad image of four: the others load and run.
#[test]
fn odd_images_run() {
    let system = System::start();
    let archive = system.scratch().join("odd.tar");
    craft(&archive);
    let loaded = system
        .run(["image", "load", "-i", archive.to_str().unwrap()])
        .code(1)
        .says("bad:1");
    assert_eq!(loaded.stdout.lines().count(), 3, "{loaded:?}");
    let old = system.run(["run", "--rm", "old:1"]).ok().stdout;
    assert!(
        old.starts_with("hello\n") && !old.contains("index.js"),
        "{old}"
    );
    assert_eq!(system.run(["run", "--rm", "bare:1"]).ok().stdout, "bare\n");
    let odd = system.run(["run", "--rm", "odd:1"]).ok().stdout;
    assert!(odd.contains("A=1\n") && !odd.contains("HOME=\n"), "{odd}");
    assert!(system.list().is_empty());
}
