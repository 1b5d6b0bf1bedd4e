//! Maps of sparse members.

use super::TarError;

/// A run of a sparse file that the archive holds; what lies between runs is zeros. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where in the file.
    pub offset: u64,
    /// How much.
    pub length: u64,
}

/// Most runs of one member.
pub(super) const MAX_RUNS: usize = 1 << 16;

/// Runs ascend, don't overlap, lie within `real_size`, and together are the `stored` bytes.
pub(super) fn check(runs: &[Run], real_size: u64, stored: u64) -> Result<(), TarError> {
    const BAD: TarError = TarError::Malformed("sparse map");
    if runs.len() > MAX_RUNS {
        return Err(TarError::TooLarge("a sparse map"));
    }
    let (mut end, mut total) = (0_u64, 0_u64);
    for run in runs {
        if run.offset < end {
            return Err(BAD);
        }
        end = run.offset.checked_add(run.length).ok_or(BAD)?;
        total += run.length;
    }
    if end > real_size || total != stored {
        return Err(BAD);
    }
    Ok(())
}

/// The map of GNU's old format: pairs of 12-byte numbers; an empty one ends it.
pub(super) fn gnu_entries(mut area: &[u8], runs: &mut Vec<Run>) -> Result<(), TarError> {
    while area.len() >= 24 && area[0] != 0 {
        let number =
            |field| super::header::unsigned(field).ok_or(TarError::Malformed("sparse map"));
        let run = Run {
            offset: number(&area[..12])?,
            length: number(&area[12..24])?,
        };
        // GNU ends the map with an empty run at the file's end.
        runs.push(run);
        if runs.len() > MAX_RUNS {
            return Err(TarError::TooLarge("a sparse map"));
        }
        area = &area[24..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_lie_are_refused() {
        let run = |offset, length| Run { offset, length };
        assert!(check(&[run(0, 5), run(10, 5), run(20, 0)], 20, 10).is_ok());
        assert!(check(&[run(0, 5), run(4, 5)], 20, 10).is_err());
        assert!(check(&[run(0, 5)], 20, 6).is_err());
        assert!(check(&[run(18, 5)], 20, 5).is_err());
        assert!(check(&[run(u64::MAX, 2)], u64::MAX, 2).is_err());
    }
}
