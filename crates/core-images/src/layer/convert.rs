//! One layer's tar stream into one EROFS image.

use std::io::{self, BufReader, Read, Seek, Write};

use container_resource::digest::Digest;
use erofs::{LayerWriter, Limits, Tree, TreeError, WriteError};

use super::hashing::Hashing;
use super::member::{EnterError, Meaning, PathError, enter, metadata};
use container_archive::tar::{self, Kind, Member, TarError};
use container_compression as compression;

/// What a conversion found out.
#[derive(Debug, PartialEq, Eq)]
pub struct Converted {
    /// Of the compressed stream.
    pub blob: Digest,
    /// Of the tar stream.
    pub diff_id: Digest,
    /// Members of the tar stream.
    pub entries: u64,
}

/// Why a layer cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The stream failed.
    #[error("the layer cannot be read")]
    Read(#[source] io::Error),
    /// The compressed data is cut off, damaged or followed by something else.
    #[error("the layer cannot be decompressed")]
    Decompress(#[source] io::Error),
    /// Not a tar archive, or one with two meanings.
    #[error("the layer is no valid tar archive")]
    Tar(#[from] TarError),
    /// A path that no layer may have.
    #[error("the layer's member {path:?} is refused")]
    Path {
        /// As shown to people.
        path: String,
        /// What is wrong.
        source: PathError,
    },
    /// A member that does not fit into the tree.
    #[error("the layer's member {path:?} cannot be kept")]
    Member {
        /// As shown to people.
        path: String,
        /// What is wrong.
        source: EnterError,
    },
    /// More bytes than allowed: of the tar stream with its holes, or of the image.
    #[error("the layer expands to more than {0} bytes")]
    Budget(u64),
    /// The output failed.
    #[error("the unpacked layer cannot be written")]
    Write(#[source] WriteError),
    /// No byte at all.
    #[error("the layer is empty: it is not even a tar archive")]
    Empty,
}

impl From<WriteError> for ConvertError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Limit(bytes) => Self::Budget(bytes),
            error => Self::Write(error),
        }
    }
}

impl ConvertError {
    /// Whether the disk is to blame, and not the layer.
    pub fn is_out_of_space(&self) -> bool {
        let Self::Write(WriteError::Io(error)) = self else {
            return false;
        };
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

const BUFFER: usize = 128 * 1024;
/// Zeros that are left out of the image rather than written, where so many stand together. A multiple of the block.
const HOLE: usize = 32 * 1024;
/// Most bytes of a path that are shown.
const MAX_SHOWN: usize = 256;

/// Reads a compressed layer to its end and writes its image. `budget` bounds the decompressed bytes, the files with
/// their holes, and the image.
pub fn convert<W: Write + Seek>(
    blob: impl Read,
    image: W,
    budget: u64,
    limits: Limits,
) -> Result<Converted, ConvertError> {
    let mut blob = BufReader::with_capacity(BUFFER, Hashing::new(blob));
    let decompressed = compression::decoder(&mut blob).map_err(ConvertError::Decompress)?;
    let mut stream = Hashing::new(decompressed.take(budget.saturating_add(1)));
    let mut layer = Layer {
        tree: Tree::new(limits),
        writer: LayerWriter::new(image)?.with_limit(budget),
        buffer: vec![0; BUFFER],
        entries: 0,
    };
    let result = layer.read(&mut stream);
    // The digest is that of the whole stream, whatever stands behind the archive's end.
    let drained = io::copy(&mut stream, &mut io::sink());
    if stream.count() > budget {
        return Err(ConvertError::Budget(budget));
    }
    result.map_err(|error| blame(error, drained.is_err()))?;
    drained.map_err(ConvertError::Decompress)?;
    if stream.count() == 0 {
        return Err(ConvertError::Empty);
    }
    let diff_id = stream.digest();
    drop(stream);
    // What a decompressor leaves behind its last frame belongs to the blob all the same.
    let left = io::copy(&mut blob, &mut io::sink()).map_err(ConvertError::Read)?;
    if left > 0 {
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            "garbage behind the compressed data",
        );
        return Err(ConvertError::Decompress(error));
    }
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&diff_id.bytes()[..16]);
    layer.writer.finish(&layer.tree, uuid)?;
    Ok(Converted {
        blob: blob.get_ref().digest(),
        diff_id,
        entries: layer.entries,
    })
}

