//! A guest's first words: they are refused, or understood without taking anything behind them.

#![no_main]

use container_api::hello;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut channel = data;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("no driver is needed");
    if runtime.block_on(hello::read(&mut channel)).is_ok() {
        let taken = &data[..data.len() - channel.len()];
        assert_eq!(
            taken.iter().position(|byte| *byte == b'\n'),
            Some(taken.len() - 1)
        );
    }
});
