//! A specification checked and turned into what the child has to do, before there is a child.

use std::ffi::CString;

use container_api::guest::File;
use container_api::process::DEFAULT_PATH;
use rustix::process::{Resource, Rlimit};
use rustix::termios::Winsize;
use rustix::thread::ThreadNameSpaceType;
use thiserror::Error;

use super::capabilities::CapabilityPlan;
use super::rlimits;
use super::seccomp::{self, SeccompError};
use crate::mount::{MountOptions, Propagation};
use crate::spec::{self, Spec};

/// A specification that cannot be carried out.
#[derive(Debug, Error)]
pub enum PlanError {
    /// A field that the guest does not implement.
    #[error("{0} is not supported")]
    Unsupported(String),
    /// A namespace type that the runtime specification does not have.
    #[error("unknown namespace type {0:?}")]
    Namespace(String),
    /// Without it, the guest's own mounts would be the container's.
    #[error("the container has no mount namespace")]
    NoMountNamespace,
    /// A NUL in a string for the kernel.
    #[error("{0} contains a NUL")]
    Nul(&'static str),
    /// A path that is not absolute.
    #[error("{what} {path:?} is not an absolute path")]
    NotAbsolute { what: &'static str, path: String },
    /// A capability that this kernel interface does not have.
    #[error("unknown capability {0:?}")]
    Capability(String),
    /// A resource limit of another name.
    #[error("unknown resource limit {0:?}")]
    Rlimit(String),
    /// A soft limit above the hard one.
    #[error("the soft limit of {0} is above its hard limit")]
    RlimitOrder(String),
    /// Not a file type that mknod(2) makes.
    #[error("unknown type {kind:?} of the device {path}")]
    Device { path: String, kind: String },
    /// Not a propagation that mount(2) knows.
    #[error("unknown root propagation {0:?}")]
    Propagation(String),
    /// The system call filter.
    #[error("invalid seccomp profile")]
    Seccomp(#[from] SeccompError),
}

/// Everything about one process.
#[derive(Debug)]
pub struct ProcessPlan {
    pub args: Vec<CString>,
    pub env: Vec<String>,
    pub path: String,
    pub cwd: String,
    pub terminal: bool,
    pub size: Option<Winsize>,
    /// To be resolved in the container; else `uid` and `gid` hold.
    pub user: Option<String>,
    pub uid: u32,
    pub gid: u32,
    pub additional_gids: Vec<u32>,
    pub umask: u32,
    pub capabilities: Option<CapabilityPlan>,
    pub rlimits: Vec<(Resource, Rlimit)>,
    pub no_new_privileges: bool,
    pub seccomp: Option<seccomp::Filter>,
    pub oom_score_adj: Option<i32>,
    /// Run as a child of a small init.
    pub init: bool,
    /// The guest's own program runs in its place.
    pub rehearsal: bool,
}

/// Everything about the container.
#[derive(Debug)]
pub struct ContainerPlan {
    pub process: ProcessPlan,
    /// `CLONE_NEW*` of the namespaces that the container has of its own.
    pub namespaces: ThreadNameSpaceType,
    pub hostname: Option<String>,
    pub domainname: Option<String>,
    pub sysctls: Vec<(String, String)>,
    pub mounts: Vec<PlannedMount>,
    pub devices: Vec<spec::Device>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub read_only: bool,
    pub propagation: Option<Propagation>,
    pub files: Vec<File>,
    /// Nothing of the container runs.
    pub idle: bool,
}

/// One of the specification's mounts.
#[derive(Debug)]
pub struct PlannedMount {
    pub target: String,
    pub kind: String,
    pub source: String,
    pub options: MountOptions,
}

impl ProcessPlan {
    /// Checks `process`; `user`, when not empty, replaces the ids of the specification.
    pub fn new(
        process: spec::Process,
        user: &str,
        seccomp: Option<seccomp::Filter>,
        init: bool,
    ) -> Result<Self, PlanError> {
        if let Some(field) = process.unsupported() {
            return Err(PlanError::Unsupported(field.to_owned()));
        }
        let strings = [
            ("an argument", &process.args),
            ("the environment", &process.env),
        ];
        for (what, strings) in strings {
            if strings.iter().any(|string| string.contains('\0')) {
                return Err(PlanError::Nul(what));
            }
        }
        let mut env = process.env;
        let has = |env: &[String], key: &str| {
            env.iter().any(|variable| {
                variable
                    .split_once('=')
                    .is_some_and(|(name, _)| name == key)
            })
        };
        if process.terminal && !has(&env, "TERM") {
            env.push("TERM=xterm".to_owned());
        }
        let path = env
            .iter()
            .find_map(|variable| variable.strip_prefix("PATH="));
        let path = path.unwrap_or(DEFAULT_PATH).to_owned();
        let cwd = if process.cwd.is_empty() {
            "/".to_owned()
        } else {
            process.cwd
        };
        Ok(Self {
            args: process
                .args
                .into_iter()
                .filter_map(|arg| CString::new(arg).ok())
                .collect(),
            env,
            path,
            cwd: absolute("the working directory", cwd)?,
            terminal: process.terminal,
            size: process.console_size.map(|size| Winsize {
                ws_row: size.height,
                ws_col: size.width,
                ws_xpixel: 0,
                ws_ypixel: 0,
            }),
            user: (!user.is_empty()).then(|| user.to_owned()),
            uid: process.user.uid,
            gid: process.user.gid,
            additional_gids: process.user.additional_gids,
            umask: process.user.umask.unwrap_or(0o022) & 0o777,
            capabilities: process
                .capabilities
                .map(|sets| CapabilityPlan::new(&sets))
                .transpose()?,
            rlimits: rlimits::parse(&process.rlimits)?,
            no_new_privileges: process.no_new_privileges,
            seccomp,
            oom_score_adj: process.oom_score_adj,
            init,
            rehearsal: false,
        })
    }
}

impl ContainerPlan {
    /// Whether the container sees its control groups and may write to them.
    pub fn may_divide_its_group(&self) -> bool {
        self.mounts.iter().any(|mount| {
            matches!(mount.kind.as_str(), "cgroup" | "cgroup2") && !mount.options.is_read_only()
        })
    }

    /// Checks `spec`.
    pub fn new(
        spec: Spec,
        hostname: String,
        user: &str,
        init: bool,
        files: Vec<File>,
    ) -> Result<Self, PlanError> {
        if let Some(field) = spec.unsupported() {
            return Err(PlanError::Unsupported(field.to_owned()));
        }
        let linux = spec.linux;
        let filter = linux.seccomp.as_ref().map(seccomp::compile).transpose()?;
        let propagation = linux.rootfs_propagation.filter(|word| !word.is_empty());
        let mut mounts = Vec::with_capacity(spec.mounts.len());
        for mount in spec.mounts {
            mounts.push(PlannedMount {
                target: absolute("the mount point", mount.destination)?,
                options: MountOptions::parse(&mount.options),
                kind: mount.kind,
                source: mount.source,
            });
        }
        for device in &linux.devices {
            absolute("the device", device.path.clone())?;
            if !matches!(device.kind.as_str(), "b" | "c" | "u" | "p") {
                let (path, kind) = (device.path.clone(), device.kind.clone());
                return Err(PlanError::Device { path, kind });
            }
        }
        Ok(Self {
            process: ProcessPlan::new(spec.process, user, filter, init)?,
            namespaces: namespaces(&linux.namespaces)?,
            hostname: Some(hostname)
                .filter(|name| !name.is_empty())
                .or(spec.hostname),
            domainname: spec.domainname.filter(|name| !name.is_empty()),
            sysctls: linux.sysctl.into_iter().collect(),
            mounts,
            devices: linux.devices,
            masked_paths: all_absolute("the masked path", linux.masked_paths)?,
            readonly_paths: all_absolute("the read-only path", linux.readonly_paths)?,
            read_only: spec.root.readonly,
            propagation: propagation.map(root_propagation).transpose()?,
            files,
            idle: false,
        })
    }
}

fn all_absolute(what: &'static str, paths: Vec<String>) -> Result<Vec<String>, PlanError> {
    paths.into_iter().map(|path| absolute(what, path)).collect()
}

fn absolute(what: &'static str, path: String) -> Result<String, PlanError> {
    if path.contains('\0') {
        return Err(PlanError::Nul(what));
    }
    if !path.starts_with('/') {
        return Err(PlanError::NotAbsolute { what, path });
    }
    Ok(path)
}

fn root_propagation(word: String) -> Result<Propagation, PlanError> {
    match MountOptions::parse(&[&word]).propagation.as_slice() {
        [change] => Ok(*change),
        _ => Err(PlanError::Propagation(word)),
    }
}

fn namespaces(list: &[spec::Namespace]) -> Result<ThreadNameSpaceType, PlanError> {
    use ThreadNameSpaceType as Type;
    let mut set = Type::empty();
    for namespace in list {
        let kind = namespace.kind.as_str();
        if namespace
            .path
            .as_deref()
            .is_some_and(|path| !path.is_empty())
        {
            return Err(PlanError::Unsupported(format!(
                "joining another {kind} namespace"
            )));
        }
        set |= match kind {
            "pid" => Type::PROCESS_ID,
            "mount" => Type::MOUNT,
            "uts" => Type::HOST_NAME_AND_NIS_DOMAIN_NAME,
            "ipc" => Type::INTER_PROCESS_COMMUNICATION,
            "cgroup" => Type::CONTROL_GROUP,
            "network" => Type::NETWORK,
            "user" | "time" => {
                return Err(PlanError::Unsupported(format!("a {kind} namespace")));
            }
            other => return Err(PlanError::Namespace(other.to_owned())),
        };
    }
    if set.contains(Type::MOUNT) {
        Ok(set)
    } else {
        Err(PlanError::NoMountNamespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMESPACES: &str = r#""namespaces":[{"type":"mount"},{"type":"pid"}]"#;

    fn plan(json: &str) -> Result<ContainerPlan, PlanError> {
        let spec: Spec = serde_json::from_str(json).unwrap();
        ContainerPlan::new(spec, String::new(), "", false, Vec::new())
    }

    #[test]
    fn a_terminal_has_a_type_and_a_size() {
        let json = format!(
            r#"{{"process":{{"terminal":true,"consoleSize":{{"height":24,"width":80}},"cwd":"/",
                "args":["sh"],"env":["X=TERM=y"]}},"linux":{{{NAMESPACES}}}}}"#
        );
        let process = plan(&json).unwrap().process;
        assert_eq!(process.env, ["X=TERM=y", "TERM=xterm"]);
        assert_eq!(process.size.unwrap().ws_col, 80);
        assert_eq!(process.path, DEFAULT_PATH);
        assert_eq!(process.umask, 0o022);
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused() {
        for (json, expected) in [
            (
                r#"{"linux":{}}"#.to_owned(),
                "the container has no mount namespace",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"user"}]}}"#.to_owned(),
                "a user namespace is not supported",
            ),
            (
                r#"{"linux":{"namespaces":[{"type":"mount","path":"/proc/1/ns/mnt"}]}}"#.to_owned(),
                "joining another mount namespace is not supported",
            ),
            (
                format!(r#"{{"process":{{"cwd":"tmp"}},"linux":{{{NAMESPACES}}}}}"#),
                "the working directory \"tmp\" is not an absolute path",
            ),
            (
                format!(r#"{{"mounts":[{{"destination":"x"}}],"linux":{{{NAMESPACES}}}}}"#),
                "the mount point \"x\" is not an absolute path",
            ),
            (
                format!(r#"{{"process":{{"args":["a\u0000b"]}},"linux":{{{NAMESPACES}}}}}"#),
                "an argument contains a NUL",
            ),
            (
                format!(r#"{{"linux":{{"rootfsPropagation":"up",{NAMESPACES}}}}}"#),
                "unknown root propagation \"up\"",
            ),
        ] {
            assert_eq!(plan(&json).unwrap_err().to_string(), expected);
        }
    }
}
