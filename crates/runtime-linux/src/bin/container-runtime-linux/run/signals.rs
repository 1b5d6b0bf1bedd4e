//! Signals of this process, which are the container's.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The process is to get it.
    Signal(i32),
    /// The terminal has another size.
    Window,
}

/// Takes over what is for the process, from now on.
///
/// # Errors
/// As `sigaction(2)`.
pub fn take() -> io::Result<mpsc::Receiver<Event>> {
    let (sender, events) = mpsc::channel(16);
    let kinds = [
        SignalKind::hangup(),
        SignalKind::interrupt(),
        SignalKind::quit(),
        SignalKind::terminate(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
    ];
    for kind in kinds {
        let event = Event::Signal(kind.as_raw_value());
        tokio::spawn(pass(signal(kind)?, event, sender.clone()));
    }
    let window = signal(SignalKind::window_change())?;
    tokio::spawn(pass(window, Event::Window, sender));
    Ok(events)
}

async fn pass(mut signal: Signal, event: Event, to: mpsc::Sender<Event>) {
    while signal.recv().await.is_some() {
        if to.send(event).await.is_err() {
            return;
        }
    }
}
