//! A process of a container: the first one, or one beside it.

use std::collections::HashSet;
use std::str::FromStr;

use container_resource::container::{ContainerConfiguration, ProcessConfiguration, User};
use oci_spec::runtime::{
    BoxBuilder, Capability, LinuxCapabilities, LinuxCapabilitiesBuilder, PosixRlimit,
    PosixRlimitBuilder, PosixRlimitType, Process, ProcessBuilder, UserBuilder,
};

use super::{SpecError, defaults};
use crate::sockets;
use crate::stdio::TerminalSize;

/// The OCI `process` of `process` in the container of `configuration`; a terminal of it has `size`.
pub fn process(
    configuration: &ContainerConfiguration,
    process: &ProcessConfiguration,
    size: Option<TerminalSize>,
) -> Result<Process, SpecError> {
    let (uid, gid) = match process.user {
        User::Id { uid, gid } => (uid, gid),
        // The guest looks it up in the container's own files: see `user`.
        User::Raw { .. } => (0, 0),
    };
    let mut user = UserBuilder::default().uid(uid).gid(gid).build()?;
    if !process.supplemental_groups.is_empty() {
        user.set_additional_gids(Some(process.supplemental_groups.clone()));
    }
    let mut arguments = Vec::with_capacity(1 + process.arguments.len());
    arguments.push(process.executable.clone());
    arguments.extend_from_slice(&process.arguments);
    let rlimits = process
        .rlimits
        .iter()
        .map(rlimit)
        .collect::<Result<Vec<_>, _>>()?;
    let mut made = ProcessBuilder::default()
        .terminal(process.terminal)
        .user(user)
        .args(arguments)
        .env(environment(configuration, process))
        .cwd(&process.working_directory)
        .capabilities(if process.privileged {
            sets(all())?
        } else {
            capabilities(configuration)?
        })
        .rlimits(rlimits)
        .no_new_privileges(configuration.no_new_privileges)
        .build()?;
    if let Some(TerminalSize { rows, columns }) = size.filter(|_| process.terminal) {
        let size = BoxBuilder::default()
            .height(u64::from(rows))
            .width(u64::from(columns))
            .build()?;
        made.set_console_size(Some(size));
    }
    Ok(made)
}

/// What the process finds in its environment. Where the container has the client's SSH agent, that is named, unless something else
/// was asked for.
fn environment(
    configuration: &ContainerConfiguration,
    process: &ProcessConfiguration,
) -> Vec<String> {
    const NAME: &str = "SSH_AUTH_SOCK=";
    let mut environment = process.environment.clone();
    if configuration.ssh && !environment.iter().any(|entry| entry.starts_with(NAME)) {
        environment.push(format!("{NAME}{}", sockets::AGENT));
    }
    environment
}

/// The user to look up in the container's own files. A number is looked up too, for its home and, of root, its groups.
pub fn user(process: &ProcessConfiguration) -> String {
    match &process.user {
        // Nobody asked for another.
        User::Id { uid: 0, gid: 0 } => "0".to_owned(),
        User::Id { uid, gid } => format!("{uid}:{gid}"),
        User::Raw { user_string } if user_string.is_empty() => "0".to_owned(),
        User::Raw { user_string } => user_string.clone(),
    }
}

fn rlimit(limit: &container_resource::container::Rlimit) -> Result<PosixRlimit, SpecError> {
    let kind = PosixRlimitType::from_str(&limit.limit)
        .map_err(|_| SpecError::Rlimit(limit.limit.clone()))?;
    Ok(PosixRlimitBuilder::default()
        .typ(kind)
        .soft(limit.soft)
        .hard(limit.hard)
        .build()?)
}

/// `--cap-drop` first, then `--cap-add`, so that `--cap-drop ALL --cap-add X` leaves X, as in Docker. A privileged
/// container begins with all of them; what it is to be without is taken away even so, as podman does.
pub fn capabilities(
    configuration: &ContainerConfiguration,
) -> Result<LinuxCapabilities, SpecError> {
    let mut set: HashSet<Capability> = if configuration.privileged {
        all()
    } else {
        let names = defaults::CAPABILITIES.iter();
        names
            .map(|name| capability(name))
            .collect::<Result<_, _>>()?
    };
    for name in &configuration.cap_drop {
        if name == "ALL" {
            set.clear();
        } else {
            set.remove(&capability(name)?);
        }
    }
    for name in &configuration.cap_add {
        if name == "ALL" {
            set = all();
            for dropped in configuration
                .cap_drop
                .iter()
                .filter(|dropped| *dropped != "ALL")
            {
                set.remove(&capability(dropped)?);
            }
        } else {
            set.insert(capability(name)?);
        }
    }
    sets(set)
}

