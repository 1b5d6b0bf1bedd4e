use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Record;

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;

/// The last lines of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where they begin, in bytes from the start of the file.
    pub start: u64,
    /// How many they are: fewer than were wanted when the file has no more.
    pub lines: u64,
}

/// The last `lines` lines of output in `file`. The file is read from its
/// end, in blocks, so that a long log costs no more than a short one. An unfinished last line counts.
///
/// # Errors
/// As `pread(2)`.
pub fn tail(file: &File, lines: u64) -> io::Result<Tail> {
    let (mut cut, mut last) = (true, true);
    // What follows the last newline is no whole record, and so nothing to show. A record ends a line when it says so,
    // or when nothing follows it.
    backwards(file, lines, |line| {
        !std::mem::take(&mut cut)
            && Record::parse(line)
                .is_some_and(|record| std::mem::take(&mut last) || record.ends_line)
    })
}

/// As [`tail`], for a file of plain text.
///
/// # Errors
/// As `pread(2)`.
pub fn tail_plain(file: &File, lines: u64) -> io::Result<Tail> {
    let mut last = true;
    // What follows the last newline is a line only where there is something.
    backwards(file, lines, |line| {
        !std::mem::take(&mut last) || !line.is_empty()
    })
}

/// The last lines, of which at most `lines` count.
fn backwards(file: &File, lines: u64, mut counts: impl FnMut(&[u8]) -> bool) -> io::Result<Tail> {
    let mut start = file.metadata()?.len();
    if lines == 0 {
        return Ok(Tail { start, lines });
    }
    // The line that lies across `start`: its beginning is in the next block.
    let mut across = Vec::new();
    let mut seen = 0;
    while start > 0 {
        let length = start.min(BLOCK);
        start -= length;
        let mut block = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut across);
        let mut end = block.len();
        while let Some(newline) = block[..end].iter().rposition(|&byte| byte == b'\n') {
            if counts(&block[newline + 1..end]) {
                if seen == lines {
                    // This line stands before those that are wanted.
                    let skipped = u64::try_from(end + 1).map_err(io::Error::other)?;
                    return Ok(Tail {
                        start: start + skipped,
                        lines,
                    });
                }
                seen += 1;
            }
            end = newline;
        }
        block.truncate(end);
        across = block;
    }
    if counts(&across) {
        if seen == lines {
            let start = u64::try_from(across.len() + 1).map_err(io::Error::other)?;
            return Ok(Tail { start, lines });
        }
        seen += 1;
    }
    Ok(Tail {
        start: 0,
        lines: seen,
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::super::{Parser, Stream, frame};
    use super::*;

    fn last_lines(output: &[u8], lines: u64) -> Vec<u8> {
        let mut log = Vec::new();
        frame(Timestamp::UNIX_EPOCH, Stream::Stdout, output, &mut log);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&log).unwrap();
        let start = usize::try_from(tail(&file, lines).unwrap().start).unwrap();
        let mut read = Vec::new();
        Parser::default().feed(&log[start..], |record| {
            read.extend_from_slice(record.content);
            if record.ends_line {
                read.push(b'\n');
            }
        });
        read
    }

    #[test]
    fn small_logs() {
        assert_eq!(last_lines(b"", 3), b"");
        assert_eq!(last_lines(b"a\nb\nc\n", 0), b"");
        assert_eq!(last_lines(b"a\nb\nc\n", 1), b"c\n");
        assert_eq!(last_lines(b"a\nb\nc\n", 2), b"b\nc\n");
        assert_eq!(last_lines(b"a\nb\nc\n", 9), b"a\nb\nc\n");
        assert_eq!(last_lines(b"a\nb\nc", 2), b"b\nc");
    }

    #[test]
    fn a_record_that_is_cut_off_counts_as_little_as_it_is_shown() {
        let mut log = Vec::new();
        frame(Timestamp::UNIX_EPOCH, Stream::Stdout, b"a\nb\n", &mut log);
        let begin = log.len() / 2;
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&log[..log.len() - 1]).unwrap();
        for wanted in [1, 2] {
            assert_eq!(tail(&file, wanted).unwrap(), Tail { start: 0, lines: 1 });
        }
        // Terminated by the next run, it does.
        file.write_all(b"\n").unwrap();
        let start = u64::try_from(begin).unwrap();
        assert_eq!(tail(&file, 1).unwrap(), Tail { start, lines: 1 });
    }

    #[test]
    fn plain_text() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"a\n\nb\nc").unwrap();
        for (wanted, start, lines) in [
            (0, 6, 0),
            (1, 5, 1),
            (2, 3, 2),
            (3, 2, 3),
            (4, 0, 4),
            (9, 0, 4),
        ] {
            assert_eq!(tail_plain(&file, wanted).unwrap(), Tail { start, lines });
        }
        file.write_all(b"\n").unwrap();
        assert_eq!(tail_plain(&file, 1).unwrap(), Tail { start: 5, lines: 1 });
    }

    #[test]
    fn a_line_of_many_records_is_one_line() {
        let mut output = b"first\n".to_vec();
        output.resize(output.len() + 200_000, b'x');
        output.push(b'\n');
        assert_eq!(last_lines(&output, 1).len(), 200_001);
        assert_eq!(last_lines(&output, 2), output);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn it_is_what_counting_from_the_start_gives(
            lines in proptest::collection::vec(0_usize..20_000, 1..12), wanted in 0_usize..14,
        ) {
            let output: Vec<Vec<u8>> = lines.iter().map(|&length| {
                let mut line = vec![b'x'; length];
                line.push(b'\n');
                line
            }).collect();
            let expected = output[output.len().saturating_sub(wanted)..].concat();
            let wanted = u64::try_from(wanted).unwrap();
            prop_assert_eq!(last_lines(&output.concat(), wanted), expected);
        }
    }
}
