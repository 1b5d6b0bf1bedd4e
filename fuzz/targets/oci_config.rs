//! The `config.json` of an OCI bundle, which anybody may have written.

#![no_main]

use std::path::Path;

use container_runtime_linux::OciConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = OciConfig::parse(data, Path::new("/bundle"));
});
