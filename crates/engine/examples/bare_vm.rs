//! The baseline of the start benchmarks: a kernel and an initial RAM file system, booted by the
//! engine's own VMM and machine to the first process, which ends the machine at once.
//!
//! `bare_vm KERNEL [INITRAMFS] [--rounds N] [--memory MIB] [--vcpus N]` prints, for each round, the
//! milliseconds from before the VMM's start to after its end, and those until the VMM answered.

#![allow(clippy::unwrap_used)] // A benchmark that cannot run should say why and stop.

#[path = "../tests/vm/cpio.rs"]
mod cpio;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Instant;

use container_engine::{Device, Engine, ExitCause, VmSpec};

/// What the first process writes on the console, to prove that the kernel got there.
const MARK: &str = "bare: up\n";

/// A static program that writes [`MARK`] on the console, as soon as there is one (the kernel finds
/// it while the program runs), and calls `reboot(LINUX_REBOOT_CMD_RESTART)`.
fn program() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mark_length = u8::try_from(MARK.len()).unwrap();
    let code = [
        &[0xb8, 2, 0, 0, 0][..],          // open: mov eax, SYS_open
        &[0x48, 0x8d, 0x3d, 56, 0, 0, 0], // lea rdi, [rip + 56] (CONSOLE)
        &[0xbe, 1, 0, 0, 0],              // mov esi, O_WRONLY
        &[0x0f, 0x05],                    // syscall
        &[0x85, 0xc0],                    // test eax, eax
        &[0x78, 0xe9],                    // js open
        &[0x89, 0xc7],                    // mov edi, eax
        &[0xb8, 1, 0, 0, 0],              // mov eax, SYS_write
        &[0x48, 0x8d, 0x35, 44, 0, 0, 0], // lea rsi, [rip + 44] (MARK)
        &[0xba, mark_length, 0, 0, 0],    // mov edx, length
        &[0x0f, 0x05],                    // syscall
        &[0xb8, 169, 0, 0, 0],            // mov eax, SYS_reboot
        &[0xbf, 0xad, 0xde, 0xe1, 0xfe],  // mov edi, LINUX_REBOOT_MAGIC1
        &[0xbe, 0x69, 0x19, 0x12, 0x28],  // mov esi, LINUX_REBOOT_MAGIC2
        &[0xba, 0x67, 0x45, 0x23, 0x01],  // mov edx, LINUX_REBOOT_CMD_RESTART
        &[0x0f, 0x05],                    // syscall
        &[0xeb, 0xfe],                    // jmp $
        b"/dev/console\0",
        MARK.as_bytes(),
    ]
    .concat();
    let length = HEADERS + u64::try_from(code.len()).unwrap();
    // An executable ELF file (System V ABI) of one loadable segment, readable and executable.
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 62] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    for word in [BASE + HEADERS, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    for half in [1u32, 5] {
        elf.extend(half.to_le_bytes());
    }
    for word in [0, BASE, BASE, length, length, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(code);
    elf
}

/// `base` with a further archive that holds `/bare`: the kernel unpacks one after the other.
fn write_initramfs(base: Option<&Path>, path: &Path) {
    let mut archive = base
        .map(|base| std::fs::read(base).unwrap())
        .unwrap_or_default();
    archive.resize(archive.len().next_multiple_of(4), 0);
    cpio::add(&mut archive, "dev", 0o040_755, 0, &[]);
    cpio::add(&mut archive, "dev/console", 0o020_600, 0x0005_0001, &[]);
    cpio::add(&mut archive, "bare", 0o100_755, 0, &program());
    cpio::add(&mut archive, "TRAILER!!!", 0, 0, &[]);
    std::fs::write(path, archive).unwrap();
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut files: Vec<PathBuf> = Vec::new();
    let (mut rounds, mut memory, mut vcpus) = (1u32, 1024u64, NonZeroU32::MIN);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("an option needs a value");
        match argument.as_str() {
            "--rounds" => rounds = value().parse().unwrap(),
            "--memory" => memory = value().parse().unwrap(),
            "--vcpus" => vcpus = value().parse().unwrap(),
            _ => files.push(argument.into()),
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let initramfs = directory.path().join("initramfs");
    write_initramfs(files.get(1).map(PathBuf::as_path), &initramfs);
    let engine = Engine::open(directory.path()).await.unwrap();
    let spec = VmSpec {
        kernel: files.first().expect("which kernel?").clone(),
        initramfs: Some(initramfs),
        command_line: "quiet rdinit=/bare".to_owned(),
        vcpus,
        memory_bytes: memory << 20,
        devices: vec![
            Device::GuestChannel {
                name: "container.guest".to_owned(),
            },
            Device::Console { record: None },
            Device::Balloon,
            Device::Entropy,
        ],
        accelerator: engine.accelerator(),
        firmware_tables: false,
        nested_virtualization: false,
    };
    eprintln!("{}, {}", engine.vmm(), spec.accelerator);
    for _ in 0..rounds {
        let start = Instant::now();
        let mut vm = engine.start(&spec).await.unwrap();
        let exit = vm.wait().await.unwrap();
        let elapsed = start.elapsed();
        assert_eq!(exit.cause, ExitCause::Guest, "{exit:?}");
        assert_eq!(
            exit.explanation.last().map(String::as_str),
            Some(MARK.trim_end())
        );
        let answered = vm.moments().running - start;
        let [elapsed, answered] = [elapsed, answered].map(|time| time.as_secs_f64() * 1000.0);
        println!("{elapsed:.1} {answered:.1}");
    }
}
