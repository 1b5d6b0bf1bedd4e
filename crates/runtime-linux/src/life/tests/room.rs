//! A host without room for what a container writes: the guest stands still, and so hears of nothing.

use container_api::Kind;
use container_engine::Refusal;
use container_engine::scripted::HostRoom;
use container_resource::standstill::Standstill;
use tokio::sync::mpsc::UnboundedReceiver;

use super::*;

/// Longer than whoever wants something of the guest waits (two seconds, of which each has 20 ms here).
const AGES: Duration = Duration::from_millis(120);

/// Guests with such manners, and the room that each has.
fn rooms(manners: Manners) -> (Script, UnboundedReceiver<HostRoom>) {
    let (sender, rooms) = tokio::sync::mpsc::unbounded_channel();
    let script = Script::new(move |side| {
        let _ = sender.send(side.room.clone());
        guest::play(manners, side);
    });
    (script, rooms)
}

fn retries(script: &Script) -> usize {
    let calls = script.calls();
    calls.iter().filter(|call| *call == "retry").count()
}

#[tokio::test]
async fn it_waits_for_room_and_goes_on() {
    let (script, mut rooms) = rooms(Manners {
        signal: Hangs,
        ..Manners::default()
    });
    let system = System::new();
    let life = system.live(&script, "{}");
    let container = &life.container;
    container.start(Stdio::default()).await.unwrap();
    let room = rooms.recv().await.unwrap();
    assert!(!container.waits_for_room());
    room.runs_out();
    assert_eq!(container.room_changed(false).await, Some(Standstill::Full));
    // Who wants something of the guest is told, and soon.
    let error = container.signal("", libc::SIGTERM).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message()),
        (Kind::Exhausted, Standstill::Full.text())
    );
    let error = container.signal("", libc::SIGUSR1).await.unwrap_err();
    assert_eq!(error.kind, Kind::Exhausted);
    assert!(matches!(container.state(), State::Running { .. }));
    // It is tried again and again, and not all the time.
    tokio::time::sleep(AGES).await;
    assert!(container.waits_for_room());
    assert!((1..20).contains(&retries(&script)), "{:?}", script.calls());
    room.comes_back();
    assert_eq!(container.room_changed(true).await, None);
    let calls = script.calls();
    tokio::time::sleep(AGES).await;
    assert_eq!(script.calls(), calls);
    // And once more, for another reason; and for one more while it stands still.
    room.refuses(Refusal::Quota);
    assert_eq!(container.room_changed(false).await, Some(Standstill::Quota));
    room.refuses(Refusal::ReadOnly);
    while container.standstill() != Some(Standstill::ReadOnly) {
        tokio::task::yield_now().await;
    }
    let error = container.signal("", libc::SIGTERM).await.unwrap_err();
    assert_eq!(error.message(), Standstill::ReadOnly.text());
    room.comes_back();
    assert_eq!(container.room_changed(true).await, None);
    container.stop(libc::SIGTERM, GRACE, false).await;
    assert_eq!(left(&life.over().await).1, 128 + libc::SIGKILL);
}

#[tokio::test]
async fn a_guest_that_stands_still_is_ended_all_the_same() {
    let stands_still = "killed: it stood still, as the host's file system is full";
    for signal in [libc::SIGTERM, libc::SIGKILL] {
        let (script, mut rooms) = rooms(Manners {
            signal: Hangs,
            kill: Hangs,
            ..Manners::default()
        });
        let system = System::new();
        let life = system.live(&script, "{}");
        let container = &life.container;
        container.start(Stdio::default()).await.unwrap();
        rooms.recv().await.unwrap().runs_out();
        assert_eq!(container.room_changed(false).await, Some(Standstill::Full));
        if signal == libc::SIGKILL {
            container.signal("", signal).await.unwrap();
        } else {
            container.stop(signal, GRACE, false).await;
        }
        let left = left(&life.over().await);
        assert_eq!(left, (true, 128 + libc::SIGKILL, stands_still.to_owned()));
    }
}

#[tokio::test]
async fn a_start_that_finds_no_room_fails_with_the_reason() {
    let (sender, mut sent) = tokio::sync::mpsc::unbounded_channel();
    let script = Script::new(move |side| {
        let room = side.room.clone();
        guest::play(start(Hangs), side);
        let _ = sender.send(room);
    });
    let system = System::new();
    let life = system.live(&script, "{}");
    let starting = life.container.start(Stdio::default());
    let full = async {
        let room = sent.recv().await.unwrap();
        // The machine is watched from the moment that it has booted.
        tokio::time::sleep(Duration::from_millis(20)).await;
        room.runs_out();
    };
    let (started, ()) = tokio::join!(starting, full);
    let error = started.unwrap_err();
    assert_eq!(
        (error.kind, error.message()),
        (Kind::Exhausted, Standstill::Full.text())
    );
    life.over().await;
}

#[tokio::test]
async fn what_was_written_last_waits_for_room_unless_somebody_ends_it() {
    for comes_back in [true, false] {
        let (script, mut rooms) = rooms(Manners {
            shutdown: Hangs,
            ..Manners::default()
        });
        let system = System::new();
        let life = system.live(&script, "{}");
        let container = life.container.clone();
        container.start(Stdio::default()).await.unwrap();
        let room = rooms.recv().await.unwrap();
        room.runs_out();
        assert_eq!(container.room_changed(false).await, Some(Standstill::Full));
        // The scripted guest hears of this all the same, and its process ends.
        container.signal("", libc::SIGTERM).await.unwrap();
        let over = tokio::spawn(life.over());
        // Fifteen seconds are what it has with room.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!over.is_finished());
        assert!(matches!(container.state(), State::Stopping { .. }));
        if comes_back {
            room.comes_back();
        } else {
            container.stop(libc::SIGTERM, GRACE, false).await;
        }
        let left = left(&over.await.unwrap());
        assert_eq!(left, (true, 128 + libc::SIGTERM, String::new()));
    }
}
