//! What a service manager is told (`sd_notify(3)`); nothing, where there is none.

use std::time::Duration;

use sd_notify::NotifyState;

/// Variables of a service manager that are for this process alone: helpers do not inherit them.
pub const VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
];

/// The sockets are served.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// This process is about to end.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says that this process works as often as the manager wants to hear it; for ever, where it does not.
pub async fn keep_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((limit / 2).max(Duration::from_millis(100)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("cannot tell the service manager: {error:#}");
    }
}
