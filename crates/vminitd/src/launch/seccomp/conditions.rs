//! Comparisons of 64-bit arguments with 32-bit instructions.

use libc::sock_filter;

use super::SeccompError;
use super::assemble::{and, if_at_least, if_equal, if_greater, load_high, load_low, skip};
use crate::spec::SeccompArg;

/// Number of arguments of a system call.
const ARGUMENTS: u32 = 6;

/// Code that falls through if `condition` holds and else skips `other` further instructions after itself.
pub fn code(condition: &SeccompArg, other: u32) -> Result<Vec<sock_filter>, SeccompError> {
    let index = condition.index;
    if index >= ARGUMENTS {
        return Err(SeccompError::Argument(index));
    }
    let (high, low) = halves(condition.value);
    // Each test ends by skipping one instruction if the condition holds; that one leads away.
    let mut code = match condition.op.as_str() {
        "SCMP_CMP_EQ" => vec![
            load_high(index),
            if_equal(high, 0, 2),
            load_low(index),
            if_equal(low, 1, 0),
        ],
        "SCMP_CMP_NE" => vec![
            load_high(index),
            if_equal(high, 0, 3),
            load_low(index),
            if_equal(low, 0, 1),
        ],
        "SCMP_CMP_GT" => vec![
            load_high(index),
            if_greater(high, 4, 0),
            if_equal(high, 0, 2),
            load_low(index),
            if_greater(low, 1, 0),
        ],
        "SCMP_CMP_GE" => vec![
            load_high(index),
            if_greater(high, 4, 0),
            if_equal(high, 0, 2),
            load_low(index),
            if_at_least(low, 1, 0),
        ],
        "SCMP_CMP_LT" => vec![
            load_high(index),
            if_greater(high, 3, 0),
            if_equal(high, 0, 3),
            load_low(index),
            if_at_least(low, 0, 1),
        ],
        "SCMP_CMP_LE" => vec![
            load_high(index),
            if_greater(high, 3, 0),
            if_equal(high, 0, 3),
            load_low(index),
            if_greater(low, 0, 1),
        ],
        "SCMP_CMP_MASKED_EQ" => {
            // Here `value` is the mask and `valueTwo` what must remain.
            let (wanted_high, wanted_low) = halves(condition.value_two);
            vec![
                load_high(index),
                and(high),
                if_equal(wanted_high, 0, 3),
                load_low(index),
                and(low),
                if_equal(wanted_low, 1, 0),
            ]
        }
        unknown => return Err(SeccompError::Comparison(unknown.to_owned())),
    };
    code.push(skip(other));
    Ok(code)
}

fn halves(value: u64) -> (u32, u32) {
    // Neither half exceeds 32 bits.
    let half = |bits: u64| u32::try_from(bits).unwrap_or_default();
    (half(value >> 32), half(value & u64::from(u32::MAX)))
}
