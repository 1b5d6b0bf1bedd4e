//! Words of Docker, podman and Apple's tool that are no commands or options here: what to use instead, or that it is not there yet.

/// What to say of a word.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The command or option that does it here.
    Use(&'static str),
    /// Nothing does it, so far.
    NotYet,
    /// Nothing does it, and why nothing has to.
    Needless(&'static str),
}

use Answer::{Needless, NotYet, Use};

/// Commands, with the groups that they are looked for in.
const COMMANDS: &[(&str, Answer)] = &[
    ("ps", Use("container list")),
    ("containers", Use("container list")),
    (
        "container",
        Use("container <command>, without the second word"),
    ),
    ("remove", Use("container delete")),
    ("images", Use("container image list")),
    ("rmi", Use("container image delete")),
    ("pull", Use("container image pull")),
    ("push", Use("container image push")),
    ("tag", Use("container image tag")),
    ("load", Use("container image load")),
    ("save", Use("container image save")),
    ("import", Use("container image import")),
    ("login", Use("container registry login")),
    ("logout", Use("container registry logout")),
    ("info", Use("container system status")),
    ("version", Use("container system version")),
    ("df", Use("container system df")),
    ("resume", Use("container unpause")),
    ("buildx", Use("container build")),
    ("checkpoint", NotYet),
    ("clone", NotYet),
    ("compose", NotYet),
    ("generate", NotYet),
    ("healthcheck", NotYet),
    ("history", NotYet),
    ("kube", NotYet),
    ("manifest", NotYet),
    ("mount", NotYet),
    ("play", NotYet),
    ("pod", NotYet),
    ("search", NotYet),
    ("secret", NotYet),
    ("update", NotYet),
    ("image build", Use("container build")),
    ("image history", NotYet),
    ("image ps", Use("container image list")),
    ("image search", NotYet),
    ("image remove", Use("container image delete")),
    ("image rmi", Use("container image delete")),
    ("image untag", Use("container image delete")),
    ("image exists", Use("container image inspect")),
    ("network exists", Use("container network inspect")),
    ("network remove", Use("container network delete")),
    ("network reload", NotYet),
    ("network update", NotYet),
    ("volume exists", Use("container volume inspect")),
    ("volume remove", Use("container volume delete")),
    ("volume mount", NotYet),
    ("volume update", NotYet),
    ("system events", Use("container events")),
    ("system info", Use("container system status")),
    (
        "system prune",
        Use("container prune, container image prune and container system template prune"),
    ),
    (
        "system restart",
        Use("container system stop and container system start"),
    ),
];

/// Options, with the commands that they are looked for at. The list holds those that Docker or Apple's tool has.
const OPTIONS: &[(&[&str], &[&str], Answer)] = &[
    (
        CREATING,
        &["--link"],
        Needless("containers on one network find each other by name"),
    ),
    (CREATING, &["--link-local-ip"], NotYet),
    (CREATING, &["--storage-opt"], Use("--storage-size <size>")),
    (CREATING, &["--volumes-from", "--volume-driver"], NotYet),
    (
        CREATING,
        &[
            "--annotation",
            "--blkio-weight",
            "--blkio-weight-device",
            "--cgroup-parent",
            "--cpu-period",
            "--cpu-quota",
            "--cpu-rt-period",
            "--cpu-rt-runtime",
            "--cpu-shares",
            "--cpuset-cpus",
            "--cpuset-mems",
            "--device-read-bps",
            "--device-read-iops",
            "--device-write-bps",
            "--device-write-iops",
            "--domainname",
            "--gpus",
            "--group-add",
            "--health-start-interval",
            "--log-driver",
            "--log-opt",
            "--memory-reservation",
            "--memory-swap",
            "--memory-swappiness",
            "--oom-kill-disable",
            "--oom-score-adj",
            "--sig-proxy",
        ],
        NotYet,
    ),
    (
        CREATING,
        &[
            "--ipc",
            "--pid",
            "--uts",
            "--userns",
            "--cgroupns",
            "--isolation",
        ],
        Needless("every container has a machine, and so namespaces, of its own"),
    ),
    (
        &["run", "create", "start", "exec", "attach"],
        &["--detach-keys"],
        NotYet,
    ),
    (
        &["list", "ls"],
        &[
            "--filter", "--last", "--latest", "--size", "-s", "-n", "-l", "-f",
        ],
        NotYet,
    ),
    (
        &["list", "ls", "image list", "image ls"],
        &["--no-trunc"],
        Needless("names are never shortened, and --format json shows digests in full"),
    ),
    (
        &["image list", "image ls"],
        &["--filter", "-f", "-a", "--all", "--digests"],
        NotYet,
    ),
    (
        INSPECTING,
        &["--format", "-f"],
        Needless("the output is JSON, and `jq` shows a part of it: `| jq '.[0].status'`"),
    ),
    (&["delete", "rm"], &["--link"], NotYet),
    (
        &["build"],
        &[
            "--annotation",
            "--call",
            "--cgroup-parent",
            "--check",
            "--cpu-period",
            "--cpu-quota",
            "--cpu-shares",
            "--cpuset-cpus",
            "--cpuset-mems",
            "--isolation",
            "--memory-swap",
            "--security-opt",
            "--squash",
        ],
        NotYet,
    ),
    (
        &["network create"],
        &["--ipv6"],
        Needless("every network has IPv6 addresses: --subnet-v6 chooses them"),
    ),
    (
        &["network create"],
        &["--attachable", "--ingress", "--scope"],
        Needless("a network is of one host, and any container may be on it"),
    ),
    (
        &["network create"],
        &["--ipv4"],
        Needless("every network has IPv4 addresses: --subnet chooses them"),
    ),
    (
        &["network create"],
        &["--dns", "--disable-dns"],
        Needless("names are a container's: see --dns, --no-dns of `container run`"),
    ),
    (
        &["network create"],
        &["--interface-name"],
        Needless("a network's bridge is in a namespace of its own"),
    ),
    (
        &["network create"],
        &[
            "--aux-address",
            "--config-from",
            "--config-only",
            "--gateway",
            "--ignore",
            "--ip-range",
            "--ipam-driver",
            "--ipam-opt",
            "--no-default-route",
            "--route",
        ],
        NotYet,
    ),
    (
        &["network list", "network ls", "network prune"],
        &["--filter"],
        NotYet,
    ),
    (
        &["network list", "network ls"],
        &["--no-trunc"],
        Needless("names are never shortened"),
    ),
    (
        &["network connect"],
        &["--link"],
        Needless("containers on one network find each other by name"),
    ),
    (
        &["network connect"],
        &["--driver-opt", "--gw-priority", "--link-local-ip"],
        NotYet,
    ),
    (
        &["network disconnect"],
        &["--force", "-f"],
        Needless("no container can refuse"),
    ),
];

/// Commands that make containers.
const CREATING: &[&str] = &["run", "create"];

/// Commands that show everything.
const INSPECTING: &[&str] = &[
    "inspect",
    "image inspect",
    "network inspect",
    "volume inspect",
    "machine inspect",
];

/// What to say of the unknown command `word` of the group `path`, if there is something to say.
pub fn of_command(path: &[&str], word: &str) -> Option<String> {
    let words = [path, &[word]].concat().join(" ");
    let (_, answer) = COMMANDS.iter().find(|(known, _)| *known == words)?;
    Some(tell(&format!("container {words}"), *answer))
}

/// What to say of the unknown option `option` of the command `path`, if there is something to say.
pub fn of_option(path: &[&str], option: &str) -> Option<String> {
    let command = path.join(" ");
    // A value may be part of the word.
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    let (_, _, answer) = OPTIONS
        .iter()
        .find(|(commands, names, _)| commands.contains(&&*command) && names.contains(&name))?;
    Some(tell(name, *answer))
}

fn tell(what: &str, answer: Answer) -> String {
    match answer {
        Use(instead) if instead.contains(' ') && what.starts_with("container ") => {
            format!(
                "there is no `{what}`: use `{}`",
                instead.replace(" and ", "` and `").replace(", ", "`, `")
            )
        }
        Use(instead) => format!("there is no {what}: use {instead}"),
        NotYet if what.starts_with("container ") => format!("`{what}` is not available yet"),
        NotYet => format!("{what} is not available yet"),
        Needless(why) => format!("there is no {what}: {why}"),
    }
}

/// A command line for each word that is answered.
#[cfg(test)]
pub fn lines() -> Vec<String> {
    let commands = COMMANDS.iter().map(|(words, _)| (*words).to_owned());
    let options = OPTIONS.iter().flat_map(|(commands, names, _)| {
        names
            .iter()
            .map(move |name| format!("{} {name}", commands[0]))
    });
    commands.chain(options).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn words_of_other_tools_are_answered() {
        let command = |word: &str| of_command(&[], word);
        assert_eq!(
            command("ps").as_deref(),
            Some("there is no `container ps`: use `container list`")
        );
        assert_eq!(
            command("compose").as_deref(),
            Some("`container compose` is not available yet")
        );
        assert_eq!(
            of_command(&["image"], "rmi").as_deref(),
            Some("there is no `container image rmi`: use `container image delete`")
        );
        assert_eq!(
            of_option(&["run"], "--gpus").as_deref(),
            Some("--gpus is not available yet")
        );
        assert_eq!(
            of_option(&["create"], "--volumes-from=a").as_deref(),
            Some("--volumes-from is not available yet")
        );
        assert_eq!(command("frobnicate"), None);
        assert_eq!(of_option(&["run"], "--frobnicate"), None);
        assert_eq!(of_option(&["list"], "-p"), None);
    }

    /// An answer to a word that is there would never be given, and be wrong.
    #[test]
    fn no_answer_is_to_what_is_there() {
        let mut root = Cli::command();
        root.build();
        for &(words, answer) in COMMANDS {
            assert!(find(&root, words).is_none(), "{words}");
            if let Use(instead) = answer {
                for instead in instead.split(", ").flat_map(|part| part.split(" and ")) {
                    let Some(words) = instead.strip_prefix("container ") else {
                        continue;
                    };
                    assert!(
                        words.starts_with('<') || find(&root, words).is_some(),
                        "{instead}"
                    );
                }
            }
        }
        for (commands, names, _) in OPTIONS {
            for command in *commands {
                let found = find(&root, command).unwrap();
                for name in *names {
                    let known = |argument: &clap::Arg| match name.strip_prefix("--") {
                        Some(long) => argument
                            .get_long_and_visible_aliases()
                            .is_some_and(|all| all.contains(&long)),
                        None => argument.get_short_and_visible_aliases().is_some_and(|all| {
                            all.iter().any(|short| *name == format!("-{short}"))
                        }),
                    };
                    assert!(!found.get_arguments().any(known), "{command} {name}");
                }
            }
        }
    }

    fn find<'a>(root: &'a clap::Command, words: &str) -> Option<&'a clap::Command> {
        words
            .split(' ')
            .try_fold(root, |command, word| command.find_subcommand(word))
    }
}
