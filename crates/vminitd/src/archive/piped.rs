//! A tree that is read in one thread and made again in another, as a tar between them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};

use container_archive::pack::{Contents, PackError, Packer};
use container_archive::tar::Reader;
use container_archive::told::Shortfall;
use rustix::pipe::{PipeFlags, pipe_with};

use super::error::ArchiveError;

/// Has `take` read what `pack` packs, with `contents`; gives what it makes of that. A failure of either ends the other.
pub fn piped<T>(
    contents: Contents,
    pack: impl FnOnce(&mut Packer<BufWriter<File>>) -> Result<(), PackError> + Send + 'static,
    take: impl FnOnce(&mut Reader<BufReader<File>>) -> Result<T, ArchiveError>,
) -> Result<T, ArchiveError> {
    let ends = pipe_with(PipeFlags::CLOEXEC);
    let (reader, writer) = ends.map_err(|error| ArchiveError::Layers(error.into()))?;
    let packer = std::thread::Builder::new().spawn(move || -> Result<Shortfall, PackError> {
        let mut packer = Packer::new(BufWriter::new(File::from(writer)), contents);
        pack(&mut packer)?;
        let shortfall = packer.shortfall;
        packer.finish()?;
        Ok(shortfall)
    });
    let packer = packer.map_err(ArchiveError::Layers)?;
    let mut reader = Reader::new(BufReader::new(File::from(reader)));
    let taken = take(&mut reader);
    // Whoever writes learns that nobody reads any more.
    drop(reader);
    // A thread that panicked has written no whole archive.
    let packed = packer
        .join()
        .unwrap_or(Err(PackError::Write(io::ErrorKind::Other.into())));
    match packed {
        // The other side has a better reason.
        Err(PackError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => taken,
        Err(error) => Err(error.into()),
        Ok(shortfall) => {
            for line in shortfall.lines() {
                eprintln!("{line}");
            }
            taken
        }
    }
}
