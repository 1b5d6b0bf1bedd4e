//! How long a VMM and a guest may take.

use std::time::Duration;

/// A limit of so many seconds. The tests of this crate, whose machines are scripted, don't wait that long: theirs is a fiftieth.
pub const fn limit(seconds: u64) -> Duration {
    if cfg!(test) {
        Duration::from_millis(seconds * 20)
    } else {
        Duration::from_secs(seconds)
    }
}
