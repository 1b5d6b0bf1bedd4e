//! What users are told of a copy that is not all of what it is a copy of.

/// What an archive lacks of the trees that are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Files that were shorter than they had been a moment before: zeros stand for what was missing.
    pub changed: u64,
    /// Devices and FIFOs, where they are not copied.
    pub special: u64,
}

impl Shortfall {
    /// A line for each kind; none where nothing is missing.
    pub fn lines(self) -> impl Iterator<Item = String> {
        let changed = match self.changed {
            1 => "1 file became shorter while it was read".to_owned(),
            count => format!("{count} files became shorter while they were read"),
        };
        let special = match self.special {
            1 => "1 file was left out: it is a device or a FIFO".to_owned(),
            count => format!("{count} files were left out: they are devices or FIFOs"),
        };
        [(self.changed, changed), (self.special, special)]
            .into_iter()
            .filter_map(|(count, line)| (count > 0).then_some(line))
    }
}

/// Files were left out of a tree.
pub fn left_out(count: u64) -> String {
    match count {
        1 => "1 file was left out: it is a device, or its path leads elsewhere".to_owned(),
        _ => {
            format!("{count} files were left out: they are devices, or their path leads elsewhere")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        for (special, begin) in [(1, "1 file "), (2, "2 files ")] {
            let shortfall = Shortfall {
                changed: 0,
                special,
            };
            let lines: Vec<_> = shortfall.lines().collect();
            assert!(lines.len() == 1 && lines[0].starts_with(begin), "{lines:?}");
        }
        assert!(left_out(1).starts_with("1 file ") && left_out(2).starts_with("2 files "));
    }
}
