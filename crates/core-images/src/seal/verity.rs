//! fs-verity: a file system that checks each block of a file as it is read (Linux, `include/uapi/linux/fsverity.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use container_resource::digest::Digest;

/// What this process asks of the kernel; tests have one of their own.
pub trait Verity: std::fmt::Debug + Send + Sync {
    /// Makes the kernel check `file` for ever; it cannot be written any more. False if the file system does not support this.
    fn enable(&self, file: &File) -> bool;

    /// The digest that the kernel holds `file` to; `None` where it holds it to none.
    fn measure(&self, file: &File) -> Option<Digest>;
}

/// The kernel's own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kernel;

/// `_IOW('f', 133, struct fsverity_enable_arg)`
const ENABLE: libc::c_ulong = 0x4080_6685;
/// `_IOWR('f', 134, struct fsverity_digest)`
const MEASURE: libc::c_ulong = 0xc004_6686;
const SHA256: u16 = 1;
const BLOCK_SIZE: u32 = 4096;

/// `struct fsverity_enable_arg`
#[repr(C)]
struct EnableArgument {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved: u32,
    signature: u64,
    more_reserved: [u64; 11],
}

/// `struct fsverity_digest` with room for one of SHA-256.
#[repr(C)]
struct Measured {
    algorithm: u16,
    size: u16,
    digest: [u8; 32],
}

impl Verity for Kernel {
    fn enable(&self, file: &File) -> bool {
        let argument = EnableArgument {
            version: 1,
            hash_algorithm: SHA256.into(),
            block_size: BLOCK_SIZE,
            salt_size: 0,
            salt: 0,
            signature_size: 0,
            reserved: 0,
            signature: 0,
            more_reserved: [0; 11],
        };
        // SAFETY: the kernel reads one `fsverity_enable_arg`, which has no pointers set, and keeps none.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE, &raw const argument) };
        if result != 0 {
            // Most file systems have none, and that is no fault.
            tracing::trace!(error = %io::Error::last_os_error(), "no fs-verity");
        }
        result == 0
    }

    fn measure(&self, file: &File) -> Option<Digest> {
        let mut measured = Measured {
            algorithm: 0,
            size: 32,
            digest: [0; 32],
        };
        // SAFETY: the kernel writes at most `size` bytes behind the two numbers, as many as there are.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), MEASURE, &raw mut measured) };
        let is_known = result == 0 && measured.algorithm == SHA256 && measured.size == 32;
        is_known.then(|| Digest::new(measured.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_structures_have_their_sizes() {
        assert_eq!(size_of::<EnableArgument>(), 128);
        assert_eq!(size_of::<Measured>(), 36);
    }

    #[test]
    fn where_there_is_none_it_says_so() {
        let file = File::open("/proc/self/exe").unwrap();
        let null = File::open("/dev/null").unwrap();
        assert!(!Kernel.enable(&null));
        assert_eq!(Kernel.measure(&null), None);
        // Whatever file system this is on, asking does no harm.
        let _ = Kernel.measure(&file);
    }
}
