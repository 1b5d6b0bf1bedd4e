use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that a client hands on to its process or that end it (`signal(7)`).
const NUMBERS: [i32; 6] = [1, 2, 3, 10, 12, 15];

/// Signals sent to this process, instead of what they would do to it.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(i32, Signal)>,
    window: Signal,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The terminal has another size.
    Window,
    /// One that is meant for the process: SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2 or SIGTERM.
    Signal(i32),
}

impl Signals {
    /// Takes the signals over, for the rest of this process's life.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub fn take() -> io::Result<Self> {
        let mut streams = Vec::with_capacity(NUMBERS.len());
        for number in NUMBERS {
            streams.push((number, signal(SignalKind::from_raw(number))?));
        }
        Ok(Self {
            streams,
            window: signal(SignalKind::window_change())?,
        })
    }

    /// The next one. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Event {
        std::future::poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(Event::Signal(*number));
                }
            }
            self.window.poll_recv(context).map(|_| Event::Window)
        })
        .await
    }

    /// Waits for a signal that would have ended this process; gives its number.
    pub async fn interrupted(&mut self) -> i32 {
        loop {
            if let Event::Signal(number) = self.next().await {
                return number;
            }
        }
    }
}
