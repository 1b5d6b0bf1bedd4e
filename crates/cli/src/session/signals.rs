use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::terminal;

/// Signals that a client hands on to its process, or that end it (`signal(7)`): HUP, INT, QUIT, USR1, USR2, ALRM, TERM,
/// STKFLT, XCPU, XFSZ, VTALRM, PROF, IO, PWR, and those of real time. What the kernel says of an error of this process
/// itself is not among them.
const NUMBERS: [i32; 14] = [1, 2, 3, 10, 12, 14, 15, 16, 24, 25, 26, 27, 29, 30];
/// Those of real time, of which the C library keeps the first two.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
/// Signals by which a terminal stops this process: TSTP (Ctrl-Z), TTIN. TTOU stops it as it stops any other: who changes the
/// terminal from the background would be told so again and again.
const STOPS: [i32; 2] = [20, 21];

/// Signals sent to this process, instead of what they would do to it.
#[derive(Debug)]
pub struct Signals {
    streams: Vec<(i32, Signal)>,
    stops: Vec<Signal>,
    window: Signal,
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The terminal has another size.
    Window,
    /// The terminal wants this process to [stop](terminal::stop).
    Stop,
    /// One that is meant for the process.
    Signal(i32),
}

impl Signals {
    /// Takes the signals over, for the rest of this process's life.
    ///
    /// # Errors
    /// As `sigaction(2)`.
    pub fn take() -> io::Result<Self> {
        let mut streams = Vec::new();
        for number in NUMBERS.into_iter().chain(REAL_TIME) {
            streams.push((number, signal(SignalKind::from_raw(number))?));
        }
        let mut stops = Vec::with_capacity(STOPS.len());
        for number in STOPS {
            stops.push(signal(SignalKind::from_raw(number))?);
        }
        Ok(Self {
            streams,
            stops,
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
            for stream in &mut self.stops {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(Event::Stop);
                }
            }
            self.window.poll_recv(context).map(|_| Event::Window)
        })
        .await
    }

    /// Waits for a signal that would have ended this process; gives its number.
    pub async fn interrupted(&mut self) -> i32 {
        loop {
            match self.next().await {
                Event::Signal(number) => return number,
                Event::Stop => terminal::stop(),
                Event::Window => {}
            }
        }
    }
}
