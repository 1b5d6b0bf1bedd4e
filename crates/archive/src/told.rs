//! What users are told of a copy that is not all of what it is a copy of.

/// Files became shorter while they were read.
pub fn changed(count: u64) -> String {
    match count {
        1 => "1 file became shorter while it was read".to_owned(),
        _ => format!("{count} files became shorter while they were read"),
    }
}

/// Files were left out of a tree.
pub fn left_out(count: u64) -> String {
    match count {
        1 => "1 file was left out: it is a device, or its path leads elsewhere".to_owned(),
        _ => {
            format!("{count} files were left out: they are devices, or their path leads elsewhere")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_one() {
        assert!(changed(1).starts_with("1 file ") && changed(2).starts_with("2 files "));
        assert!(left_out(1).starts_with("1 file ") && left_out(2).starts_with("2 files "));
    }
}
