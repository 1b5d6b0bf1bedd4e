//! The process that a container runs, from the image, the container and the flags.

use container_api::process::DEFAULT_PATH;
use serde::{Deserialize, Serialize};

use crate::container::{ProcessConfiguration, Rlimit, User};
use crate::environment;
use crate::image_settings::ImageSettings;

/// The variable that says where programs are looked for, when the image does not say.
pub(crate) fn default_path() -> String {
    format!("PATH={DEFAULT_PATH}")
}

/// What the Process flags of `run`, `create` and `exec` say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProcessOptions {
    /// `KEY=value`, in order: files first, then single variables.
    pub environment: Vec<String>,
    /// `name|uid[:group|gid]`.
    pub user: Option<String>,
    /// Numeric user.
    pub uid: Option<u32>,
    /// Numeric group.
    pub gid: Option<u32>,
    /// Absolute; an empty one says nothing.
    pub working_directory: Option<String>,
    /// A pseudo-terminal is wanted.
    pub terminal: bool,
    /// Every capability is wanted.
    pub privileged: bool,
    /// Resource limits; a later one of the same kind wins.
    pub rlimits: Vec<Rlimit>,
}

/// Why no process can be made of the flags.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// Neither the image nor the user names a program.
    #[error(
        "no command to run: the image has neither an entrypoint nor a command, and none was given"
    )]
    NoCommand,
    /// A relative working directory.
    #[error("invalid working directory '{0}': an absolute path is expected")]
    WorkingDirectory(String),
    /// The kernel ends words at a NUL.
    #[error("the {0} contains a NUL character")]
    Nul(&'static str),
}

/// The first process of a container. `entrypoint` replaces the image's (an empty one removes it) and with it the
/// image's command; `arguments` replace the image's command.
///
/// # Errors
/// When there is no program to run, or something in it cannot be handed to a kernel.
pub fn first(
    image: &ImageSettings,
    options: &ProcessOptions,
    entrypoint: Option<&str>,
    arguments: &[String],
) -> Result<ProcessConfiguration, ProcessError> {
    let mut words: Vec<String> = match entrypoint {
        Some("") => Vec::new(),
        Some(program) => vec![program.to_owned()],
        None => image.entrypoint.clone(),
    };
    if arguments.is_empty() && entrypoint.is_none() {
        words.extend_from_slice(&image.cmd);
    } else {
        words.extend_from_slice(arguments);
    }
    let image_directory = match image.working_dir.as_str() {
        "" => "/".to_owned(),
        relative if !relative.starts_with('/') => format!("/{relative}"),
        absolute => absolute.to_owned(),
    };
    let image_user = match image.user.as_str() {
        "" => User::Id { uid: 0, gid: 0 },
        user => User::Raw {
            user_string: user.to_owned(),
        },
    };
    let path = default_path();
    let environment = std::iter::once(&path)
        .chain(&image.env)
        .chain(&options.environment);
    process(
        words,
        environment::merge(environment),
        directory(options).unwrap_or(image_directory),
        user(&image_user, options),
        limits(&[], &options.rlimits),
        options.terminal,
    )
}

/// A further process in a container whose first one is `container`: its environment, directory, user and limits
/// hold where `options` say nothing.
///
/// # Errors
/// As [`first`].
pub fn further(
    container: &ProcessConfiguration,
    options: &ProcessOptions,
    words: &[String],
) -> Result<ProcessConfiguration, ProcessError> {
    let mut process = process(
        words.to_vec(),
        environment::merge(container.environment.iter().chain(&options.environment)),
        directory(options).unwrap_or_else(|| container.working_directory.clone()),
        user(&container.user, options),
        limits(&container.rlimits, &options.rlimits),
        options.terminal,
    )?;
    process
        .supplemental_groups
        .clone_from(&container.supplemental_groups);
    process.privileged = options.privileged;
    Ok(process)
}

