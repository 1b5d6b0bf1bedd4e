/// The keys that detach a client: Ctrl-P Ctrl-Q, as Docker and podman have it.
const KEYS: [u8; 2] = [0x10, 0x11];

/// Finds the detach keys in what is typed. What may be their beginning is held back until the next key.
#[derive(Debug, Default)]
pub struct DetachKeys {
    matched: usize,
}

impl DetachKeys {
    /// What of `typed` is for the process; and whether the keys were completed, after which nothing more is.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut forward = Vec::with_capacity(typed.len());
        for &key in typed {
            if key != KEYS[self.matched] {
                forward.extend_from_slice(&KEYS[..self.matched]);
                self.matched = 0;
            }
            if key == KEYS[self.matched] {
                self.matched += 1;
                if self.matched == KEYS.len() {
                    return (forward, true);
                }
            } else {
                forward.push(key);
            }
        }
        (forward, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut keys = DetachKeys::default();
        let mut all = Vec::new();
        for piece in pieces {
            let (forward, detached) = keys.filter(piece);
            all.extend(forward);
            if detached {
                return (all, true);
            }
        }
        (all, false)
    }

    #[test]
    fn the_keys_detach_also_in_pieces() {
        assert_eq!(typed(&[b"ls\n\x10\x11more"]), (b"ls\n".to_vec(), true));
        assert_eq!(typed(&[b"a\x10", b"\x11"]), (b"a".to_vec(), true));
        assert_eq!(typed(&[b"\x10\x10\x11"]), (b"\x10".to_vec(), true));
    }

    #[test]
    fn everything_else_comes_through() {
        assert_eq!(typed(&[b"\x10", b"x\x11"]), (b"\x10x\x11".to_vec(), false));
        assert_eq!(typed(&[b"plain"]), (b"plain".to_vec(), false));
    }
}