/// A failing decompressor reaches the tar reader as a failing stream.
fn blame(error: ConvertError, stream_is_bad: bool) -> ConvertError {
    match error {
        ConvertError::Tar(TarError::Io(error)) if stream_is_bad => ConvertError::Decompress(error),
        other => other,
    }
}

/// A path for people. A hostile one may be longer than a message may be.
fn shown(path: &[u8]) -> String {
    let start = String::from_utf8_lossy(&path[..path.len().min(MAX_SHOWN)]);
    if path.len() > MAX_SHOWN {
        format!("{start}… ({} bytes)", path.len())
    } else {
        start.into_owned()
    }
}

static ZEROS: [u8; HOLE] = [0; HOLE];

struct Layer<W: Write + Seek> {
    tree: Tree,
    writer: LayerWriter<W>,
    buffer: Vec<u8>,
    entries: u64,
}

impl<W: Write + Seek> Layer<W> {
    fn read(&mut self, stream: impl Read) -> Result<(), ConvertError> {
        let mut reader = tar::Reader::new(stream);
        while let Some(member) = reader.next_member()? {
            self.entries += 1;
            self.member(&mut reader, &member)?;
        }
        Ok(())
    }

    fn member<R: Read>(
        &mut self,
        reader: &mut tar::Reader<R>,
        member: &Member,
    ) -> Result<(), ConvertError> {
        let shown = || shown(&member.path);
        let meaning = Meaning::of(&member.path).map_err(|source| ConvertError::Path {
            path: shown(),
            source,
        })?;
        let entered = match meaning {
            Meaning::Ignored => Ok(()),
            Meaning::Whiteout(path) => self.tree.insert_whiteout(&path).map_err(EnterError::from),
            Meaning::Opaque(path) => self.tree.insert_opaque(&path).map_err(EnterError::from),
            Meaning::Entry(path) if member.kind == Kind::File => {
                let data = self.data(reader, member)?;
                self.file(&path, member, data).map_err(EnterError::from)
            }
            Meaning::Entry(path) => enter(&mut self.tree, &path, member),
        };
        entered.map_err(|source| ConvertError::Member {
            path: shown(),
            source,
        })
    }

    fn file(
        &mut self,
        path: &[u8],
        member: &Member,
        data: erofs::FileData,
    ) -> Result<(), TreeError> {
        self.tree
            .insert(path, metadata(member)?, erofs::Kind::File(data))
            .map(drop)
    }

    fn data<R: Read>(
        &mut self,
        reader: &mut tar::Reader<R>,
        member: &Member,
    ) -> Result<erofs::FileData, ConvertError> {
        let mut file = self.writer.file()?;
        let whole = [tar::Run {
            offset: 0,
            length: member.size,
        }];
        let mut position = 0;
        for run in member.sparse.as_deref().unwrap_or(&whole) {
            // Maps are checked: runs ascend within the size.
            let hole = run.offset - position;
            file.skip(hole)?;
            let mut left = run.length;
            while left > 0 {
                let want = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
                reader
                    .read_exact(&mut self.buffer[..want])
                    .map_err(TarError::from)?;
                for piece in self.buffer[..want].chunks(HOLE) {
                    if *piece == ZEROS {
                        file.skip(HOLE as u64)?;
                    } else {
                        file.write(piece)?;
                    }
                }
                left -= want as u64;
            }
            position = run.offset + run.length;
        }
        file.skip(member.size - position)?;
        Ok(file.finish()?)
    }
}
