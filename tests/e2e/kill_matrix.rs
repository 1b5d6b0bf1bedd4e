//! The kill matrix: every command, with each of the processes that serve it killed at points of its way, the
//! system started again, and what must hold then.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::system::{Background, System, eventually, kill, within};

/// Longer than any checkpoint takes on a loaded machine whose disk stands still for half a minute.
const LIMIT: Duration = Duration::from_secs(90);

/// How often it is looked for: what comes right behind it is what matters.
const POLL: Duration = Duration::from_micros(200);

/// What a command is done to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Given {
    /// No container.
    Nothing,
    /// A container at rest.
    Created,
    /// A container that runs, and ignores SIGTERM.
    Running,
    /// The same, paused.
    Paused,
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Victim {
    Client,
    Apiserver,
    Helper,
    Vmm,
}

/// When: something that can be seen from outside, in the order of a container's life.
#[derive(Clone, Copy, Debug)]
enum At {
    /// A file of the bundle; an empty name is the bundle itself.
    File(&'static str),
    /// The virtual machine's process.
    Machine,
    /// The command's first line of output.
    Output,
    /// `list` shows this state.
    Shown(&'static str),
    /// The runtime helper has ended.
    HelperGone,
    /// There is a directory of the new name.
    Renamed,
    /// The bundle is gone.
    BundleGone,
    /// At once: wherever it is then.
    Begun,
}

/// What must be found when the system is back.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Found {
    Absent,
    Stopped,
    Running,
    Paused,
    /// Any of them that is true.
    Truth,
}

type Case = (Given, &'static str, Victim, At, Found);

use At::{Begun, BundleGone, File, HelperGone, Machine, Output, Renamed, Shown};
use Found::{Absent, Truth};
use Given::{Created, Nothing, Paused, Running};
use Victim::{Apiserver, Client, Helper, Vmm};

const BUNDLE: At = File("");
const CONFIGURED: At = File("config.json");
const SPAWNED: At = File("runtime.sock");
const LOCKED: At = File("runtime.lock");
const UPPER: At = File("upper.ext4");
const LOGGED: At = File("stdio.log");
const STOPPING: At = Shown("stopping");
const PAUSED: At = Shown("paused");

/// `NAME` stands for the container's name, `NEW` for another one; `SLEEP` for an image and a command that prints a line and sleeps.
#[rustfmt::skip]
const COMING: &[Case] = &[
    (Nothing, "create --name NAME SLEEP",          Client,    BUNDLE,     Found::Stopped),
    (Nothing, "create --name NAME SLEEP",          Apiserver, BUNDLE,     Truth),
    (Nothing, "create --name NAME SLEEP",          Apiserver, CONFIGURED, Found::Stopped),
    (Created, "start NAME",                        Client,    SPAWNED,    Found::Running),
    (Created, "start NAME",                        Apiserver, SPAWNED,    Truth),
    (Created, "start NAME",                        Apiserver, LOCKED,     Truth),
    (Created, "start NAME",                        Apiserver, Machine,    Found::Running),
    (Created, "start NAME",                        Helper,    UPPER,      Found::Stopped),
    // A machine of a template that does not come up is booted instead.
    (Created, "start NAME",                        Vmm,       Machine,    Truth),
    (Created, "start -a NAME",                     Client,    Output,     Found::Running),
    (Nothing, "run --name NAME SLEEP",             Client,    CONFIGURED, Truth),
    (Nothing, "run -d --name NAME SLEEP",          Apiserver, UPPER,      Found::Running),
    (Nothing, "run --name NAME SLEEP",             Helper,    Machine,    Absent),
    (Nothing, "run --name NAME SLEEP",             Vmm,       Output,     Found::Stopped),
];

#[rustfmt::skip]
const GOING: &[Case] = &[
    (Nothing, "run --rm --name NAME SLEEP",        Client,    Output,     Found::Running),
    (Nothing, "run --rm --name NAME SLEEP",        Apiserver, Output,     Found::Running),
    (Nothing, "run --rm --name NAME SLEEP",        Helper,    Output,     Absent),
    (Nothing, "run --rm --no-template --name NAME SLEEP", Vmm, Machine,   Absent),
    (Nothing, "run --rm --name NAME busybox true", Apiserver, LOGGED,     Absent),
    (Running, "exec NAME SHELL",                   Client,    Output,     Found::Running),
    (Running, "exec NAME SHELL",                   Apiserver, Output,     Found::Running),
    (Running, "exec NAME SHELL",                   Helper,    Output,     Found::Stopped),
    (Running, "exec NAME SHELL",                   Vmm,       Output,     Found::Stopped),
    (Running, "stop -t 1 NAME",                    Client,    STOPPING,   Found::Stopped),
    (Running, "stop -t 1 NAME",                    Apiserver, STOPPING,   Found::Stopped),
    (Running, "stop -t 100 NAME",                  Helper,    STOPPING,   Found::Stopped),
    (Running, "stop -t 100 NAME",                  Vmm,       STOPPING,   Found::Stopped),
    (Running, "delete --force NAME",               Client,    HelperGone, Absent),
    (Running, "delete --force NAME",               Apiserver, HelperGone, Truth),
];

#[rustfmt::skip]
const CHANGING: &[Case] = &[
    (Running, "restart -t 1 NAME",                 Client,    STOPPING,   Found::Running),
    // The next apiserver knows of the stop, and not what was to come after it.
    (Running, "restart -t 1 NAME",                 Apiserver, STOPPING,   Truth),
    (Running, "restart -t 100 NAME",               Helper,    STOPPING,   Found::Running),
    (Running, "restart -t 100 NAME",               Vmm,       STOPPING,   Found::Running),
    (Created, "restart NAME",                      Apiserver, Machine,    Found::Running),
    (Running, "kill NAME",                         Client,    HelperGone, Found::Stopped),
    (Running, "kill NAME",                         Apiserver, Begun,      Truth),
    (Running, "kill NAME",                         Apiserver, HelperGone, Found::Stopped),
    (Running, "pause NAME",                        Apiserver, Begun,      Truth),
    (Running, "pause NAME",                        Apiserver, PAUSED,     Found::Paused),
    (Running, "pause NAME",                        Helper,    PAUSED,     Found::Stopped),
    (Paused,  "unpause NAME",                      Client,    Begun,      Truth),
    (Paused,  "unpause NAME",                      Apiserver, Begun,      Truth),
    (Paused,  "unpause NAME",                      Vmm,       Begun,      Found::Stopped),
    (Created, "rename NAME NEW",                   Client,    Renamed,    Found::Stopped),
    (Created, "rename NAME NEW",                   Apiserver, Begun,      Found::Stopped),
    (Created, "rename NAME NEW",                   Apiserver, Renamed,    Found::Stopped),
    (Created, "prune",                             Client,    BundleGone, Absent),
    (Created, "prune",                             Apiserver, Begun,      Truth),
    (Created, "prune",                             Apiserver, BundleGone, Absent),
];

#[test]
fn a_container_that_comes_into_being() {
    play(COMING);
}

#[test]
fn a_container_that_is_used_and_goes() {
    play(GOING);
}

#[test]
fn a_container_that_is_changed() {
    play(CHANGING);
}

/// Plays `cases` one after the other, and then looks at what is left of all of them.
fn play(cases: &[Case]) {
    let system = System::start();
    // The first start makes what later ones find: an empty writable layer and a template.
    system.sleeper("first");
    system.run(["delete", "--force", "first"]).ok();
    for (number, case) in cases.iter().enumerate() {
        let begun = Instant::now();
        Play {
            system: &system,
            id: format!("case-{number}"),
            case,
        }
        .play();
        println!("{case:?}: {:?}", begun.elapsed());
    }
    // What nobody holds is let go of: an image that no container uses, and what was prepared for it.
    system.run(["image", "prune", "--all"]).ok();
    assert_eq!(files(&system.app().join("leases")), [""; 0]);
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(system.app().to_str().unwrap()), "{mounts}");
}

struct Play<'a> {
    system: &'a System,
    id: String,
    case: &'a Case,
}

