//! How this host can confine a VMM: tried, not guessed.

use std::path::Path;

use super::ceilings::Ceilings;
use super::{Libraries, cgroup, landlock};
use crate::process::{self, Program, SpawnError};

/// A program that every host has and that does nothing.
const NOTHING: &str = "/bin/true";

/// What a VMM would be confined by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// What keeps it from files and processes: "a user namespace", "namespaces", "Landlock", "neither".
    pub isolation: &'static str,
    /// Namespaces are among it.
    pub has_namespaces: bool,
    /// Whose user id it would have.
    pub identity: &'static str,
    /// That is somebody else than its owner.
    pub is_another_user: bool,
    /// Version of the kernel's Landlock; 0: there is none.
    pub landlock: u32,
    /// What bounds what it takes of the host, in words.
    pub ceilings: String,
}

/// Confines a program that does nothing, as a VMM would be.
///
/// # Errors
/// [`SpawnError::NotConfined`] where no VMM would start, unless `accept_less`.
pub async fn survey(accept_less: bool) -> Result<Survey, SpawnError> {
    let program = Path::new(NOTHING).canonicalize()?;
    let libraries = Libraries::of(&program).await?;
    let mut started = process::spawn(Program {
        path: &program,
        arguments: &[],
        descriptors: &[],
        libraries: &libraries,
        loans: Vec::new(),
        requests: &[],
        starting: &[],
        ceilings: Ceilings::new(0, 1, false, 0),
        accept_less,
    })?;
    started.process.wait().await?;
    Ok(Survey {
        isolation: started.isolation.name(),
        has_namespaces: started.isolation.has_own_root(),
        identity: started.identity.name(),
        is_another_user: started.identity.is_another(),
        landlock: landlock::version(),
        ceilings: cgroup::describe(),
    })
}
