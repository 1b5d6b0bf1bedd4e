use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::Record;

/// Bytes read at once.
const BLOCK: u64 = 64 << 10;

/// Where the last `lines` lines of output begin in `file`, in bytes from its start. The file is read from its
/// end, in blocks, so that a long log costs no more than a short one. An unfinished last line counts.
///
/// # Errors
/// As `pread(2)`.
pub fn tail(file: &File, lines: u64) -> io::Result<u64> {
    let size = file.metadata()?.len();
    if lines == 0 {
        return Ok(size);
    }
    let mut start = size;
    // The record that lies across `start`: its beginning is in the next block.
    let mut across = Vec::new();
    let mut seen = 0;
    let mut last = true;
    while start > 0 {
        let length = start.min(BLOCK);
        start -= length;
        let mut block = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        file.read_exact_at(&mut block, start)?;
        block.append(&mut across);
        let mut end = block.len();
        while let Some(newline) = block[..end].iter().rposition(|&byte| byte == b'\n') {
            let record = Record::parse(&block[newline + 1..end]);
            if counts(record, &mut last) {
                seen += 1;
                if seen > lines {
                    // The record between `newline` and `end` ends the line before those that are wanted.
                    let skipped = u64::try_from(end + 1).map_err(io::Error::other)?;
                    return Ok(start + skipped);
                }
            }
            end = newline;
        }
        block.truncate(end);
        across = block;
    }
    if counts(Record::parse(&across), &mut last) && seen == lines {
        return u64::try_from(across.len() + 1).map_err(io::Error::other);
    }
    Ok(0)
}

/// Whether a record ends a line of output; the last record of the file always does.
fn counts(record: Option<Record<'_>>, last: &mut bool) -> bool {
    record.is_some_and(|record| std::mem::take(last) || record.ends_line)
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
        let start = usize::try_from(tail(&file, lines).unwrap()).unwrap();
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
