//! eBPF instructions (`linux/bpf.h`, `linux/bpf_common.h`), as far as a device filter needs them.

/// `BPF_JMP | BPF_EXIT`.
const EXIT: u8 = 0x95;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u8,
    /// Destination in the low half, source in the high half.
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

impl Instruction {
    /// A jump other than the program's exit.
    pub fn is_conditional(self) -> bool {
        self.is_jump() && self.code != EXIT
    }

    /// Any jump, the exit included.
    pub fn is_jump(self) -> bool {
        matches!(self.code & 0x07, 0x05 | 0x06)
    }
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction {
        code,
        registers: source << 4 | destination,
        offset,
        immediate,
    }
}

/// `BPF_LDX | BPF_MEM | BPF_W` from the context, which is in r1 at the start.
pub fn load_word(destination: u8, offset: i16) -> Instruction {
    instruction(0x61, destination, 1, offset, 0)
}

/// `BPF_ALU | BPF_AND | BPF_K`.
pub fn and(destination: u8, mask: i32) -> Instruction {
    instruction(0x54, destination, 0, 0, mask)
}

/// `BPF_ALU | BPF_RSH | BPF_K`.
pub fn shift_right(destination: u8, bits: i32) -> Instruction {
    instruction(0x74, destination, 0, 0, bits)
}

/// `BPF_ALU | BPF_MOV | BPF_X`.
pub fn copy(destination: u8, source: u8) -> Instruction {
    instruction(0xbc, destination, source, 0, 0)
}

/// `BPF_JMP32 | BPF_JNE | BPF_K`, away from the block.
pub fn unless_equal(register: u8, value: i32) -> Instruction {
    instruction(0x56, register, 0, 0, value)
}

/// `BPF_JMP | BPF_JNE | BPF_X`, away from the block.
pub fn unless_same(left: u8, right: u8) -> Instruction {
    instruction(0x5d, left, right, 0, 0)
}

/// `BPF_JMP | BPF_JEQ | BPF_K` with zero, away from the block.
pub fn if_zero(register: u8) -> Instruction {
    instruction(0x15, register, 0, 0, 0)
}

/// r0 = `allow`; exit.
pub fn answer(allow: bool) -> [Instruction; 2] {
    [
        instruction(0xb7, 0, 0, 0, i32::from(allow)),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}
