//! An operation that reads a tar of the user's: compressed or not, as with `image import`.

use std::fs::File;
use std::io::{self, BufReader, Cursor, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;
use container_archive::operation::Operation;
use container_archive::tar::BROKEN_OFF;
use container_compression::{Compression, HEAD, decoder, head};

use super::operation::{Owner, done, operate, pipe};
use crate::connection::Context;
use crate::failure::Failure;

/// Does `operation` as [`operate`] does, with the tar that `source` holds; messages call it `name`.
///
/// # Errors
/// Those of [`operate`], and what is wrong with a compressed stream.
pub async fn operate_on_tar(
    context: &Context,
    owner: Owner<'_>,
    operation: &Operation,
    source: OwnedFd,
    name: &str,
    output: OwnedFd,
) -> Result<(), Failure> {
    let source = File::from(source);
    // A file is handed over as it is: nothing passes through this process.
    if is_plain_file(&source).with_context(|| name.to_owned())? {
        return operate(context, owner, operation, Some(source.into()), output).await;
    }
    let (tar, sink) = pipe()?;
    let called = name.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || unpack(source, sink.into(), &called));
    let operated = operate(context, owner, operation, Some(tar), output).await;
    match done(unpacking, operated.is_err()).await? {
        // A tar that ends too early is no reason: a damaged stream is why.
        Some(Err(failure)) if !matches!(failure, Failure::BrokenPipe) => Err(failure),
        _ => operated,
    }
}

/// Whether `source` is a file that holds, from where it stands, a tar that is not compressed.
fn is_plain_file(source: &File) -> io::Result<bool> {
    if !source.metadata()?.is_file() {
        return Ok(false);
    }
    let position = rustix::fs::tell(source)?;
    let mut head = [0; HEAD];
    let count = source.read_at(&mut head, position)?;
    Ok(Compression::of(&head[..count]) == Compression::None)
}

/// Writes what `source` holds to `sink`, unpacked.
fn unpack(mut source: File, mut sink: File, name: &str) -> Result<(), Failure> {
    let head = head(&mut source).with_context(|| name.to_owned())?;
    let copied = if Compression::of(&head) == Compression::None {
        // The kernel moves the rest from one descriptor to the other.
        sink.write_all(&head)
            .and_then(|()| io::copy(&mut source, &mut sink))
    } else {
        let whole = Cursor::new(head).chain(BufReader::new(source));
        decoder(whole).and_then(|mut tar| io::copy(&mut tar, &mut sink))
    };
    match copied {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::BrokenPipe),
        // All members may have been sent, and the reader would take them for good.
        Err(error) => {
            let _ = sink.write_all(&BROKEN_OFF);
            Err(anyhow::Error::new(error).context(name.to_owned()).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek as _, SeekFrom};
    use std::process::Command;

    use super::*;

    /// What `program` makes of `text`, in a file.
    fn compressed(program: &str, text: &[u8]) -> File {
        let mut plain = tempfile::tempfile().unwrap();
        plain.write_all(text).unwrap();
        plain.rewind().unwrap();
        let packed = tempfile::tempfile().unwrap();
        let mut command = Command::new(program);
        let command = command.arg("-c").stdin(plain);
        let status = command.stdout(packed.try_clone().unwrap()).status();
        assert!(status.unwrap().success(), "{program}");
        let mut packed = packed;
        packed.rewind().unwrap();
        packed
    }

    fn unpacked(source: File) -> Result<Vec<u8>, Failure> {
        let mut sink = tempfile::tempfile().unwrap();
        unpack(source, sink.try_clone().unwrap(), "x.tar")?;
        let mut bytes = Vec::new();
        sink.rewind().unwrap();
        sink.read_to_end(&mut bytes).unwrap();
        Ok(bytes)
    }

    #[test]
    fn any_compression_gives_the_tar() {
        let text = b"what a tar holds\n".repeat(10_000);
        for program in ["cat", "gzip", "bzip2", "xz", "zstd"] {
            let source = if program == "cat" {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(&text).unwrap();
                file.rewind().unwrap();
                file
            } else {
                compressed(program, &text)
            };
            assert_eq!(is_plain_file(&source).unwrap(), program == "cat");
            assert_eq!(unpacked(source).unwrap(), text, "{program}");
        }
    }

    #[test]
    fn a_damaged_stream_is_called_by_its_name() {
        let mut source = compressed("gzip", &b"x".repeat(10_000));
        let end = source.seek(SeekFrom::End(0)).unwrap();
        source.set_len(end - 12).unwrap();
        source.rewind().unwrap();
        let Err(Failure::Local(error)) = unpacked(source) else {
            panic!("it is whole");
        };
        assert!(format!("{error:#}").starts_with("x.tar: "), "{error:#}");
    }

    /// A stream whose checksum does not fit has given all its bytes by then.
    #[test]
    fn who_reads_a_damaged_stream_is_told() {
        let text = b"x".repeat(10_000);
        for (program, from_end) in [("gzip", 6), ("bzip2", 6), ("xz", 40), ("zstd", 2)] {
            let source = compressed(program, &text);
            let at = source.metadata().unwrap().len() - from_end;
            let mut byte = [0];
            source.read_exact_at(&mut byte, at).unwrap();
            source.write_all_at(&[!byte[0]], at).unwrap();
            let mut sink = tempfile::tempfile().unwrap();
            assert!(
                unpack(source, sink.try_clone().unwrap(), "x.tar").is_err(),
                "{program}"
            );
            let mut bytes = Vec::new();
            sink.rewind().unwrap();
            sink.read_to_end(&mut bytes).unwrap();
            assert!(bytes.ends_with(&BROKEN_OFF), "{program}");
        }
    }
}
