//! References: what parses has a normal form that stays.

#![no_main]

use container_resource::reference::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        let normal = reference.to_string();
        assert_eq!(normal.parse(), Ok(reference));
    }
});
