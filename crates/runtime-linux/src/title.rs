//! The command line that process lists show.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

/// Puts `words` in the place of the arguments that the process was started with, as far as there is room.
///
/// # Errors
/// Where the kernel does not tell where they are, or forbids to write there (`proc_pid_stat(5)`, `proc_pid_mem(5)`).
pub fn set(words: &[&OsStr]) -> io::Result<()> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (start, end) = arguments(&stat).ok_or(io::ErrorKind::InvalidData)?;
    let room = usize::try_from(end.saturating_sub(start)).map_err(io::Error::other)?;
    let mut line = words
        .iter()
        .map(|word| word.as_bytes())
        .collect::<Vec<_>>()
        .join(&0);
    // A last byte that is not zero would tell the kernel to look further.
    line.resize(room.saturating_sub(1), 0);
    let memory = File::options().write(true).open("/proc/self/mem")?;
    memory.write_all_at(&line, start)
}

/// `arg_start` and `arg_end`, fields 48 and 49. The second field, the name, may have spaces.
fn arguments(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(48 - 3);
    let start = fields.next()?.parse().ok().filter(|start| *start > 0)?;
    Some((start, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_are_shown_as_far_as_there_is_room() {
        let before = std::fs::read("/proc/self/cmdline").unwrap();
        set(&["a".as_ref(), "b c".as_ref()]).unwrap();
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        assert!(shown.starts_with(b"a\0b c\0"), "{shown:?}");
        assert_eq!(shown.len(), before.len());
        let long = "x".repeat(before.len() * 2);
        set(&[long.as_ref()]).unwrap();
        let shown = std::fs::read("/proc/self/cmdline").unwrap();
        assert_eq!(shown.len(), before.len());
    }

    #[test]
    fn names_with_spaces_and_brackets_mislead_nobody() {
        let zeroes = ["0"; 45].join(" ");
        let stat = format!("1 (a) b) {zeroes} 7 9 0");
        assert_eq!(arguments(&stat), Some((7, 9)));
        assert_eq!(arguments("1 (a) S 0"), None);
    }
}
