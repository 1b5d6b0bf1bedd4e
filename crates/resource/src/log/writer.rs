use std::io::Write as _;

use jiff::Timestamp;

use super::{MAX_CONTENT, Stream};

/// Appends `bytes`, output of `stream` at `time`, to `out` as records. It keeps no state: a rest without newline
/// becomes a `P` record of its own.
pub fn frame(time: Timestamp, stream: Stream, bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() {
        return;
    }
    let mut header = Vec::with_capacity(48);
    // Writing to a Vec cannot fail.
    let _ = write!(header, "{time:.9} {} ", stream.name());
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let (content, ends_line) = match line.strip_suffix(b"\n") {
            Some(content) => (content, true),
            None => (line, false),
        };
        let mut rest = content;
        loop {
            let (part, after) = rest.split_at(rest.len().min(MAX_CONTENT));
            rest = after;
            let last = rest.is_empty();
            out.extend_from_slice(&header);
            out.extend_from_slice(if last && ends_line { b"F " } else { b"P " });
            out.extend_from_slice(part);
            out.push(b'\n');
            if last {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_look_as_kubernetes_writes_them() {
        let time = Timestamp::from_nanosecond(1_479_803_099_000_000_123).unwrap();
        let mut out = Vec::new();
        frame(time, Stream::Stdout, b"one\n\ntwo", &mut out);
        frame(time, Stream::Stderr, b"!\n", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "2016-11-22T08:24:59.000000123Z stdout F one\n\
             2016-11-22T08:24:59.000000123Z stdout F \n\
             2016-11-22T08:24:59.000000123Z stdout P two\n\
             2016-11-22T08:24:59.000000123Z stderr F !\n"
        );
    }
}
