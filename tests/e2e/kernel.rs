//! `system kernel set`: from files, archives and addresses; what it takes boots.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::system::System;

/// Serves the directory it is started in, and says at which port.
const SERVER: &str = r#"
import functools, http.server, sys
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn a_kernel_is_taken_from_files_archives_and_addresses_and_boots() {
    let system = System::start();
    let scratch = system.scratch();
    let packaged = system.prefix().join("share/container/kernel/vmlinux-amd64");
    let script = format!(
        "mkdir -p tree/opt/kernels && cp {} tree/opt/kernels/vmlinux-9.9 && ln -s vmlinux-9.9 tree/opt/kernels/vmlinux.container && \
         tar --zstd -cf kernels.tar.zst -C tree ./opt && sha256sum kernels.tar.zst | cut -d' ' -f1 && echo no kernel >text",
        packaged.display()
    );
    let made = Command::new("sh")
        .args(["-c", &script])
        .current_dir(scratch)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let digest = format!("sha256:{}", String::from_utf8_lossy(&made.stdout).trim());
    let mut server = Command::new("/usr/bin/python3")
        .args(["-c", SERVER])
        .current_dir(scratch)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let address = format!("http://127.0.0.1:{}/kernels.tar.zst", port.trim());

    let set = |words: &[&str]| system.run(["system", "kernel", "set"].iter().chain(words));
    let archive = scratch.join("kernels.tar.zst");
    let archive = archive.to_str().unwrap();
    let member = "opt/kernels/vmlinux.container";
    set(&[]).code(64);
    set(&["--tar", archive]).code(64).says("--binary");
    set(&["--tar", &address, "--binary", member])
        .code(64)
        .says("'--digest' is required when '--tar' is a remote URL");
    let other = format!("sha256:{}", "0".repeat(64));
    set(&["--tar", &address, "--binary", member, "--digest", &other])
        .code(1)
        .says(&format!("has the digest {digest}"));
    set(&["--tar", archive, "--binary", "opt/kernels/none"])
        .code(1)
        .says("the archive has no member opt/kernels/none");
    set(&["--binary", scratch.join("text").to_str().unwrap()])
        .code(1)
        .says("text is not an x86-64 ELF kernel or a bzImage");
    let kernels = system.app().join("kernels");
    let chosen = || std::fs::read_link(kernels.join("default.kernel-amd64")).unwrap();
    assert_eq!(
        chosen().to_str(),
        Some("vmlinux-amd64"),
        "a refused one changes nothing"
    );

    set(&["--tar", &address, "--binary", member, "--digest", &digest]).ok();
    assert_eq!(chosen().to_str(), Some("vmlinux-9.9"));
    system
        .run(["run", "--rm", "-m", "256M", "busybox", "true"])
        .ok();
    // The same once more, from the file.
    set(&["--tar", archive, "--binary", member]).ok();
    set(&["--recommended"]).ok();
    assert_eq!(chosen().to_str(), Some("vmlinux-amd64"));
    let _ = server.kill();
    let _ = server.wait();
}

#[test]
#[ignore = "needs CONTAINER_TEST_CLOUD_KERNEL, an unpacked package: `make test-real`"]
fn a_distribution_s_kernel_boots_with_its_modules() {
    let unpacked = std::env::var_os("CONTAINER_TEST_CLOUD_KERNEL")
        .map(std::path::PathBuf::from)
        .expect("CONTAINER_TEST_CLOUD_KERNEL");
    let only = |directory: std::path::PathBuf, beginning: &str| {
        let entries = std::fs::read_dir(directory).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        let is_it = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(beginning)
        };
        paths.find(is_it).unwrap()
    };
    let kernel = only(unpacked.join("boot"), "vmlinuz-");
    let modules = only(unpacked.join("lib/modules"), "");
    let version = modules.file_name().unwrap().to_str().unwrap().to_owned();
    let system = System::start();
    let binary = [
        "system",
        "kernel",
        "set",
        "--binary",
        kernel.to_str().unwrap(),
    ];
    let with = ["--modules", modules.to_str().unwrap()];
    let set = |further: &[&str]| system.run(binary.iter().chain(&with).chain(further));
    set(&["--module", "none"])
        .code(1)
        .says("this kernel has no module none");
    set(&["--module", "nbd"]).ok();
    std::fs::write(system.scratch().join("shared"), "from the host").unwrap();
    let share = format!("{}:/share:ro", system.scratch().display());
    let look = "uname -r; cat /share/shared; echo; ls -d /dev/net/tun /sys/module/nbd; df /data | grep -c /dev/vd; \
        ip addr show dev eth0 | grep -c 'inet '; nproc";
    let ran = system.run([
        "run",
        "--rm",
        "-m",
        "256M",
        "-c",
        "2",
        "-v",
        &share,
        "-v",
        "data:/data:rw",
        "busybox",
        "sh",
        "-c",
        look,
    ]);
    let expected = format!("{version}\nfrom the host\n/dev/net/tun\n/sys/module/nbd\n1\n1\n2\n");
    assert_eq!(ran.ok().stdout, expected);
    // It is a container as any other.
    system.sleeper("kept");
    let told = system
        .run(["exec", "kept", "cat", "/proc/sys/kernel/osrelease"])
        .ok();
    assert_eq!(told.stdout.trim(), version);
    system.run(["stop", "--time", "5", "kept"]).ok();
    system.run(["start", "kept"]).ok();
    system
        .run(["run", "--rm", "--init-image", "busybox", "busybox", "true"])
        .code(1);
    system
        .run(["system", "kernel", "set", "--recommended"])
        .ok();
}