fn process(
    words: Vec<String>,
    environment: Vec<String>,
    working_directory: String,
    user: User,
    rlimits: Vec<Rlimit>,
    terminal: bool,
) -> Result<ProcessConfiguration, ProcessError> {
    let nul = |text: &String| text.contains('\0');
    if words.iter().any(nul) {
        return Err(ProcessError::Nul("command"));
    }
    if environment.iter().any(nul) {
        return Err(ProcessError::Nul("environment"));
    }
    if !working_directory.starts_with('/') || nul(&working_directory) {
        return Err(ProcessError::WorkingDirectory(working_directory));
    }
    let mut words = words.into_iter();
    let executable = words
        .next()
        .filter(|program| !program.is_empty())
        .ok_or(ProcessError::NoCommand)?;
    Ok(ProcessConfiguration {
        executable,
        arguments: words.collect(),
        environment,
        working_directory,
        terminal,
        user,
        supplemental_groups: Vec::new(),
        privileged: false,
        rlimits,
    })
}

/// The working directory that was asked for.
fn directory(options: &ProcessOptions) -> Option<String> {
    let asked = options.working_directory.as_ref();
    asked.filter(|path| !path.is_empty()).cloned()
}

/// A user string wins; numbers replace their half of `default`.
fn user(default: &User, options: &ProcessOptions) -> User {
    if let Some(user) = options.user.as_ref().filter(|user| !user.is_empty()) {
        return User::Raw {
            user_string: user.clone(),
        };
    }
    match (options.uid, options.gid, default) {
        (None, None, _) => default.clone(),
        (Some(uid), Some(gid), _) => User::Id { uid, gid },
        // The group is the one that the container's passwd names for this user.
        (Some(uid), None, _) => User::Raw {
            user_string: uid.to_string(),
        },
        (None, Some(gid), User::Id { uid, .. }) => User::Id { uid: *uid, gid },
        (None, Some(gid), User::Raw { user_string }) => {
            let name = user_string.split(':').next().unwrap_or_default();
            User::Raw {
                user_string: format!("{name}:{gid}"),
            }
        }
    }
}

