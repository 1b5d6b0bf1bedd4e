use std::fs;
use std::process::Command;

use super::*;

/// Makes `name` below `root`: an ELF file of the assembler's with what a module says of itself, compressed by `packer`.
fn module(root: &Path, name: &str, information: &[&str], packer: &str) {
    let directory = root.join("kernel/some");
    fs::create_dir_all(&directory).unwrap();
    let texts = information
        .iter()
        .map(|text| format!(".asciz \"{text}\"\n"));
    let source = format!(".section .modinfo,\"a\"\n{}", texts.collect::<String>());
    let path = directory.join(format!("{name}.ko"));
    let script = format!("as -o \"$1\" - && {packer} \"$1\"");
    let mut assembler = Command::new("sh")
        .args(["-ec", &script, "sh"])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = assembler.stdin.take().unwrap();
    stdin.write_all(source.as_bytes()).unwrap();
    drop(stdin);
    assert!(assembler.wait().unwrap().success());
}

/// A kernel of which half is built in.
fn kernel(root: &Path) {
    fs::write(
        root.join("modules.builtin"),
        "kernel/fs/ext4/ext4.ko\nkernel/drivers/char/virtio_console.ko\n",
    )
    .unwrap();
    module(
        root,
        "virtio",
        &["license=GPL", "depends=virtio_ring"],
        "true",
    );
    module(root, "virtio_ring", &["depends="], "zstd -q --rm");
    module(root, "virtio_mmio", &["depends=virtio,virtio_ring"], "xz");
    module(root, "virtio_blk", &["depends=virtio"], "gzip");
    module(root, "overlay", &["depends="], "true");
    module(
        root,
        "erofs",
        &[
            "depends=libcrc32c",
            "softdep=pre: crc32c-soft absent post: overlay",
        ],
        "true",
    );
    module(root, "libcrc32c", &["depends="], "true");
    module(root, "crc32c-soft", &["depends="], "true");
    module(root, "virtio-rng", &["depends=virtio"], "true");
    module(root, "nbd", &["depends="], "true");
}

fn packed(root: &Path, further: &[&str]) -> Result<(Vec<String>, Vec<u8>), ModulesError> {
    let further: Vec<_> = further.iter().map(|name| (*name).to_owned()).collect();
    let mut archive = Vec::new();
    let names = pack(root, &further, &mut archive)?;
    Ok((names, archive))
}

#[test]
fn modules_come_in_the_order_of_their_dependencies_as_cpio_reads_them() {
    let scratch = tempfile::tempdir().unwrap();
    kernel(scratch.path());
    let (names, archive) = packed(scratch.path(), &["nbd"]).unwrap();
    assert_eq!(
        names,
        [
            "virtio_ring",
            "virtio",
            "virtio_mmio",
            "virtio_blk",
            "crc32c_soft",
            "libcrc32c",
            "erofs",
            "overlay",
            "virtio_rng",
            "nbd"
        ]
    );
    let out = scratch.path().join("out");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("a.cpio"), archive).unwrap();
    let unpacked = Command::new("sh")
        .args([
            "-ec",
            "cpio -i --quiet --no-absolute-filenames <a.cpio && ls modules",
        ])
        .current_dir(&out)
        .output()
        .unwrap();
    assert!(unpacked.status.success(), "{unpacked:?}");
    let listed = String::from_utf8(unpacked.stdout).unwrap();
    assert!(
        listed.starts_with("000-virtio_ring.ko\n001-virtio.ko\n"),
        "{listed}"
    );
    // Whatever they were packed with, the kernel gets them plain.
    for name in [
        "000-virtio_ring.ko",
        "002-virtio_mmio.ko",
        "003-virtio_blk.ko",
    ] {
        let image = fs::read(out.join("modules").join(name)).unwrap();
        assert!(image.starts_with(b"\x7fELF"), "{name}");
    }
}

#[test]
fn what_cannot_start_a_container_is_refused_by_name() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let told = |further: &[&str]| packed(root, further).unwrap_err().to_string();
    assert!(
        told(&[]).contains("holds no kernel modules"),
        "{}",
        told(&[])
    );
    kernel(root);
    assert_eq!(told(&["btrfs"]), "this kernel has no module btrfs");
    let file = |name: &str| root.join("kernel/some").join(name);
    fs::write(file("nbd.ko"), "no ELF").unwrap();
    assert!(told(&["nbd"]).ends_with("nbd.ko is no kernel module"));
    fs::write(file("virtio_ring.ko.zst"), "no zstd").unwrap();
    assert!(told(&[]).contains("virtio_ring.ko.zst"));
    fs::remove_file(file("virtio_ring.ko.zst")).unwrap();
    assert_eq!(told(&[]), "this kernel has no module virtio_ring");
    module(root, "virtio_ring", &["depends=virtio"], "true");
    assert!(told(&[]).contains("have no end"), "{}", told(&[]));
    module(root, "virtio_ring", &["depends="], "true");
    fs::remove_file(file("overlay.ko")).unwrap();
    assert!(told(&[]).starts_with("this kernel has no overlay"));
    assert!(packed(&root.join("absent"), &[]).is_err());
}
