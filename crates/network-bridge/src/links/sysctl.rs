//! Kernel parameters of the namespace that the calling process is in.

use std::io;

use container_api::chain::about;

/// Sets `net/<name>`, unless it has that value. A kernel without the parameter needs none of it: one without IPv6, or without
/// a filter for bridges.
///
/// # Errors
/// As `write(2)`; the error names the parameter.
pub fn set(name: &str, value: &str) -> io::Result<()> {
    let path = format!("/proc/sys/net/{name}");
    let naming = |error| about(format_args!("net/{name}"), error);
    match std::fs::read_to_string(&path) {
        Ok(found) if found.trim() == value => Ok(()),
        Ok(_) => std::fs::write(&path, value).map_err(naming),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(naming(error)),
    }
}

/// The value of `net/<name>`.
///
/// # Errors
/// As `read(2)`.
pub fn get(name: &str) -> io::Result<String> {
    let value = std::fs::read_to_string(format!("/proc/sys/net/{name}"))?;
    Ok(value.trim().to_owned())
}

/// Sets several.
///
/// # Errors
/// As [`set`], the first.
pub fn set_all(parameters: &[(&str, &str)]) -> io::Result<()> {
    parameters
        .iter()
        .try_for_each(|(name, value)| set(name, value))
}
