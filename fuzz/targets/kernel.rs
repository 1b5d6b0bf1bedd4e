//! A file that is to be a kernel: it is taken or refused by its head.

#![no_main]

use container_engine::kernel;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), data).expect("its bytes");
    let _ = kernel::open(file.path());
});
