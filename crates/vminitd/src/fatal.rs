//! The end of the guest. PID 1 must not return: the machine is reset, and the VMM, which runs with
//! `-no-reboot`, exits.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use container_api::Chain;
use rustix::system::{RebootCommand, reboot};

/// Prints `error` with its causes on the console and resets the machine.
pub fn die(error: &(dyn Error + 'static)) -> ! {
    say(&Chain(error).to_string());
    power_off()
}

/// Resets the machine. Should that fail, the exit of PID 1 makes the kernel panic and reset.
pub fn power_off() -> ! {
    if let Err(error) = reboot(RebootCommand::Restart) {
        say(&format!("cannot reset the machine: {error}"));
    }
    std::process::exit(1)
}

/// Set in clones of the agent: their end is not the machine's.
static CHILD: AtomicBool = AtomicBool::new(false);

/// A panic of the agent must end the machine too, with its reason on the console. A child just aborts.
pub fn reset_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        say(&panic.to_string());
        if !CHILD.load(Ordering::Relaxed) {
            power_off();
        }
    }));
}

/// Tells that this process is a clone of the agent.
pub fn becomes_child() {
    CHILD.store(true, Ordering::Relaxed);
}

/// One line on the console, by way of the kernel's log: the console itself may come later than PID 1. Its level,
/// critical, passes `quiet`.
pub fn say(line: &str) {
    let logged = File::options()
        .write(true)
        .open("/dev/kmsg")
        .and_then(|mut log| log.write_all(format!("<2>vminitd: {line}\n").as_bytes()));
    if logged.is_err() {
        // Nothing is left to tell when the console itself fails.
        let _ = writeln!(std::io::stderr(), "vminitd: {line}");
    }
}