/// Whether processes of the container may administer their machine (`CAP_SYS_ADMIN`).
pub fn administers(configuration: &ContainerConfiguration) -> Result<bool, SpecError> {
    let bounding = capabilities(configuration)?.bounding().clone();
    Ok(bounding.is_some_and(|set| set.contains(&Capability::SysAdmin)))
}

/// What a process has, and may get.
fn sets(set: HashSet<Capability>) -> Result<LinuxCapabilities, SpecError> {
    Ok(LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()?)
}

pub fn capability(name: &str) -> Result<Capability, SpecError> {
    let short = name.strip_prefix("CAP_").unwrap_or(name);
    Capability::from_str(short).map_err(|_| SpecError::Capability(name.to_owned()))
}

/// Every capability of `linux/capability.h` up to `CAP_CHECKPOINT_RESTORE` (Linux 5.9).
fn all() -> HashSet<Capability> {
    use Capability as C;
    HashSet::from([
        C::AuditControl,
        C::AuditRead,
        C::AuditWrite,
        C::BlockSuspend,
        C::Bpf,
        C::CheckpointRestore,
        C::Chown,
        C::DacOverride,
        C::DacReadSearch,
        C::Fowner,
        C::Fsetid,
        C::IpcLock,
        C::IpcOwner,
        C::Kill,
        C::Lease,
        C::LinuxImmutable,
        C::MacAdmin,
        C::MacOverride,
        C::Mknod,
        C::NetAdmin,
        C::NetBindService,
        C::NetBroadcast,
        C::NetRaw,
        C::Perfmon,
        C::Setfcap,
        C::Setgid,
        C::Setpcap,
        C::Setuid,
        C::SysAdmin,
        C::SysBoot,
        C::SysChroot,
        C::SysModule,
        C::SysNice,
        C::SysPacct,
        C::SysPtrace,
        C::SysRawio,
        C::SysResource,
        C::SysTime,
        C::SysTtyConfig,
        C::Syslog,
        C::WakeAlarm,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounding(add: &[&str], drop: &[&str]) -> HashSet<Capability> {
        let mut configuration = crate::oci::tests::configuration();
        configuration.cap_add = add.iter().map(|name| (*name).to_owned()).collect();
        configuration.cap_drop = drop.iter().map(|name| (*name).to_owned()).collect();
        capabilities(&configuration)
            .unwrap()
            .bounding()
            .clone()
            .unwrap()
    }

    #[test]
    fn capabilities_are_added_after_they_are_dropped() {
        assert_eq!(bounding(&[], &[]).len(), 14);
        assert_eq!(
            bounding(&["CAP_SYS_ADMIN"], &["ALL"]),
            HashSet::from([Capability::SysAdmin])
        );
        assert_eq!(bounding(&["ALL"], &[]).len(), 41);
        assert!(!bounding(&["ALL"], &["CAP_MKNOD"]).contains(&Capability::Mknod));
        assert!(!bounding(&[], &["CAP_CHOWN"]).contains(&Capability::Chown));
    }

    #[test]
    fn the_privileged_have_all_but_what_was_taken_away() {
        let mut configuration = crate::oci::tests::configuration();
        assert!(!administers(&configuration).unwrap());
        let mut further = configuration.init_process.clone();
        further.privileged = true;
        let further = process(&configuration, &further, None).unwrap();
        let effective = further.capabilities().as_ref().unwrap().effective().clone();
        assert_eq!(effective.unwrap().len(), 41);
        configuration.privileged = true;
        assert!(administers(&configuration).unwrap());
        configuration.cap_drop = vec!["CAP_SYS_ADMIN".into()];
        assert!(!administers(&configuration).unwrap());
    }

    #[test]
    fn users_are_looked_up() {
        let mut process = crate::oci::tests::configuration().init_process;
        let raw = |text: &str| User::Raw {
            user_string: text.into(),
        };
        for (asked, expected) in [
            (User::Id { uid: 0, gid: 0 }, "0"),
            (User::Id { uid: 1, gid: 2 }, "1:2"),
            (raw("web"), "web"),
            (raw(""), "0"),
        ] {
            process.user = asked;
            assert_eq!(user(&process), expected);
        }
    }

    #[test]
    fn unknown_names_are_refused() {
        let mut configuration = crate::oci::tests::configuration();
        configuration.cap_add = vec!["CAP_NONSENSE".into()];
        assert!(matches!(
            capabilities(&configuration),
            Err(SpecError::Capability(_))
        ));
    }
}
