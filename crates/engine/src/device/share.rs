//! Directories and files of the host, which a process of their own serves (virtio-fs).

use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Most bytes of a [`Share`]'s tag (`struct virtio_fs_config` of the virtio specification 1.3, section 5.11.4).
pub const TAG_LIMIT: usize = 36;

/// A file system of the host that the guest mounts by its tag (`mount -t virtiofs <tag>`).
///
/// The VMM passes the requests of the guest on to the process that serves it and never sees a file. That process reads and
/// writes the guest's memory, so this machine's memory is a file that the two of them map.
#[derive(Debug, Clone)]
pub struct Share {
    /// By which the guest knows it: from 1 to [`TAG_LIMIT`] bytes without NUL.
    pub tag: String,
    /// A Unix socket, connected to the process that serves it, which answers in the vhost-user protocol. One machine uses it
    /// at a time.
    pub server: Arc<OwnedFd>,
}

/// Why a share cannot be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The device has no room for the tag.
    #[error("its tag must have from 1 to {TAG_LIMIT} bytes, and no NUL")]
    Tag,
    /// There are no descriptors left.
    #[error("its socket cannot be handed over")]
    HandOver(#[source] std::io::Error),
}

impl Share {
    /// Refuses what the VMM would refuse late or obscurely.
    pub(crate) fn check(&self) -> Result<(), ShareError> {
        if (1..=TAG_LIMIT).contains(&self.tag.len()) && !self.tag.contains('\0') {
            Ok(())
        } else {
            Err(ShareError::Tag)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_fits_into_the_device() {
        let check = |tag: &str| {
            let server = std::fs::File::open("/dev/null").unwrap();
            let server = Arc::new(server.into());
            Share {
                tag: tag.to_owned(),
                server,
            }
            .check()
        };
        check("shares").unwrap();
        check(&"x".repeat(TAG_LIMIT)).unwrap();
        for tag in ["", "a\0b", &"x".repeat(TAG_LIMIT + 1)] {
            assert!(matches!(check(tag), Err(ShareError::Tag)), "{tag:?}");
        }
    }
}
