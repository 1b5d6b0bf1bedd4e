//! The bytes of a file that one owner has locked, as the kernel counts them.

/// The last byte of the largest file.
pub const LAST: u64 = i64::MAX.unsigned_abs();

/// How bytes are locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// With others.
    Read,
    /// Alone.
    Write,
}

/// Bytes of a file: none after [`LAST`], and at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub first: u64,
    pub last: u64,
}

impl Range {
    /// All bytes of a file, whatever size it gets.
    pub const WHOLE: Self = Self {
        first: 0,
        last: LAST,
    };
}

/// Ranges of one owner, in their order: none overlaps another one, and neighbours have different modes.
#[derive(Debug, Default)]
pub struct Ranges(Vec<(Range, Mode)>);

impl Ranges {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// No byte is locked any more.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The bytes of `range` are locked in `mode`, or not any more.
    pub fn set(&mut self, range: Range, mode: Option<Mode>) {
        let mut all = Vec::with_capacity(self.0.len() + 2);
        for &(old, old_mode) in &self.0 {
            if old.first < range.first {
                let last = old.last.min(range.first - 1);
                all.push((Range { last, ..old }, old_mode));
            }
            if old.last > range.last {
                let first = old.first.max(range.last + 1);
                all.push((Range { first, ..old }, old_mode));
            }
        }
        all.extend(mode.map(|mode| (range, mode)));
        all.sort_unstable_by_key(|(range, _)| range.first);
        all.dedup_by(|(next, next_mode), (range, mode)| {
            let is_one = mode == next_mode && range.last + 1 == next.first;
            if is_one {
                range.last = next.last;
            }
            is_one
        });
        self.0 = all;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_largest_numbers_are_bytes_too() {
        let mut ranges = Ranges::default();
        ranges.set(Range::WHOLE, Some(Mode::Write));
        let end = Range {
            first: LAST,
            last: LAST,
        };
        ranges.set(end, Some(Mode::Read));
        assert_eq!(ranges.count(), 2);
        ranges.set(end, Some(Mode::Write));
        assert_eq!(ranges.0, [(Range::WHOLE, Mode::Write)]);
        ranges.set(Range::WHOLE, None);
        assert_eq!(ranges.count(), 0);
    }

    proptest! {
        /// Compared with a list of bytes.
        #[test]
        fn every_byte_is_as_it_was_set(steps in prop::collection::vec((0_u64..24, 0_u64..24, 0_usize..3), 1..40)) {
            let mut ranges = Ranges::default();
            let mut bytes = [None; 24];
            for (one, other, mode) in steps {
                let range = Range { first: one.min(other), last: one.max(other) };
                let mode = [None, Some(Mode::Read), Some(Mode::Write)][mode];
                ranges.set(range, mode);
                for byte in range.first..=range.last {
                    bytes[usize::try_from(byte).unwrap()] = mode;
                }
                let mut found = [None; 24];
                for (range, mode) in &ranges.0 {
                    for byte in range.first..=range.last {
                        let byte = &mut found[usize::try_from(byte).unwrap()];
                        prop_assert!(byte.replace(*mode).is_none());
                    }
                }
                prop_assert_eq!(found, bytes);
                let mut runs = 0;
                for (at, byte) in bytes.iter().enumerate() {
                    runs += usize::from(byte.is_some() && (at == 0 || bytes[at - 1] != *byte));
                }
                prop_assert_eq!(ranges.count(), runs);
            }
        }
    }
}