impl Play<'_> {
    fn play(&self) {
        let (given, _, victim, at, found) = *self.case;
        let (system, id) = (self.system, self.id.as_str());
        match given {
            Nothing => {}
            Created => {
                system.run(self.words("create --name NAME SLEEP")).ok();
            }
            Running => {
                system.run(self.words("run -d --name NAME SLEEP")).ok();
            }
            Paused => {
                system.run(self.words("run -d --name NAME SLEEP")).ok();
                system.run(["pause", id]).ok();
            }
        }
        let client = system.spawn(self.words(self.case.1));
        self.reach(at, &client);
        self.kill(victim, &client);
        system.run(["system", "start"]).ok();

        within(LIMIT, &format!("{:?}: found, and true", self.case), || {
            let state = self.state();
            (found == Truth || state == found) && self.is_true(state)
        });
        let id = self.name();
        let id = id.as_str();
        if self.state() == Absent {
            // The name is free.
            system.run(self.words("create --name NAME SLEEP")).ok();
        } else {
            // What was begun may go on for a while; then the container can be used.
            within(LIMIT, &format!("{:?}: it can be used", self.case), || {
                match self.state() {
                    Found::Stopped => drop(system.run(["start", id])),
                    Found::Paused => drop(system.run(["unpause", id])),
                    _ => {}
                }
                system.run(["exec", id, "true"]).code == 0
            });
        }
        drop(client);
        system.run(["delete", "--force", id]).ok();
        assert_eq!(system.helper(id), None);
        eventually("nothing is left", || {
            files(&system.app().join("containers")).is_empty()
        });
    }

    fn words(&self, command: &str) -> Vec<String> {
        const SCRIPT: &str = "trap '' TERM; echo ready; while :; do sleep 1000; done";
        let options = ["-m", "256M", "-c", "1", "--pull", "never"];
        let new = self.new_name();
        let mut words: Vec<&str> = Vec::new();
        for word in command.split(' ') {
            match word {
                "NAME" => words.push(&self.id),
                "NEW" => words.push(&new),
                "SHELL" => words.extend(["sh", "-c", SCRIPT]),
                "SLEEP" => {
                    words.extend(options);
                    words.extend(["busybox", "sh", "-c", SCRIPT]);
                }
                word => words.push(word),
            }
        }
        words.into_iter().map(str::to_owned).collect()
    }

    /// Waits for the checkpoint.
    fn reach(&self, at: At, client: &Background) {
        let begun = Instant::now();
        let bundle = self.system.bundle(&self.id);
        let reached = || match at {
            File(name) => bundle.join(name).exists(),
            Machine => self.helper().and_then(child).is_some(),
            Output => client.has_output(),
            Shown(state) => self.listed().as_deref() == Some(state),
            HelperGone => self.helper().is_none(),
            Renamed => self.system.bundle(&self.new_name()).exists(),
            BundleGone => !bundle.exists(),
            Begun => true,
        };
        while !reached() {
            assert!(begun.elapsed() < LIMIT, "not reached: {:?}", self.case);
            std::thread::sleep(POLL);
        }
    }

    fn kill(&self, victim: Victim, client: &Background) {
        let pid = match victim {
            Client => Some(client.pid()),
            Apiserver => self.system.pids("container-apiserver").first().copied(),
            Helper => self.helper(),
            Vmm => self.helper().and_then(child),
        };
        // One that has ended meanwhile needs no killing.
        if let Some(pid) = pid {
            kill(pid, Signal::KILL);
            within(LIMIT, "it is dead", || {
                !Path::new(&format!("/proc/{pid}/exe")).exists()
            });
        }
    }

    fn new_name(&self) -> String {
        format!("{}-new", self.id)
    }

    /// The name that it has by now.
    fn name(&self) -> String {
        let new = self.new_name();
        if self.system.bundle(&new).join("config.json").exists() {
            new
        } else {
            self.id.clone()
        }
    }

    fn helper(&self) -> Option<u32> {
        self.system.helper(&self.name())
    }

    /// The state that `list` shows.
    fn listed(&self) -> Option<String> {
        let containers = self.system.list();
        let name = self.name();
        let shown = containers
            .iter()
            .find(|shown| shown["id"] == *name && shown["configuration"]["id"] == *name)?;
        Some(shown["status"]["state"].as_str().unwrap().to_owned())
    }

    fn state(&self) -> Found {
        match self.listed().as_deref() {
            None => Absent,
            Some("stopped") => Found::Stopped,
            Some("running") => Found::Running,
            Some("paused") => Found::Paused,
            // On its way.
            Some(_) => Truth,
        }
    }

    /// Whether the processes are those of a container in `state`, and the bundle is whole and has nothing else.
    fn is_true(&self, state: Found) -> bool {
        let name = self.name();
        if name != self.id && self.system.bundle(&self.id).exists() {
            return false;
        }
        let bundle = files(&self.system.bundle(&name));
        let machine = self.helper().and_then(child);
        let sockets = bundle.iter().any(|name| name == "runtime.sock");
        let clean = !bundle
            .iter()
            .any(|name| name.starts_with('.') || name.ends_with("partial"));
        match state {
            Absent => bundle.is_empty() && self.helper().is_none(),
            Found::Stopped => clean && !sockets && self.helper().is_none(),
            Found::Running | Found::Paused => clean && sockets && machine.is_some(),
            Truth => false,
        }
    }
}

/// The first child of a process.
fn child(pid: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// Names of the files in a directory; of none in one that is not there.
fn files(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}
