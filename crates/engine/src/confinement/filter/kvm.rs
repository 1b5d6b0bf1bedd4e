//! The requests that QEMU makes to KVM on x86 (linux/kvm.h; in QEMU `accel/kvm`, `target/i386/kvm`, `hw/i386/kvm`), up to
//! version 10. A request's number holds the size of its structure.

use kvm_bindings as kvm;

/// `KVMIO` of linux/kvm.h.
const KVMIO: u32 = 0xae;

/// Directions of asm-generic/ioctl.h, as user space sees them.
const NONE: u32 = 0;
const WRITE: u32 = 1;
const READ: u32 = 2;

const fn io(number: u32) -> u32 {
    request(NONE, number, 0)
}

const fn iow<T>(number: u32) -> u32 {
    request(WRITE, number, size_of::<T>())
}

const fn ior<T>(number: u32) -> u32 {
    request(READ, number, size_of::<T>())
}

const fn iowr<T>(number: u32) -> u32 {
    request(READ | WRITE, number, size_of::<T>())
}

const fn request(direction: u32, number: u32, size: usize) -> u32 {
    assert!(size < 1 << 14);
    // The assertion proves that the size fits.
    #[allow(clippy::cast_possible_truncation)]
    let size = size as u32;
    direction << 30 | size << 16 | KVMIO << 8 | number
}

