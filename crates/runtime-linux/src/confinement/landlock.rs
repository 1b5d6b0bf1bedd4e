//! Files and the network, by Landlock (Documentation/userspace-api/landlock.rst).

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};

use super::ConfinementError;

/// Version of the kernel's interface.
pub type Abi = u32;

/// The version whose rights are named here. A newer kernel knows more, an older one less: it bounds what it knows.
const KNOWN: ABI = ABI::V7;

/// Bounds the calling thread, and gives the version of the kernel; nothing where it has none.
pub(super) fn restrict(bundle: &Path) -> Result<Option<Abi>, ConfinementError> {
    // Logs and records are made, grown, cut, renamed and removed there; links to a log that is rotated stay in it.
    let rights = AccessFs::ReadFile
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::ReadDir
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let bundle = PathFd::new(bundle).map_err(ConfinementError::Bundle)?;
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(KNOWN))?
            .handle_access(AccessNet::from_all(KNOWN))?
            // Not signals: the VMM, which is to be killed, was made before. The filter bounds them.
            .scope(Scope::AbstractUnixSocket)?
            .create()?
            .add_rule(PathBeneath::new(bundle, rights))?
            .restrict_self()
    };
    let status = restrict().map_err(ConfinementError::Landlock)?;
    Ok(match status.landlock {
        LandlockStatus::Available { effective_abi, .. } => Some(effective_abi as Abi),
        _ => None,
    })
}
