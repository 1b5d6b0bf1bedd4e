//! What a builder tells of a build: it is shown, however wrong it is.

#![no_main]

use container_buildkit::{Trace, Update, raw_json};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let mut trace = Trace::default();
    // Messages with two bytes of length before each.
    let mut rest = data;
    while let Some((head, tail)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*head)).min(tail.len());
        let (message, next) = tail.split_at(length);
        rest = next;
        let Ok(update) = Update::decode(message) else {
            continue;
        };
        let changes = trace.apply(&update);
        assert!(changes.len() <= length, "more changes than bytes");
        let _ = raw_json(&update);
    }
});
