//! Manifests, indexes and configurations.

#![no_main]

use container_core_images::image::{Config, Document};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Document::parse(data, "");
    let _ = Config::parse(data);
});
