//! Writing a layer: data first, as it arrives, then metadata, then the superblock.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use crate::format::BLOCK_SIZE;
use crate::plan::Plan;
use crate::tree::{FileData, Tree};

const BUFFER: usize = 256 * 1024;

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The output failed.
    #[error("the image cannot be written")]
    Io(#[from] io::Error),
    /// Block addresses have 32 bits.
    #[error("the image would exceed 16 TiB")]
    TooLarge,
    /// More than [`LayerWriter::with_limit`] allows.
    #[error("the image would exceed {0} bytes")]
    Limit(u64),
}

/// Writes one self-contained image to an empty output.
///
/// The output must read as zeros where nothing was written: holes are skipped by seeking.
#[derive(Debug)]
pub struct LayerWriter<W: Write + Seek> {
    out: BufWriter<W>,
    /// Bytes written or skipped.
    position: u64,
    /// Most bytes of the image.
    limit: u64,
}

impl<W: Write + Seek> LayerWriter<W> {
    /// Starts an image at the output's beginning.
    pub fn new(out: W) -> Result<Self, WriteError> {
        let mut out = BufWriter::with_capacity(BUFFER, out);
        out.seek(SeekFrom::Start(BLOCK_SIZE))?;
        Ok(Self {
            out,
            position: BLOCK_SIZE,
            limit: u64::MAX,
        })
    }

    /// Lets the image grow to `bytes` and no further, metadata and padding included.
    #[must_use]
    pub fn with_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Starts the data of the next file.
    pub fn file(&mut self) -> Result<FileWriter<'_, W>, WriteError> {
        self.align()?;
        Ok(FileWriter {
            start: self.position,
            writer: self,
        })
    }

    /// Writes the metadata of `tree`, whose files were written here, and the superblock; gives the output
    /// back, flushed but not synced.
    pub fn finish(mut self, tree: &Tree, uuid: [u8; 16]) -> Result<W, WriteError> {
        self.align()?;
        let meta_block = block_of(self.position)?;
        let plan = Plan::new(tree).map_err(|_| WriteError::TooLarge)?;
        let blocks = meta_block
            .checked_add(plan.blocks())
            .ok_or(WriteError::TooLarge)?;
        self.check(u64::from(blocks) * BLOCK_SIZE)?;
        plan.write(meta_block, &[0], &mut self.out)?;
        self.out.seek(SeekFrom::Start(0))?;
        self.out
            .write_all(&plan.superblock(meta_block, blocks, uuid).block())?;
        self.out
            .into_inner()
            .map_err(|error| WriteError::Io(error.into_error()))
    }

    fn check(&self, end: u64) -> Result<(), WriteError> {
        if end > self.limit {
            return Err(WriteError::Limit(self.limit));
        }
        Ok(())
    }

    fn align(&mut self) -> Result<(), WriteError> {
        let aligned = self.position.next_multiple_of(BLOCK_SIZE);
        let padding = usize::try_from(aligned - self.position).map_err(|_| WriteError::TooLarge)?;
        self.out.write_all(&[0; crate::format::BLOCK][..padding])?;
        self.position = aligned;
        Ok(())
    }
}

/// The data of one file, in order.
#[derive(Debug)]
pub struct FileWriter<'w, W: Write + Seek> {
    writer: &'w mut LayerWriter<W>,
    start: u64,
}

impl<W: Write + Seek> FileWriter<'_, W> {
    /// Appends bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
        let end = self.writer.position.saturating_add(bytes.len() as u64);
        self.writer.check(end)?;
        self.writer.out.write_all(bytes)?;
        self.writer.position = end;
        Ok(())
    }

    /// Appends `len` zeros that take no space in the output.
    pub fn skip(&mut self, len: u64) -> Result<(), WriteError> {
        if len == 0 {
            return Ok(());
        }
        let end = self.writer.position.saturating_add(len);
        self.writer.check(end)?;
        block_of(end)?;
        self.writer.out.seek(SeekFrom::Start(end))?;
        self.writer.position = end;
        Ok(())
    }

    /// Where the data is, for the tree.
    pub fn finish(self) -> Result<FileData, WriteError> {
        let size = self.writer.position - self.start;
        let block = if size == 0 { 0 } else { block_of(self.start)? };
        Ok(FileData {
            layer: 0,
            block,
            size,
        })
    }
}

fn block_of(position: u64) -> Result<u32, WriteError> {
    u32::try_from(position / BLOCK_SIZE).map_err(|_| WriteError::TooLarge)
}
