//! Files with one entry to a line: `--env-file`, `--label-file`.

use std::io::{self, BufRead, Read};

/// The largest file, in bytes.
const LIMIT: u64 = 1 << 20;

/// Why a file of lines cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LineFileError<E: std::error::Error + 'static> {
    /// It cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// More than 1 MiB.
    #[error("it is larger than 1 MiB")]
    TooLarge,
    /// A line that is not UTF-8.
    #[error("line {0} is not UTF-8")]
    Encoding(usize),
    /// What the line says is wrong.
    #[error("line {0}")]
    Line(usize, #[source] E),
}

/// What `parse` makes of each line, as Docker reads such files: white space before an entry, `#` comments, blank lines
/// and the byte order mark of an editor are left out; quotes are part of the entry. The file is read as a stream, so it
/// may be a pipe.
///
/// # Errors
/// When it cannot be read, is too large, or a line is wrong.
pub fn parse<T, E: std::error::Error + 'static>(
    file: impl BufRead,
    mut parse: impl FnMut(&str) -> Result<T, E>,
) -> Result<Vec<T>, LineFileError<E>> {
    let mut bytes = Vec::new();
    file.take(LIMIT + 1)
        .read_to_end(&mut bytes)
        .map_err(LineFileError::Read)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LIMIT) {
        return Err(LineFileError::TooLarge);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut entries = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line)
            .map_err(|_| LineFileError::Encoding(number))?
            .trim_start();
        if !line.is_empty() && !line.starts_with('#') {
            entries.push(parse(line).map_err(|error| LineFileError::Line(number, error))?);
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, LineFileError<std::num::ParseIntError>> {
        parse(bytes, |line| match line {
            "wrong" => Err("x".parse::<u8>().unwrap_err()),
            line => Ok(line.to_owned()),
        })
    }

    #[test]
    fn comments_ends_and_marks_are_left_out_and_quotes_are_not() {
        let file = b"\xef\xbb\xbf# one\r\n\r\n  A=1 \r\nB=\"x # y\"\n\tC='#'";
        assert_eq!(read(file).unwrap(), ["A=1 ", "B=\"x # y\"", "C='#'"]);
        assert_eq!(read(b"").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let words = |bytes: &[u8]| read(bytes).unwrap_err().to_string();
        assert_eq!(words(b"a\nwrong\n"), "line 2");
        assert_eq!(words(b"a\n\nb\xff\n"), "line 3 is not UTF-8");
        let endless = parse(io::BufReader::new(io::repeat(b'a')), |line: &str| {
            Ok::<_, std::fmt::Error>(line.to_owned())
        });
        assert!(matches!(endless, Err(LineFileError::TooLarge)));
    }
}
