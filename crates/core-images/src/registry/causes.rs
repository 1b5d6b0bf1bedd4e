//! The causes of an error of the HTTP client, by their types.

use std::error::Error;
use std::io;

/// The first of `error` and its causes that is a `T`. An I/O error tells the source of what it holds for its own, so what it holds is
/// looked at, too.
pub(super) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        let held = cause.downcast_ref().and_then(io::Error::get_ref);
        next = match held {
            Some(held) => Some(held),
            None => cause.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    #[test]
    fn what_an_io_error_holds_is_found() {
        let refused = rustls::Error::DecryptError;
        let held = io::Error::other(io::Error::other(refused.clone()));
        let error = Outer(held);
        assert_eq!(find::<rustls::Error>(&error), Some(&refused));
        assert!(find::<Outer>(&error).is_some());
        assert!(find::<std::fmt::Error>(&error).is_none());
    }
}
