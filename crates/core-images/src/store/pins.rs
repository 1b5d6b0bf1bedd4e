//! Digests that running work uses.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use container_resource::digest::Digest;

/// Counts how many pieces of work need a digest: a blob's, a layer's diff id, or a manifest's for its view.
#[derive(Clone, Debug, Default)]
pub struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

impl Pins {
    pub(super) fn pin(&self) -> Pin {
        Pin {
            pins: self.clone(),
            held: Vec::new(),
        }
    }

    /// Runs `remove` unless `digest` is pinned, with no pin taken meanwhile.
    pub(super) fn unless_pinned<T>(&self, digest: Digest, remove: impl FnOnce() -> T) -> Option<T> {
        let pinned = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!pinned.contains_key(&digest)).then(remove)
    }
}

/// What one piece of work holds, until it is dropped.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    held: Vec<Digest>,
}

impl Pin {
    /// Holds `digest` too. To be called before looking whether it is there.
    pub fn hold(&mut self, digest: Digest) {
        let mut pins = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        *pins.entry(digest).or_default() += 1;
        self.held.push(digest);
    }
}

impl Pin {
    /// Holds what `other` held, too.
    pub fn take_over(&mut self, mut other: Self) {
        self.held.append(&mut other.held);
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.0.lock().unwrap_or_else(PoisonError::into_inner);
        for digest in self.held.drain(..) {
            if let Some(count) = pins.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(&digest);
                }
            }
        }
    }
}