/// `over` laid over `under`, one limit of each kind.
fn limits(under: &[Rlimit], over: &[Rlimit]) -> Vec<Rlimit> {
    let mut limits: Vec<Rlimit> = Vec::new();
    for limit in under.iter().chain(over) {
        match limits.iter_mut().find(|known| known.limit == limit.limit) {
            Some(known) => *known = limit.clone(),
            None => limits.push(limit.clone()),
        }
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    fn image(entrypoint: &[&str], cmd: &[&str]) -> ImageSettings {
        ImageSettings {
            entrypoint: strings(entrypoint),
            cmd: strings(cmd),
            ..ImageSettings::default()
        }
    }

    #[test]
    fn entrypoint_command_and_arguments() {
        // image's entrypoint, image's command, --entrypoint, arguments, the words that come out
        type Case = (
            &'static [&'static str],
            &'static [&'static str],
            Option<&'static str>,
            &'static [&'static str],
        );
        let cases: [(Case, &[&str]); 8] = [
            ((&[], &["sh"], None, &[]), &["sh"]),
            ((&[], &["sh"], None, &["echo", "hi"]), &["echo", "hi"]),
            ((&["/e", "-x"], &["c"], None, &[]), &["/e", "-x", "c"]),
            ((&["/e", "-x"], &["c"], None, &["a"]), &["/e", "-x", "a"]),
            ((&["/e"], &["c"], Some("/n"), &[]), &["/n"]),
            ((&["/e"], &["c"], Some("/n"), &["a"]), &["/n", "a"]),
            ((&["/e"], &["c"], Some(""), &["a"]), &["a"]),
            ((&["/e"], &[], None, &[]), &["/e"]),
        ];
        for ((entrypoint, cmd, flag, arguments), expected) in cases {
            let options = ProcessOptions::default();
            let process =
                first(&image(entrypoint, cmd), &options, flag, &strings(arguments)).unwrap();
            let words: Vec<_> = std::iter::once(&process.executable)
                .chain(&process.arguments)
                .collect();
            assert_eq!(words, expected);
        }
    }

    #[test]
    fn nothing_to_run_is_an_error() {
        let options = ProcessOptions::default();
        for flag in [None, Some("")] {
            assert_eq!(
                first(&image(&[], &[]), &options, flag, &[]),
                Err(ProcessError::NoCommand)
            );
        }
        assert_eq!(
            first(&image(&[], &[""]), &options, None, &[]),
            Err(ProcessError::NoCommand)
        );
    }

    #[test]
    fn environment_is_path_then_image_then_flags() {
        let image = ImageSettings {
            env: strings(&["A=1", "junk", "B=1"]),
            ..image(&[], &["sh"])
        };
        let options = ProcessOptions {
            environment: strings(&["B=2", "C=3"]),
            ..ProcessOptions::default()
        };
        let process = first(&image, &options, None, &[]).unwrap();
        assert_eq!(process.environment, [&default_path(), "A=1", "B=2", "C=3"]);
        let own = ImageSettings {
            env: strings(&["PATH=/x"]),
            ..image
        };
        assert_eq!(
            first(&own, &options, None, &[]).unwrap().environment[0],
            "PATH=/x"
        );
    }

    #[test]
    fn directories() {
        let directory = |image_directory: &str, flag: Option<&str>| {
            let image = ImageSettings {
                working_dir: image_directory.into(),
                ..image(&[], &["sh"])
            };
            let options = ProcessOptions {
                working_directory: flag.map(str::to_owned),
                ..ProcessOptions::default()
            };
            first(&image, &options, None, &[]).map(|process| process.working_directory)
        };
        assert_eq!(directory("", None).as_deref(), Ok("/"));
        assert_eq!(directory("srv", None).as_deref(), Ok("/srv"));
        assert_eq!(directory("/srv", Some("/tmp")).as_deref(), Ok("/tmp"));
        assert_eq!(directory("/srv", Some("")).as_deref(), Ok("/srv"));
        assert_eq!(
            directory("", Some("tmp")),
            Err(ProcessError::WorkingDirectory("tmp".into()))
        );
    }

    #[test]
    fn users() {
        let root = User::Id { uid: 0, gid: 0 };
        let named = User::Raw {
            user_string: "web:www".into(),
        };
        let raw = |text: &str| User::Raw {
            user_string: text.into(),
        };
        let options = |user: Option<&str>, uid, gid| ProcessOptions {
            user: user.map(str::to_owned),
            uid,
            gid,
            ..ProcessOptions::default()
        };
        assert_eq!(user(&named, &options(None, None, None)), named);
        assert_eq!(
            user(&named, &options(Some("db"), Some(1), Some(2))),
            raw("db")
        );
        assert_eq!(
            user(&named, &options(None, Some(1), Some(2))),
            User::Id { uid: 1, gid: 2 }
        );
        assert_eq!(user(&named, &options(None, Some(1), None)), raw("1"));
        assert_eq!(user(&named, &options(None, None, Some(2))), raw("web:2"));
        assert_eq!(
            user(&root, &options(None, None, Some(2))),
            User::Id { uid: 0, gid: 2 }
        );
    }

    #[test]
    fn a_further_process_inherits() {
        let options = ProcessOptions {
            environment: strings(&["A=1"]),
            ..ProcessOptions::default()
        };
        let container = first(&image(&[], &["sh"]), &options, None, &[]).unwrap();
        let limit = |soft| Rlimit {
            limit: "RLIMIT_NOFILE".into(),
            soft,
            hard: 9,
        };
        let container = ProcessConfiguration {
            rlimits: vec![limit(1)],
            ..container
        };
        let options = ProcessOptions {
            environment: strings(&["A=2"]),
            rlimits: vec![limit(2)],
            terminal: true,
            ..ProcessOptions::default()
        };
        let process = further(&container, &options, &strings(&["ls", "-l"])).unwrap();
        assert_eq!(process.environment, [&default_path(), "A=2"]);
        assert_eq!(process.rlimits, [limit(2)]);
        assert_eq!(process.arguments, ["-l"]);
        assert!(process.terminal);
    }
}
