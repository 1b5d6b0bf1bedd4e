//! The user of the host that a machine is made for.

use anyhow::Context as _;
use container_resource::machine::MachineUser;
use nix::unistd::{Uid, User};

use crate::failure::Failure;

/// The user whose command this is, as the host's accounts name them (`getpwuid_r(3)`).
pub fn find() -> Result<MachineUser, Failure> {
    let uid = Uid::current();
    let user = User::from_uid(uid)
        .with_context(|| format!("look up user {uid}"))?
        .with_context(|| format!("user {uid} has no account on this host"))?;
    let text = |what: &str, path: std::path::PathBuf| {
        let text = path.into_os_string().into_string();
        text.map_err(|_| anyhow::anyhow!("the {what} of user {uid} is not UTF-8"))
    };
    // Both become lines of files whose fields end at colons.
    let is_field = |text: &str| !text.contains([':', '\n', '\0']);
    let found = MachineUser {
        username: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: text("home directory", user.dir)?,
        shell: text("login shell", user.shell)?,
    };
    if ![&found.username, &found.home, &found.shell]
        .into_iter()
        .all(|text| is_field(text))
    {
        return Err(anyhow::anyhow!("the account of user {uid} has a field with a colon").into());
    }
    Ok(found)
}