/// All of them; the one that runs the guest comes first, as it is made most.
pub(crate) const REQUESTS: [u32; 76] = [
    io(0x80), // KVM_RUN: vCPU
    // A virtual CPU's state: vCPU, at its start, its reset, when it is saved and restored.
    ior::<kvm::kvm_regs>(0x81),            // KVM_GET_REGS
    iow::<kvm::kvm_regs>(0x82),            // KVM_SET_REGS
    ior::<kvm::kvm_sregs>(0x83),           // KVM_GET_SREGS
    iow::<kvm::kvm_sregs>(0x84),           // KVM_SET_SREGS
    ior::<kvm::kvm_sregs2>(0xcc),          // KVM_GET_SREGS2
    iow::<kvm::kvm_sregs2>(0xcd),          // KVM_SET_SREGS2
    iowr::<kvm::kvm_msrs>(0x88),           // KVM_GET_MSRS
    iow::<kvm::kvm_msrs>(0x89),            // KVM_SET_MSRS
    iow::<kvm::kvm_signal_mask>(0x8b),     // KVM_SET_SIGNAL_MASK
    ior::<kvm::kvm_fpu>(0x8c),             // KVM_GET_FPU
    iow::<kvm::kvm_fpu>(0x8d),             // KVM_SET_FPU
    ior::<kvm::kvm_lapic_state>(0x8e),     // KVM_GET_LAPIC
    iow::<kvm::kvm_lapic_state>(0x8f),     // KVM_SET_LAPIC
    iow::<kvm::kvm_cpuid2>(0x90),          // KVM_SET_CPUID2
    iowr::<kvm::kvm_tpr_access_ctl>(0x92), // KVM_TPR_ACCESS_REPORTING
    iow::<kvm::kvm_vapic_addr>(0x93),      // KVM_SET_VAPIC_ADDR
    ior::<kvm::kvm_mp_state>(0x98),        // KVM_GET_MP_STATE
    iow::<kvm::kvm_mp_state>(0x99),        // KVM_SET_MP_STATE
    io(0x9a),                              // KVM_NMI
    iow::<kvm::kvm_guest_debug>(0x9b),     // KVM_SET_GUEST_DEBUG
    iow::<u64>(0x9c),                      // KVM_X86_SETUP_MCE
    iow::<kvm::kvm_x86_mce>(0x9e),         // KVM_X86_SET_MCE
    ior::<kvm::kvm_vcpu_events>(0x9f),     // KVM_GET_VCPU_EVENTS
    iow::<kvm::kvm_vcpu_events>(0xa0),     // KVM_SET_VCPU_EVENTS
    ior::<kvm::kvm_debugregs>(0xa1),       // KVM_GET_DEBUGREGS
    iow::<kvm::kvm_debugregs>(0xa2),       // KVM_SET_DEBUGREGS
    io(0xa2),                              // KVM_SET_TSC_KHZ
    io(0xa3),                              // KVM_GET_TSC_KHZ
    iow::<kvm::kvm_enable_cap>(0xa3),      // KVM_ENABLE_CAP
    ior::<kvm::kvm_xsave>(0xa4),           // KVM_GET_XSAVE
    iow::<kvm::kvm_xsave>(0xa5),           // KVM_SET_XSAVE
    ior::<kvm::kvm_xsave>(0xcf),           // KVM_GET_XSAVE2
    ior::<kvm::kvm_xcrs>(0xa6),            // KVM_GET_XCRS
    iow::<kvm::kvm_xcrs>(0xa7),            // KVM_SET_XCRS
    iow::<kvm::kvm_one_reg>(0xab),         // KVM_GET_ONE_REG
    iow::<kvm::kvm_one_reg>(0xac),         // KVM_SET_ONE_REG
    io(0xad),                              // KVM_KVMCLOCK_CTRL
    io(0xb7),                              // KVM_SMI
    iowr::<kvm::kvm_nested_state>(0xbe),   // KVM_GET_NESTED_STATE
    iow::<kvm::kvm_nested_state>(0xbf),    // KVM_SET_NESTED_STATE
    // The machine: main, as it makes it.
    io(0x00),                          // KVM_GET_API_VERSION
    io(0x01),                          // KVM_CREATE_VM
    iowr::<kvm::kvm_msr_list>(0x02),   // KVM_GET_MSR_INDEX_LIST
    io(0x03),                          // KVM_CHECK_EXTENSION
    io(0x04),                          // KVM_GET_VCPU_MMAP_SIZE
    iowr::<kvm::kvm_cpuid2>(0x05),     // KVM_GET_SUPPORTED_CPUID
    iowr::<kvm::kvm_cpuid2>(0x09),     // KVM_GET_EMULATED_CPUID
    iowr::<kvm::kvm_msr_list>(0x0a),   // KVM_GET_MSR_FEATURE_INDEX_LIST
    ior::<u64>(0x9d),                  // KVM_X86_GET_MCE_CAP_SUPPORTED
    iowr::<kvm::kvm_cpuid2>(0xc1),     // KVM_GET_SUPPORTED_HV_CPUID
    io(0x41),                          // KVM_CREATE_VCPU
    io(0x47),                          // KVM_SET_TSS_ADDR
    iow::<u64>(0x48),                  // KVM_SET_IDENTITY_MAP_ADDR
    io(0x60),                          // KVM_CREATE_IRQCHIP
    io(0x78),                          // KVM_SET_BOOT_CPU_ID
    iow::<kvm::kvm_pit_config>(0x77),  // KVM_CREATE_PIT2
    iow::<kvm::kvm_irq_routing>(0x6a), // KVM_SET_GSI_ROUTING
    iow::<kvm::kvm_msr_filter>(0xc6),  // KVM_X86_SET_MSR_FILTER
    iow::<kvm::kvm_device_attr>(0xe1), // KVM_SET_DEVICE_ATTR
    iow::<kvm::kvm_device_attr>(0xe2), // KVM_GET_DEVICE_ATTR
    iow::<kvm::kvm_device_attr>(0xe3), // KVM_HAS_DEVICE_ATTR
    io(0xce),                          // KVM_GET_STATS_FD
    // The machine while it runs: memory, interrupts, event descriptors, the clock. Main and vCPU.
    iow::<kvm::kvm_userspace_memory_region>(0x46), // KVM_SET_USER_MEMORY_REGION
    iow::<kvm::kvm_userspace_memory_region2>(0x49), // KVM_SET_USER_MEMORY_REGION2
    iow::<kvm::kvm_dirty_log>(0x42),               // KVM_GET_DIRTY_LOG
    iowr::<kvm::kvm_clear_dirty_log>(0xc0),        // KVM_CLEAR_DIRTY_LOG
    iow::<kvm::kvm_irq_level>(0x61),               // KVM_IRQ_LINE
    iowr::<kvm::kvm_irq_level>(0x67),              // KVM_IRQ_LINE_STATUS
    iowr::<kvm::kvm_irqchip>(0x62),                // KVM_GET_IRQCHIP
    ior::<kvm::kvm_irqchip>(0x63),                 // KVM_SET_IRQCHIP
    iow::<kvm::kvm_irqfd>(0x76),                   // KVM_IRQFD
    iow::<kvm::kvm_ioeventfd>(0x79),               // KVM_IOEVENTFD
    iow::<kvm::kvm_msi>(0xa5),                     // KVM_SIGNAL_MSI
    iow::<kvm::kvm_clock_data>(0x7b),              // KVM_SET_CLOCK
    ior::<kvm::kvm_clock_data>(0x7c),              // KVM_GET_CLOCK
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        // As strace prints them.
        assert_eq!(io(0x80), 0xae80);
        assert_eq!(iow::<kvm::kvm_regs>(0x82), 0x4090_ae82);
        assert_eq!(iow::<kvm::kvm_userspace_memory_region>(0x46), 0x4020_ae46);
        assert_eq!(iowr::<kvm::kvm_cpuid2>(0x05), 0xc008_ae05);
    }
}
