//! Classic BPF instructions (linux/filter.h) over `struct seccomp_data`.

use libc::sock_filter;

/// Offset of `nr` in `struct seccomp_data`.
pub const NUMBER: u32 = 0;
/// Offset of `arch`.
pub const ARCHITECTURE: u32 = 4;
/// Offset of `args[0]`; each has eight bytes, the low half first on a little-endian machine.
const ARGUMENTS: u32 = 16;

const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;

/// Loads the 32 bits at `offset`.
pub fn load(offset: u32) -> sock_filter {
    instruction(LOAD_WORD, 0, 0, offset)
}

/// Loads the low half of an argument.
pub fn load_low(argument: u32) -> sock_filter {
    load(ARGUMENTS + argument * 8)
}

/// Loads the high half of an argument.
pub fn load_high(argument: u32) -> sock_filter {
    load(ARGUMENTS + argument * 8 + 4)
}

/// Ends the filter with an action.
pub fn ret(action: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, action)
}

/// Keeps the bits of `mask`.
pub fn and(mask: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, mask)
}

/// Skips `count` instructions.
pub fn skip(count: u32) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JA, 0, 0, count)
}

/// Skips `yes` instructions if the loaded value equals `value`, else `no`.
pub fn if_equal(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value)
}

/// As [`if_equal`], for greater.
pub fn if_greater(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K, yes, no, value)
}

/// As [`if_equal`], for greater or equal.
pub fn if_at_least(value: u32, yes: u8, no: u8) -> sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Every opcode is a sum of constants below 0x100.
    let code = u16::try_from(code).unwrap_or_default();
    sock_filter { code, jt, jf, k }
}
