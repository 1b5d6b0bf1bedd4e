//! The program of a rehearsal: an executable that does to its kernel what programs do when they start and end.
//!
//! It is made here, as an image with a program of somebody else's would be one more thing to trust, and to keep. It is for
//! `x86_64`: another architecture needs [`CODE`] and [`MACHINE`] of its own.

/// `EM_X86_64` of elf.h.
const MACHINE: u16 = 62;
/// Bytes of the file: as of a program that is read in several steps.
const SIZE: u64 = 1 << 20;
/// Where it is mapped, and where its code begins there.
const BASE: u64 = 0x40_0000;
const ENTRY: u64 = 0x1000;
/// What of the file is mapped to be written; behind it is memory that is not in the file.
const DATA: u64 = SIZE - 0x1_0000;
const DATA_MEMORY: u64 = 0x2_0000;
const PAGE: u64 = 4096;

/// Makes the calls of the table behind it, one after the other, and exits with 0.
///
/// ```text
///         lea rbx, [rip+table]; xor r15d, r15d
/// next:   mov rax, [rbx]; test rax, rax; js done
///         mov rdi, [rbx+8]; mov rcx, [rbx+16]; and rcx, r15; add rdi, rcx
///         mov rsi, [rbx+24]; mov rdx, [rbx+32]; mov r10, [rbx+40]
///         mov r11, [rbx+48]; mov r11, [r11]
///         mov r8, -1; xor r9d, r9d
///         syscall
///         mov r15, rax; add rbx, 56; jmp next
/// done:   xor edi, edi; mov eax, 231; syscall
/// table:
/// ```
#[rustfmt::skip]
const CODE: [u8; 81] = [
    0x48, 0x8d, 0x1d, 0x4a, 0, 0, 0, 0x45, 0x31, 0xff,
    0x48, 0x8b, 0x03, 0x48, 0x85, 0xc0, 0x78, 0x36,
    0x48, 0x8b, 0x7b, 0x08, 0x48, 0x8b, 0x4b, 0x10, 0x4c, 0x21, 0xf9, 0x48, 0x01, 0xcf,
    0x48, 0x8b, 0x73, 0x18, 0x48, 0x8b, 0x53, 0x20, 0x4c, 0x8b, 0x53, 0x28,
    0x4c, 0x8b, 0x5b, 0x30, 0x4d, 0x8b, 0x1b,
    0x49, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, 0x45, 0x31, 0xc9,
    0x0f, 0x05,
    0x49, 0x89, 0xc7, 0x48, 0x83, 0xc3, 0x38, 0xeb, 0xc2,
    0x31, 0xff, 0xb8, 0xe7, 0, 0, 0, 0x0f, 0x05,
];

/// One call, in the order in which [`CODE`] reads it.
#[derive(Clone, Copy, Debug, Default)]
struct Call {
    number: i64,
    first: u64,
    /// All ones: the result of the call before is added to the first argument.
    relative: u64,
    second: u64,
    third: u64,
    fourth: u64,
    /// Address that is read before.
    touched: u64,
}

/// The whole file (ELF-64, "System V Application Binary Interface", chapters 4 and 5).
pub fn program() -> Vec<u8> {
    let size = usize::try_from(SIZE).unwrap_or_default();
    let mut file = Vec::with_capacity(size);
    // e_ident: 64 bits, little endian, version 1.
    file.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    // e_type ET_EXEC, e_machine, e_version.
    file.extend([2, 0]);
    file.extend(MACHINE.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    // e_entry, e_phoff, e_shoff.
    for word in [BASE + ENTRY, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    // e_flags; e_ehsize, e_phentsize, e_phnum; no sections.
    file.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 3, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let (load, stack) = (1u32, 0x6474_e551u32);
    let (read, write, execute) = (4u32, 2u32, 1u32);
    let data = BASE + DATA;
    for (kind, flags, offset, address, in_file, in_memory) in [
        (load, read | execute, 0, BASE, DATA, DATA),
        (load, read | write, DATA, data, SIZE - DATA, DATA_MEMORY),
        (stack, read | write, 0, 0, 0, 0),
    ] {
        file.extend(kind.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset, address, address, in_file, in_memory, PAGE] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(usize::try_from(ENTRY).unwrap_or_default(), 0);
    file.extend(CODE);
    for call in calls() {
        file.extend(call.number.to_le_bytes());
        let Call {
            first,
            relative,
            second,
            third,
            fourth,
            touched,
            ..
        } = call;
        for word in [first, relative, second, third, fourth, touched] {
            file.extend(word.to_le_bytes());
        }
    }
    file.extend((-1i64).to_le_bytes());
    file.resize(size, b'\n');
    file
}

/// What the C library does before `main`, pages of code and data that are met for the first time, and a line of output.
fn calls() -> Vec<Call> {
    let data = BASE + DATA;
    let call = |number: libc::c_long, [first, second, third, fourth]: [u64; 4]| Call {
        number,
        first,
        second,
        third,
        fourth,
        touched: BASE,
        ..Call::default()
    };
    let grow = |bytes| Call {
        relative: u64::MAX,
        ..call(libc::SYS_brk, [bytes, 0, 0, 0])
    };
    let mut calls = vec![
        call(libc::SYS_brk, [0; 4]),
        grow(0xd40),
        // ARCH_SET_FS of asm/prctl.h.
        call(libc::SYS_arch_prctl, [0x1002, data, 0, 0]),
        call(libc::SYS_set_tid_address, [data, 0, 0, 0]),
        call(libc::SYS_set_robust_list, [data, 24, 0, 0]),
        // RLIMIT_STACK.
        call(libc::SYS_prlimit64, [0, 3, 0, data]),
        call(libc::SYS_getrandom, [data + PAGE, 8, 1, 0]),
        call(libc::SYS_brk, [0; 4]),
        grow(0x2_1000),
        // PROT_READ.
        call(libc::SYS_mprotect, [data, 2 * PAGE, 1, 0]),
        call(libc::SYS_getuid, [0; 4]),
        // Anonymous memory, written to by the kernel: PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS.
        call(libc::SYS_mmap, [0, 1 << 20, 3, 0x22]),
        Call {
            relative: u64::MAX,
            ..call(libc::SYS_getrandom, [0, 8, 1, 0])
        },
    ];
    // Neither in order nor one beside the other, as code is.
    for step in 0..16 {
        calls.push(Call {
            touched: BASE + (step * 7 % 16) * 0xe000,
            ..call(libc::SYS_getuid, [0; 4])
        });
    }
    for page in 3..8 {
        calls.push(call(libc::SYS_getrandom, [data + page * PAGE, 8, 1, 0]));
    }
    calls.push(call(libc::SYS_write, [1, data + 9 * PAGE, 1, 0]));
    calls
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_writes_a_line_and_succeeds() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("program");
        std::fs::write(&path, super::program()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let output = std::process::Command::new(path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, b"\n");
    }
}
