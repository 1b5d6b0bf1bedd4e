//! The format of a container's `stdio.log`: that of the Kubernetes container runtime interface.
//!
//! A record is one line, `<RFC 3339 time> <stdout|stderr> <P|F> <content>`. `F` ends a line of output; after `P`
//! the line goes on in a later record of the same stream. So any bytes are kept exactly, a program that prints no
//! newline is shown at once, and a reader never needs more memory than one record.

mod record;
mod tail;
mod writer;

use std::path::{Path, PathBuf};

pub use record::{Parser, Record};
pub use tail::{Tail, tail, tail_plain};
pub use writer::frame;

/// The most bytes of output in one record; a longer line is split.
pub const MAX_CONTENT: usize = 16 << 10;
/// The longest record in bytes: time, stream, tag, their spaces, the content and the newline.
const MAX_RECORD: usize = MAX_CONTENT + 64;

/// Where the file before the last rotation of the log at `path` is: `x.log.1` for `x.log`.
pub fn previous(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Which stream of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Descriptor 1, or the terminal.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

impl Stream {
    /// As it is written in a record.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn output() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\n'), Just(b' '), any::<u8>()];
        proptest::collection::vec(byte, 0..200)
    }

    proptest! {
        #[test]
        fn any_output_comes_back_byte_for_byte(
            writes in proptest::collection::vec((any::<bool>(), output()), 0..12),
            piece in 1_usize..70,
        ) {
            let mut file = Vec::new();
            let mut written = [Vec::new(), Vec::new()];
            for (stderr, bytes) in &writes {
                let stream = if *stderr { Stream::Stderr } else { Stream::Stdout };
                frame(Timestamp::UNIX_EPOCH, stream, bytes, &mut file);
                written[usize::from(*stderr)].extend_from_slice(bytes);
            }
            let mut read = [Vec::new(), Vec::new()];
            let mut parser = Parser::default();
            for piece in file.chunks(piece) {
                parser.feed(piece, |record| {
                    let output = &mut read[usize::from(record.stream == Stream::Stderr)];
                    output.extend_from_slice(record.content);
                    if record.ends_line {
                        output.push(b'\n');
                    }
                });
            }
            prop_assert_eq!(read, written);
        }
    }

    #[test]
    fn long_lines_are_split_and_binary_is_kept() {
        let mut output: Vec<u8> = (0..=255)
            .cycle()
            .filter(|&b| b != b'\n')
            .take(100_000)
            .collect();
        output.push(b'\n');
        let mut file = Vec::new();
        frame(Timestamp::UNIX_EPOCH, Stream::Stdout, &output, &mut file);
        let mut read = Vec::new();
        let mut records = 0;
        Parser::default().feed(&file, |record| {
            assert!(record.content.len() <= MAX_CONTENT);
            records += 1;
            read.extend_from_slice(record.content);
        });
        assert_eq!(records, 100_000_usize.div_ceil(MAX_CONTENT));
        assert_eq!(read, output[..100_000]);
    }
}
