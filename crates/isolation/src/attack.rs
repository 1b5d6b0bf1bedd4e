//! For tests of confinement: a process that tries what one that was taken over would.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};

/// The last line of a child's report.
const END: &str = "end";

/// What an act gives: 0, or the number of the error.
pub type Answer = i32;

/// One system call, made by its number.
#[must_use]
pub fn call(number: libc::c_long, arguments: [usize; 6]) -> Answer {
    let [one, two, three, four, five, six] = arguments;
    // SAFETY: what the tests pass are numbers, null, or pointers to what outlives the call.
    let result = unsafe { libc::syscall(number, one, two, three, four, five, six) };
    if result < 0 {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else {
        0
    }
}

/// The answer of what is done by more than a call.
pub fn answer<T>(result: io::Result<T>) -> Answer {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

/// A number as a system call takes it.
#[must_use]
pub fn word(number: i32) -> usize {
    // Registers are as wide as an address, and numbers keep their sign in them.
    let wide = isize::try_from(number).unwrap_or_default();
    usize::from_ne_bytes(wide.to_ne_bytes())
}

/// Runs `acts` in a process of its own: what each is called, gave, and was expected to give. Gives a line for each that went
/// otherwise, and what the kernel says of the process (`/proc/<pid>/status`).
///
/// # Panics
/// When the process cannot be made, or does not come to the end of its acts.
pub fn in_a_child(
    acts: impl FnOnce() -> Vec<(&'static str, Answer, Answer)>,
) -> (Vec<String>, String) {
    let pipe = || {
        let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
        let (reader, writer) = pipe.expect("make a pipe");
        (File::from(reader), File::from(writer))
    };
    let ((reader, mut writer), (mut wait, mut proceed)) = (pipe(), pipe());
    // SAFETY: the child is a copy with this thread alone; it runs `acts` and ends without returning.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0);
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(acts));
        let mut text = Vec::new();
        match outcome {
            Ok(answers) => {
                for (name, got, expected) in answers {
                    if got != expected {
                        let _ = writeln!(text, "{name}: {got}, not {expected}");
                    }
                }
            }
            Err(_) => text.extend_from_slice(b"it panicked\n"),
        }
        let _ = writeln!(text, "{END}");
        let _ = writer.write_all(&text);
        let _ = wait.read(&mut [0]);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    // No end of a pipe is waited for: another test's child, forked at the same time, may have the other end of it, too.
    let (mut lines, mut is_whole) = (Vec::new(), false);
    for line in BufReader::new(reader).lines().map_while(Result::ok) {
        if line == END {
            is_whole = true;
            break;
        }
        lines.push(line);
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let told = proceed.write_all(b"x");
    let mut code = 0;
    // SAFETY: waits for the child that was made above.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut code, 0) }, pid);
    told.expect("let it end");
    assert!(is_whole, "{lines:?}");
    (lines, status.expect("read its status"))
}
