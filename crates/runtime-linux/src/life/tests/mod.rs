//! A container's life with a scripted VMM and a scripted guest: what becomes of it whatever they do.
//!
//! The limits are shorter here ([`crate::limits`]), so that no test waits for seconds.

mod guest;
mod room;
mod system;

use std::time::Duration;

use container_engine::scripted::{Act, Script};
use container_resource::bundle::{self, Exit, Interface, VolumeDisk};
use futures::FutureExt;

use crate::container::{Stage, State};
use crate::machine::Standby;
use crate::stdio::Stdio;
use guest::Answer::{Dies, Hangs, HangsUp, Refuses, Well};
use guest::{Answer, Manners};
use system::{Life, System};

/// Exit code of a process whose end nobody saw.
const LOST: i32 = 255;

/// What a stopped process has here.
const GRACE: Duration = Duration::from_millis(100);

fn script(manners: Manners) -> Script {
    Script::new(move |side| guest::play(manners, side))
}

/// What is left of a life: whether it was started, its exit code, and why, in that order.
fn left(life: &Life) -> (bool, i32, String) {
    let exit: Exit = bundle::read_json(&life.container.bundle.exit()).unwrap();
    let reason = exit.reason.unwrap_or_default();
    (exit.started.is_some(), exit.exit_code, reason)
}

#[tokio::test]
async fn a_container_runs_to_its_end() {
    let script = script(Manners {
        exits: Some(7),
        ..Manners::default()
    });
    let system = System::new();
    let life = system.live(&script, "{}");
    assert_eq!(life.container.state(), State::Booting);
    let started = life.container.start(Stdio::default()).await.unwrap();
    assert!(started.origin.wants_template());
    let ended = life.container.wait("").await.unwrap();
    assert_eq!((ended.exit_code, ended.reason), (7, None));
    let life = life.over().await;
    assert_eq!(life.container.state(), State::Stopped);
    assert_eq!(left(&life), (true, 7, String::new()));
    let log = std::fs::read_to_string(life.container.bundle.stdio_log()).unwrap();
    assert!(log.contains("hello"), "{log}");
    assert_eq!(script.calls(), ["start"]);
    // Nobody can start it, or anything in it, any more.
    let error = life.container.start(Stdio::default()).await.unwrap_err();
    assert_eq!(error.message(), "container c1 is not running");
}

