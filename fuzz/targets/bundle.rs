//! What a bundle and the configuration hold: what is understood is written as it was read.

#![no_main]

use std::fmt::Debug;

use container_resource::bundle::{Boot, Exit, Timeline};
use container_resource::container::{ContainerConfiguration, CreateOptions};
use container_resource::settings::Settings;
use libfuzzer_sys::fuzz_target;
use serde::Serialize;
use serde::de::DeserializeOwned;

fn stays<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice::<T>(data) {
        let text = serde_json::to_vec(&value).expect("what was read can be written");
        assert_eq!(
            serde_json::from_slice::<T>(&text).expect("what was written can be read"),
            value
        );
    }
}

fuzz_target!(|data: &[u8]| {
    stays::<ContainerConfiguration>(data);
    stays::<CreateOptions>(data);
    stays::<Boot>(data);
    stays::<Exit>(data);
    stays::<Timeline>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = toml::from_str::<Settings>(text);
    }
});
