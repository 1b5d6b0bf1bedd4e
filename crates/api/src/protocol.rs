//! The version of the protocols in `proto/`, said on every connection.
//!
//! A field or a call that is added changes no version: who does not know it leaves it out. The number is raised by what an
//! older peer would misunderstand. Clients say theirs in the `user-agent` of each call; a client that says none is a
//! stranger's, and knows what it does.

use std::ops::RangeInclusive;

use tonic::{Request, Status};

use crate::{Error, Kind};

/// The version that this build speaks.
pub const CURRENT: u32 = if cfg!(feature = "next-protocol") {
    2
} else {
    1
};
/// The versions that it understands: its own and the one before.
pub const UNDERSTOOD: RangeInclusive<u32> = if CURRENT == 1 { 1 } else { CURRENT - 1 }..=CURRENT;

/// Whether a helper's `protocol` is understood. One from before helpers told theirs says 0, and spoke the first.
pub fn understands(protocol: u32) -> bool {
    UNDERSTOOD.contains(&protocol.max(1))
}

/// What this build says of itself, as a `user-agent` (RFC 9110, section 10.1.5).
pub const USER_AGENT: &str = if cfg!(feature = "next-protocol") {
    concat!("container/", env!("CARGO_PKG_VERSION"), " protocol/2")
} else {
    concat!("container/", env!("CARGO_PKG_VERSION"), " protocol/1")
};

/// The version that a `user-agent` tells.
fn spoken(agent: &str) -> Option<u32> {
    let mut words = agent.split_ascii_whitespace();
    words.find_map(|word| word.strip_prefix("protocol/")?.parse().ok())
}

/// Lets a call in whose client is understood.
///
/// The calls that end a system or ask how it is are not to be checked: they have to work between all versions.
///
/// # Errors
/// [`Kind::Unsupported`] of another version, with what to do.
#[allow(
    clippy::result_large_err,
    reason = "tonic's interceptors are of this type"
)]
pub fn check(request: Request<()>) -> Result<Request<()>, Status> {
    let agent = request.metadata().get("user-agent");
    let version = agent.and_then(|agent| agent.to_str().ok()).and_then(spoken);
    match version {
        Some(version) if !UNDERSTOOD.contains(&version) => {
            let text = format!(
                "the container system service is another version: it speaks protocol {CURRENT}, and this command {version}"
            );
            let hint = "Run `container system stop` and `container system start`.";
            Err(Error::new(Kind::Unsupported, text).with_hint(hint).into())
        }
        _ => Ok(request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(agent: &str) -> Result<(), Error> {
        let mut request = Request::new(());
        let agent = agent.parse().unwrap();
        request.metadata_mut().insert("user-agent", agent);
        check(request).map(drop).map_err(Error::from)
    }

    #[test]
    fn only_another_version_is_refused() {
        assert_eq!(spoken(USER_AGENT), Some(CURRENT));
        assert!(asked(&format!("{USER_AGENT} tonic/0.14.2")).is_ok());
        assert!(asked("grpc-python/1.51").is_ok());
        assert!(check(Request::new(())).is_ok());
        assert!(understands(0) && understands(CURRENT) && !understands(CURRENT + 1));
        for version in [0, CURRENT + 1, u32::MAX] {
            let error = asked(&format!("container/9.9 protocol/{version}")).unwrap_err();
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(error.hint.unwrap().contains("system stop"));
        }
        assert!(asked("container/9.9 protocol/x").is_ok());
    }
}
