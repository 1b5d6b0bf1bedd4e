//! The merged root of many layers, as metadata over a composed disk.

use std::io::Write;

use crate::image::{Image, ReadError};
use crate::layer::WriteError;
use crate::plan::Plan;
use crate::source::ReadAt;
use crate::tree::{Limits, Tree, TreeError};

/// Most layers of one view, as many as an image may have with Docker.
pub const MAX_LAYERS: usize = 127;

/// Why layers cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// More than [`MAX_LAYERS`].
    #[error("the image has {0} layers, more than {MAX_LAYERS}")]
    TooManyLayers(usize),
    /// A layer image is damaged. Counted from 0, the lowest.
    #[error("layer {index} cannot be read")]
    Layer {
        /// Which one.
        index: usize,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// All layers together exceed a limit.
    #[error("layer {index} cannot be applied")]
    Apply {
        /// Which one.
        index: usize,
        /// Why.
        #[source]
        source: TreeError,
    },
}

/// A root file system whose file data lies in layer images.
#[derive(Debug)]
pub struct View {
    tree: Tree,
    /// Blocks of each layer's image, lowest first.
    layers: Vec<u32>,
}

impl View {
    /// Merges layers, the lowest first.
    pub fn merge<R: ReadAt>(layers: &[Image<R>], limits: Limits) -> Result<Self, MergeError> {
        if layers.len() > MAX_LAYERS {
            return Err(MergeError::TooManyLayers(layers.len()));
        }
        let mut tree = Tree::new(limits);
        let mut blocks = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            // `index` is below `MAX_LAYERS`.
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let upper = layer
                .tree(limits, number)
                .map_err(|source| MergeError::Layer { index, source })?;
            tree.apply(&upper)
                .map_err(|source| MergeError::Apply { index, source })?;
            blocks.push(layer.blocks());
        }
        // A view is complete: nothing lies below it.
        tree.forget_implicit();
        Ok(Self {
            tree,
            layers: blocks,
        })
    }

    /// The merged root.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Writes the view's image, a whole number of blocks. The composed disk is this image, then each layer's.
    pub fn write(&self, out: &mut impl Write, uuid: [u8; 16]) -> Result<(), WriteError> {
        let plan = Plan::new(&self.tree).map_err(|_| WriteError::TooLarge)?;
        let mut end = plan.blocks().checked_add(1).ok_or(WriteError::TooLarge)?;
        let mut bases = Vec::with_capacity(self.layers.len());
        for blocks in &self.layers {
            bases.push(end);
            end = end.checked_add(*blocks).ok_or(WriteError::TooLarge)?;
        }
        out.write_all(&plan.superblock(1, end, uuid).block())?;
        plan.write(1, &bases, out)?;
        Ok(())
    }
}
