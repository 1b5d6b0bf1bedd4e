//! CRC-32C (Castagnoli), as the kernel computes it for the superblock: no final inversion.

const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Continues `crc` over `bytes`. Start with `!0`.
pub(crate) fn update(crc: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(crc, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_catalogue() {
        assert_eq!(!update(!0, b"123456789"), 0xe306_9283);
    }
}
