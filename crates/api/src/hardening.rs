//! Limits of each daemon and helper.

use rustix::process::{Resource, Rlimit};

/// A crash leaves no image of the memory, which holds what containers read and write; and there may be as many descriptors
/// as the user is allowed: several belong to each container, and the usual soft limit (1024) is kept low for programs that
/// use `select(2)` only. Children inherit it.
///
/// `no_new_privs` is not among it: `newuidmap(1)` would have no privilege any more.
pub fn harden() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let all = rustix::process::getrlimit(Resource::Nofile).maximum;
    let all = Rlimit {
        current: all,
        maximum: all,
    };
    for (resource, limit) in [(Resource::Core, none), (Resource::Nofile, all)] {
        // Limits may be lowered, and soft ones raised to the hard ones, by everybody (setrlimit(2)).
        if let Err(error) = rustix::process::setrlimit(resource, limit) {
            tracing::warn!("cannot set the limit {resource:?}: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_a_daemon() {
        harden();
        let core = rustix::process::getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        let files = rustix::process::getrlimit(Resource::Nofile);
        assert_eq!(files.current, files.maximum);
    }
}
