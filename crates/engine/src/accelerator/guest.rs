//! The trial guest: 64 KiB of memory in long mode that execute what stock kernels execute and
//! half-working hypervisors don't.

use kvm_bindings::{kvm_dtable, kvm_segment, kvm_sregs};

/// Size of the guest's memory in bytes.
pub(super) const SIZE: usize = 0x1_0000;
/// Where execution starts.
pub(super) const ENTRY: u64 = CODE as u64;
/// Initial stack pointer.
pub(super) const STACK: u64 = 0x8000;
/// I/O port on which the guest reports its progress.
pub(super) const PORT: u16 = 0x42;

/// What the guest reports, in order: each instruction worked, then a loop ended.
pub(super) const STEPS: [(u8, &str); 4] = [
    (1, "lock cmpxchg16b"),
    (2, "xrstor"),
    (3, "int3 in ring 0"),
    (4, "a loop of 100000 turns"),
];
/// Reported in place of a step when the instruction faulted or computed nonsense.
pub(super) const FAULT: u8 = 0xff;

const PML4: usize = 0x1000;
const PDPT: usize = 0x2000;
const PD: usize = 0x3000;
const GDT: usize = 0x4000;
const IDT: usize = 0x5000;
const CODE: usize = 0x6000;
const BREAKPOINT: usize = CODE + 0x80;
const FAULTED: usize = CODE + 0x90;
/// Vectors with a gate: exceptions 0 to 31.
const VECTORS: usize = 32;

const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;

/// Runs with an operand of 16 bytes at 0x8000 and an XSAVE area at 0x9000, both zero.
const PROGRAM: [u8; 66] = [
    0xbf, 0x00, 0x80, 0x00, 0x00, // mov edi, 0x8000
    0x31, 0xc0, // xor eax, eax
    0x31, 0xd2, // xor edx, edx
    0x31, 0xc9, // xor ecx, ecx
    0xbb, 0x01, 0x00, 0x00, 0x00, // mov ebx, 1
    0xf0, 0x48, 0x0f, 0xc7, 0x0f, // lock cmpxchg16b [rdi]
    0x75, 0x79, // jne FAULTED
    0xb0, 0x01, 0xe6, 0x42, // out PORT, 1
    0xbf, 0x00, 0x90, 0x00, 0x00, // mov edi, 0x9000
    0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1 (x87 state)
    0x31, 0xd2, // xor edx, edx
    0x0f, 0xae, 0x2f, // xrstor [rdi]
    0xb0, 0x02, 0xe6, 0x42, // out PORT, 2
    0xcc, // int3
    0xb0, 0x03, 0xe6, 0x42, // out PORT, 3
    0xb9, 0xa0, 0x86, 0x01, 0x00, // mov ecx, 100000
    0xff, 0xc9, 0x75, 0xfc, // loop: dec ecx; jnz loop
    0xb0, 0x04, 0xe6, 0x42, // out PORT, 4
    0xeb, 0xfe, // jmp $
];
const BREAKPOINT_HANDLER: [u8; 2] = [0x48, 0xcf]; // iretq
const FAULT_HANDLER: [u8; 6] = [0xb0, FAULT, 0xe6, 0x42, 0xeb, 0xfe]; // out PORT, FAULT; jmp $

/// The guest's memory at its start: page tables, descriptor tables, code.
pub(super) fn memory() -> Vec<u8> {
    const PRESENT_WRITABLE: u64 = 0x3;
    const PAGE_2M: u64 = 0x83;
    let mut memory = vec![0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| memory[at..at + bytes.len()].copy_from_slice(bytes);
    put(PML4, &(PDPT as u64 | PRESENT_WRITABLE).to_le_bytes());
    put(PDPT, &(PD as u64 | PRESENT_WRITABLE).to_le_bytes());
    put(PD, &PAGE_2M.to_le_bytes());
    // Flat 64-bit code and writable data (Intel SDM volume 3, section 3.4.5).
    put(
        GDT + usize::from(CODE_SELECTOR),
        &0x00af_9b00_0000_ffff_u64.to_le_bytes(),
    );
    put(
        GDT + usize::from(DATA_SELECTOR),
        &0x00cf_9300_0000_ffff_u64.to_le_bytes(),
    );
    for vector in 0..VECTORS {
        let handler = if vector == 3 { BREAKPOINT } else { FAULTED };
        put(IDT + vector * 16, &interrupt_gate(handler));
    }
    put(CODE, &PROGRAM);
    put(BREAKPOINT, &BREAKPOINT_HANDLER);
    put(FAULTED, &FAULT_HANDLER);
    memory
}

/// A 64-bit interrupt gate (Intel SDM volume 3, section 6.14.1) for a handler below 64 KiB.
fn interrupt_gate(handler: usize) -> [u8; 16] {
    const PRESENT_INTERRUPT_GATE: u64 = 0x8e << 40;
    let low = handler as u64 | u64::from(CODE_SELECTOR) << 16 | PRESENT_INTERRUPT_GATE;
    let mut gate = [0; 16];
    gate[..8].copy_from_slice(&low.to_le_bytes());
    gate
}

/// Puts the vCPU into long mode with the tables of [`memory`].
pub(super) fn enter_long_mode(registers: &mut kvm_sregs) {
    const CR0_PE_MP_NE_WP_PG: u64 = 0x8001_0023;
    const CR4_PAE_OSFXSR_OSXMMEXCPT_OSXSAVE: u64 = 0x4_0620;
    const EFER_LME_LMA: u64 = 0x500;
    registers.cr3 = PML4 as u64;
    registers.cr0 = CR0_PE_MP_NE_WP_PG;
    registers.cr4 = CR4_PAE_OSFXSR_OSXMMEXCPT_OSXSAVE;
    registers.efer = EFER_LME_LMA;
    registers.gdt = kvm_dtable {
        base: GDT as u64,
        limit: 0x17,
        ..kvm_dtable::default()
    };
    registers.idt = kvm_dtable {
        base: IDT as u64,
        limit: 0x1ff,
        ..kvm_dtable::default()
    };
    registers.cs = segment(CODE_SELECTOR, 0xb, true);
    let data = segment(DATA_SELECTOR, 0x3, false);
    registers.ds = data;
    registers.es = data;
    registers.fs = data;
    registers.gs = data;
    registers.ss = data;
}

fn segment(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        db: u8::from(!long),
        s: 1,
        l: u8::from(long),
        g: 1,
        ..kvm_segment::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_meet_their_targets() {
        let memory = memory();
        // jne rel8 ends at 0x17.
        let target = CODE + 0x17 + usize::from(PROGRAM[0x16]);
        assert_eq!(target, FAULTED);
        assert_eq!(memory[FAULTED..FAULTED + 2], [0xb0, FAULT]);
        let gate = &memory[IDT + 3 * 16..];
        assert_eq!(
            usize::from(u16::from_le_bytes([gate[0], gate[1]])),
            BREAKPOINT
        );
        assert_eq!(memory[BREAKPOINT..BREAKPOINT + 2], [0x48, 0xcf]);
    }

    #[test]
    fn the_program_reports_each_step() {
        for (step, _) in STEPS {
            let port = u8::try_from(PORT).unwrap();
            assert!(
                PROGRAM
                    .windows(4)
                    .any(|code| code == [0xb0, step, 0xe6, port]),
                "{step}"
            );
        }
    }
}
