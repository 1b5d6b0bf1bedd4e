//! A VMM's answers on its control connection.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| container_engine::fuzzing::control(data));