#[tokio::test]
async fn one_that_deletes_itself_is_not_waited_for() {
    let script = script(Manners {
        exits: Some(0),
        shutdown: Answer::Hangs,
        ..Manners::default()
    });
    let system = System::new();
    let life = system.live(&script, r#"{"autoRemove": true}"#);
    life.container.start(Stdio::default()).await.unwrap();
    let life = life.over().await;
    assert_eq!(left(&life), (true, 0, String::new()));
    assert_eq!(script.calls(), ["start", "kill"]);
}

#[tokio::test]
async fn one_that_deletes_itself_is_told_of_when_its_volumes_are_closed() {
    for (shutdown, is_closed) in [(Answer::Well, true), (Answer::Hangs, false)] {
        let script = script(Manners {
            exits: Some(0),
            shutdown,
            ..Manners::default()
        });
        let system = System::new();
        let life = system.live_with_volume(&script, r#"{"autoRemove": true}"#);
        life.container.start(Stdio::default()).await.unwrap();
        let ended = life.container.wait("").await.unwrap();
        assert_eq!((ended.exit_code, ended.reason), (0, None));
        // What does not close them is waited for to the machine's end.
        assert_eq!(*life.container.closed.borrow(), is_closed);
        let stopped = life.container.state() == State::Stopped;
        assert!(is_closed || stopped, "{shutdown:?}");
        let life = life.over().await;
        assert_eq!(left(&life), (true, 0, String::new()));
        assert_eq!(script.calls(), ["start", "kill"]);
    }
}

#[tokio::test]
async fn what_does_not_start_is_told_with_its_reason() {
    let killed = "the virtual machine ended: the VMM was killed by signal 11";
    let cases = [
        (
            Act::NotStarted,
            Manners::default(),
            "cannot start the VMM scripted: ".to_owned(),
        ),
        (
            Act::Dies,
            Manners::default(),
            "the VMM ended at its start: ".to_owned(),
        ),
        (
            Act::Silent,
            Manners::default(),
            "the VMM does not answer: ".to_owned(),
        ),
        (
            Act::Runs,
            hello(Answer::Dies),
            format!("while it booted, {killed}"),
        ),
        (
            Act::Runs,
            hello(Answer::Hangs),
            "the guest did not announce itself within".to_owned(),
        ),
        (
            Act::Runs,
            hello(Answer::HangsUp),
            "the guest's channel ended before it announced itself".to_owned(),
        ),
        (
            Act::Runs,
            hello(Answer::Refuses),
            "the guest announced itself in an unknown way".to_owned(),
        ),
        (
            Act::Runs,
            start(Answer::Refuses),
            "no such program: sh".to_owned(),
        ),
        (Act::Runs, start(Answer::Dies), killed.to_owned()),
        (
            Act::Runs,
            start(Answer::Hangs),
            "the guest did not answer within".to_owned(),
        ),
        (
            Act::Runs,
            start(Answer::HangsUp),
            "the guest channel broke: ".to_owned(),
        ),
    ];
    for (act, manners, expected) in cases {
        let mut script = script(manners);
        script.start = act;
        let system = System::new();
        let life = system.live(&script, "{}");
        let error = life.container.start(Stdio::default()).await.unwrap_err();
        assert!(
            error.message().starts_with(&expected),
            "{act:?} {manners:?}: {error}"
        );
        let life = life.over().await;
        assert_eq!(life.container.state(), State::Stopped);
        let (started, exit_code, reason) = left(&life);
        assert_eq!(
            (started, exit_code, &reason),
            (false, LOST, &error.message())
        );
        // Nothing is left of its machine.
        let ended_itself = act != Act::Runs || reason.contains(killed);
        let killed = script.calls().iter().any(|call| call == "kill");
        assert!(killed || ended_itself, "{manners:?}");
    }
}

fn hello(hello: Answer) -> Manners {
    Manners {
        hello,
        ..Manners::default()
    }
}

fn start(start: Answer) -> Manners {
    Manners {
        start,
        ..Manners::default()
    }
}

#[tokio::test]
async fn a_machine_that_ends_ends_its_container() {
    type End = fn(&container_engine::scripted::Power);
    let cases: [(End, &str); 4] = [
        (|power| power.killed(9), "the VMM was killed by signal 9"),
        (
            |power| power.failed("out of memory"),
            "the VMM exited with status 1: out of memory",
        ),
        (
            |power| power.panic("VFS"),
            "the guest's kernel panicked: VFS",
        ),
        (|power| power.off(), "the guest switched itself off"),
    ];
    for (end, expected) in cases {
        let (sender, mut power) = tokio::sync::mpsc::unbounded_channel();
        let script = Script::new(move |side| {
            let _ = sender.send(side.power.clone());
            guest::play(Manners::default(), side);
        });
        let system = System::new();
        let life = system.live(&script, "{}");
        life.container.start(Stdio::default()).await.unwrap();
        assert!(matches!(life.container.state(), State::Running { .. }));
        end(&power.recv().await.unwrap());
        let ended = life.container.wait("").await.unwrap();
        let reason = format!("the virtual machine ended: {expected}");
        assert_eq!(
            (ended.exit_code, ended.reason),
            (LOST, Some(reason.clone()))
        );
        let life = life.over().await;
        assert_eq!(left(&life), (true, LOST, reason));
    }
}

#[tokio::test]
async fn a_stop_ends_every_guest() {
    let (term, kill) = (128 + libc::SIGTERM, 128 + libc::SIGKILL);
    let disobeyed = "killed: its guest did not obey";
    let died = "the virtual machine ended: the VMM was killed by signal 11";
    // The answers to a signal, to the kill of all, to the shutdown; exit code, reason, and whether its VMM is killed.
    let cases = [
        ([Well, Well, Well], term, "", false),
        ([Hangs, Well, Well], kill, "", false),
        ([Refuses, Well, Well], kill, "", false),
        ([Hangs, Hangs, Well], kill, disobeyed, true),
        ([Refuses, Refuses, Well], kill, disobeyed, true),
        ([Dies, Well, Well], LOST, died, false),
        ([Hangs, Dies, Well], LOST, died, false),
        ([HangsUp, Well, Well], LOST, "the guest was lost", true),
        ([Well, Well, Hangs], term, "", true),
        ([Well, Well, Refuses], term, "", true),
        ([Well, Well, HangsUp], term, "", true),
        ([Well, Well, Dies], term, "", true),
    ];
    for ([signal, all, shutdown], exit_code, reason, is_killed) in cases {
        let manners = Manners {
            signal,
            kill: all,
            shutdown,
            ..Manners::default()
        };
        let script = script(manners);
        let system = System::new();
        let life = system.live(&script, "{}");
        life.container.start(Stdio::default()).await.unwrap();
        life.container.stop(libc::SIGTERM, GRACE, false).await;
        let life = life.over().await;
        let left = left(&life);
        assert_eq!(
            (left.0, left.1),
            (true, exit_code),
            "{manners:?}: {}",
            left.2
        );
        assert!(left.2.starts_with(reason), "{manners:?}: {}", left.2);
        let killed = script.calls().iter().any(|call| call == "kill");
        assert_eq!(killed, is_killed, "{manners:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_a_machine_that_still_boots() {
    let script = script(hello(Answer::Hangs));
    let system = System::new();
    let life = system.live(&script, "{}");
    let start = life.container.start(Stdio::default());
    let stop = life.container.stop(libc::SIGTERM, Duration::ZERO, false);
    let (started, ()) = tokio::join!(start, stop);
    let error = started.unwrap_err();
    assert_eq!(error.message(), "container c1 was stopped while it started");
    life.over().await;
}

#[tokio::test]
async fn a_template_is_made_used_and_given_up_when_it_does_not_restore() {
    let system = System::new();
    let mut script = script(Manners {
        exits: Some(3),
        ..Manners::default()
    });
    crate::make_template(&system.request(&script), Vec::new())
        .await
        .unwrap();
    // A second one is not made.
    crate::make_template(&system.request(&script), Vec::new())
        .await
        .unwrap();
    assert_eq!(script.calls(), ["start", "save"]);
    let run = async |script: &Script| {
        let life = system.live(script, "{}");
        let started = life.container.start(Stdio::default()).await.unwrap();
        let life = life.over().await;
        assert_eq!(left(&life).1, 3);
        started.origin.wants_template()
    };
    assert!(!run(&script).await);
    assert_eq!(script.calls()[2..], ["restore"]);
    for act in [Act::NotStarted, Act::Dies, Act::Silent] {
        script.restore = act;
        crate::make_template(&system.request(&script), Vec::new())
            .await
            .unwrap();
        let before = script.calls().len();
        // It boots instead, and its template goes: a new one is wanted.
        assert!(run(&script).await, "{act:?}");
        assert_eq!(script.calls()[before..], ["restore", "start"], "{act:?}");
        let before = script.calls().len();
        assert!(run(&script).await);
        assert_eq!(script.calls()[before..], ["start"], "{act:?}");
    }
    // Where nobody wants one, none is looked for.
    script.restore = Act::Runs;
    crate::make_template(&system.request(&script), Vec::new())
        .await
        .unwrap();
    let before = script.calls().len();
    let life = system.live(&script, r#"{"noTemplate": true}"#);
    let started = life.container.start(Stdio::default()).await.unwrap();
    assert!(!started.origin.wants_template());
    life.over().await;
    assert_eq!(script.calls()[before..], ["start"]);
}

#[tokio::test]
async fn a_restored_guest_that_is_not_there_is_booted_instead() {
    let system = System::new();
    let well = script(Manners {
        exits: Some(0),
        ..Manners::default()
    });
    for answer in [Answer::Dies, Answer::HangsUp] {
        crate::make_template(&system.request(&well), Vec::new())
            .await
            .unwrap();
        let script = Script::new(move |side| {
            let manners = if side.restored {
                hello(answer)
            } else {
                Manners {
                    exits: Some(0),
                    ..Manners::default()
                }
            };
            guest::play(manners, side);
        });
        let life = system.live(&script, "{}");
        assert!(
            life.container
                .start(Stdio::default())
                .await
                .unwrap()
                .origin
                .wants_template()
        );
        life.over().await;
        let calls = script.calls();
        assert_eq!(
            (&*calls[0], &**calls.last().unwrap()),
            ("restore", "start"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_standby_machine_becomes_the_containers_or_another_one_does() {
    let system = System::new();
    let script = script(Manners {
        exits: Some(5),
        ..Manners::default()
    });
    let error = system.standby(&script).await.unwrap_err();
    assert!(error.message().contains("no template"), "{error}");
    crate::make_template(&system.request(&script), Vec::new())
        .await
        .unwrap();
    let standby = system.standby(&script).await.unwrap();
    let before = script.calls().len();
    let life = system.live_in(&script, "{}", Some(standby));
    life.container.start(Stdio::default()).await.unwrap();
    let life = life.over().await;
    assert_eq!(left(&life).1, 5);
    assert_eq!(
        script.calls()[before..],
        ["exchange root", "exchange upper"]
    );

    // It stands still until it is wanted, and a fault ends it.
    let mut standby = system.standby(&script).await.unwrap();
    let stood = tokio::time::timeout(Duration::from_millis(300), standby.stand()).await;
    assert!(stood.is_err());
    assert_eq!(script.calls().last().unwrap(), "pause");
    let before = script.calls().len();
    let life = system.live_in(&script, "{}", Some(standby));
    life.container.start(Stdio::default()).await.unwrap();
    life.over().await;
    assert_eq!(
        script.calls()[before..],
        ["resume", "exchange root", "exchange upper"]
    );

    // One with the disk of a volume is for a container with such a volume, and for no other.
    let mut request = system.request(&script);
    let (size, read_only) = (64 << 20, false);
    request.boot.volumes = vec![VolumeDisk { size, read_only }];
    let standby = Standby::prepare(&request, Vec::new()).await.unwrap();
    let prepared = script.calls().join(",");
    assert!(prepared.ends_with("exchange root,exchange upper,exchange volume-0"));
    let before = script.calls().len();
    let life = system.live_in(&script, "{}", Some(standby));
    life.container.start(Stdio::default()).await.unwrap();
    life.over().await;
    assert_eq!(script.calls()[before..], ["restore"]);

    // One of another shape is ended, and a template is looked for.
    let mut standby = system.standby(&script).await.unwrap();
    standby.forget_its_key();
    let before = script.calls().len();
    let life = system.live_in(&script, "{}", Some(standby));
    life.container.start(Stdio::default()).await.unwrap();
    life.over().await;
    assert_eq!(script.calls()[before..], ["restore"]);
}

#[tokio::test]
async fn a_pause_is_finished_though_nobody_waits_for_it() {
    let system = System::new();
    let life = system.live(&script(Manners::default()), "{}");
    life.container.start(Stdio::default()).await.unwrap();
    for paused in [true, false] {
        let pause = life.container.pause(paused);
        // Whoever asked goes away before the guest has answered.
        let answered = pause.now_or_never();
        assert!(answered.is_none());
        let state = life.container.settled().await;
        assert_eq!(matches!(state, State::Paused { .. }), paused, "{state:?}");
        assert_eq!(matches!(state, State::Running { .. }), !paused, "{state:?}");
    }
}

#[tokio::test]
async fn what_a_vmm_lacks_is_done_without() {
    let system = System::new();
    let manners = Manners {
        exits: Some(0),
        ..Manners::default()
    };
    let mut script = script(manners);
    crate::make_template(&system.request(&script), Vec::new())
        .await
        .unwrap();
    script.capabilities.disk_exchange = false;
    let error = system.standby(&script).await.unwrap_err();
    assert_eq!(error.message(), "a scripted VMM exchanges no disks");
    script.capabilities.templates = false;
    let before = script.calls().len();
    let life = system.live(&script, "{}");
    // No template would be of use.
    assert!(
        !life
            .container
            .start(Stdio::default())
            .await
            .unwrap()
            .origin
            .wants_template()
    );
    let life = life.over().await;
    assert!(matches!(&*life.container.stage.borrow(), Stage::Stopped(_)));
    assert_eq!(script.calls()[before..], ["start"]);
}

#[tokio::test]
async fn a_network_comes_and_goes_whatever_the_guest_makes_of_it() {
    let interface = |network: &str, device_mac: &str| -> Interface {
        serde_json::from_value(serde_json::json!({
            "network": network, "hostname": "c1", "deviceMac": device_mac, "mac": "f2:00:00:00:00:07", "mtu": 1500
        }))
        .unwrap()
    };
    let tap = || std::fs::File::open("/dev/null").unwrap().into();
    let spare = "02:00:00:00:00:02";
    for (manners, connects, calls) in [
        (Well, true, &["connect", "disconnect 02:00:00:00:00:02"][..]),
        // What it did with the device all the same leads nowhere.
        (
            Refuses,
            false,
            &[
                "connect",
                "disconnect 02:00:00:00:00:02",
                "disconnect 02:00:00:00:00:02",
            ],
        ),
    ] {
        let script = script(Manners {
            connect: manners,
            ..Manners::default()
        });
        let system = System::new();
        let life = system.live(&script, "{}");
        let container = &life.container;
        container.start(Stdio::default()).await.unwrap();
        let interfaces = [interface("a", "02:00:00:00:00:01"), interface("b", spare)];
        let connected = container.connect(&interfaces, tap()).await;
        assert_eq!(connected.ok().as_deref(), connects.then_some(spare));
        let unknown = container.disconnect(&interfaces, "x", None).await;
        assert!(
            unknown
                .unwrap_err()
                .message()
                .contains("no interface on network x")
        );
        container
            .disconnect(&interfaces, "b", Some("a"))
            .await
            .unwrap();
        assert_eq!(script.calls()[1..], *calls, "{manners:?}");
        container.stop(libc::SIGTERM, GRACE, false).await;
        let error = container.connect(&interfaces, tap()).await.unwrap_err();
        assert_eq!(error.message(), "container c1 is not running");
        life.over().await;
    }
}
