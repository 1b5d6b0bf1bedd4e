//! Seals are what `fsverity digest` of fsverity-utils says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::process::Command;

use container_core_images::seal::digest;

#[test]
fn digests_are_those_of_fsverity_utils() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("f");
    let byte = |position: usize| u8::try_from(position % 251).unwrap();
    // Around one block, one block of hashes (128 blocks), and two levels of them.
    for blocks in [0, 1, 2, 127, 128, 129, 16_384] {
        for more in [-1, 0, 1] {
            let Ok(size) = usize::try_from(blocks * 4096 + more) else {
                continue;
            };
            // Blocks of zeros are not hashed one by one; most of a large file are some.
            let zeros = 3 * 4096..size.saturating_sub(9 * 4096).max(3 * 4096);
            let mut content: Vec<u8> = (0..size).map(byte).collect();
            if let Some(zeros) = content.get_mut(zeros) {
                zeros.fill(0);
            }
            std::fs::write(&path, &content).unwrap();
            let output = Command::new("fsverity")
                .arg("digest")
                .arg(&path)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            let said = String::from_utf8(output.stdout).unwrap();
            let own = digest(content.as_slice()).unwrap();
            assert_eq!(
                said.split(' ').next(),
                Some(own.to_string().as_str()),
                "{size}"
            );
        }
    }
}
