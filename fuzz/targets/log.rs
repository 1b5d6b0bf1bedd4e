//! A container's log: its records are the same however it is cut into pieces.

#![no_main]

use container_resource::log::Parser;
use libfuzzer_sys::fuzz_target;

fn records<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let mut parser = Parser::default();
    let mut records = Vec::new();
    for piece in pieces {
        parser.feed(piece, |record| {
            let _ = record.time();
            records.push(record.content.to_vec());
        });
    }
    records
}

fuzz_target!(|data: &[u8]| {
    assert_eq!(records(std::iter::once(data)), records(data.chunks(7)));
});
