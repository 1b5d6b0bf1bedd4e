//! How much a layer may unpack to.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use container_resource::settings::ImageLimits;
use container_resource::size::memory;

use crate::store::Space;

/// A layer may expand to this much however small it is, in bytes.
const SMALL: u64 = 2 << 30;

/// Bounds of unpacking, in bytes where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Of one layer.
    pub layer: u64,
    /// Of all layers of one image.
    pub image: u64,
    /// On the disk, of all layers.
    pub store: u64,
    /// Of a layer, as a multiple of its compressed size.
    pub expansion: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::from(&ImageLimits::default())
    }
}

impl From<&ImageLimits> for Bounds {
    fn from(limits: &ImageLimits) -> Self {
        Self {
            layer: limits.layer_size(),
            image: limits.unpacked_size(),
            store: limits.store_size(),
            expansion: limits.expansion().into(),
        }
    }
}

/// Which bound holds for a layer, and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes that the layer may unpack to.
    pub bytes: u64,
    bound: Bound,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    Layer,
    Expansion(u64),
    Image(u64),
    Store(u64),
    /// What is left to others.
    Space(u64),
}

impl Bounds {
    /// The strictest for a layer of `size` compressed bytes.
    pub(super) fn budget(&self, size: u64, image: &Allowance, used: u64, space: Space) -> Budget {
        let expansion = size.saturating_mul(self.expansion).max(SMALL);
        let bounds = [
            (Bound::Layer, self.layer),
            (Bound::Expansion(self.expansion), expansion),
            (Bound::Image(self.image), image.left()),
            (Bound::Store(self.store), self.store.saturating_sub(used)),
            (Bound::Space(space.reserve), space.free),
        ];
        let budgets = bounds.map(|(bound, bytes)| Budget { bytes, bound });
        // Never empty.
        budgets
            .into_iter()
            .min_by_key(|budget| budget.bytes)
            .unwrap_or(budgets[0])
    }

    /// What the layers of one image may unpack to together.
    pub fn allowance(&self) -> Allowance {
        Allowance {
            bound: self.image,
            left: AtomicU64::new(self.image),
        }
    }
}

impl Budget {
    /// Whether the disk is to blame, and no bound.
    pub fn is_space(&self) -> bool {
        matches!(self.bound, Bound::Space(_))
    }

    /// The key of the configuration that allows more.
    pub fn key(&self) -> &'static str {
        match self.bound {
            Bound::Layer => "image.maxLayerSize",
            Bound::Expansion(_) => "image.maxExpansion",
            Bound::Image(_) => "image.maxUnpackedSize",
            Bound::Store(_) => "image.maxStoreSize",
            Bound::Space(_) => "storage.reserve",
        }
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = memory(self.bytes);
        let key = self.key();
        match self.bound {
            Bound::Layer => write!(f, "{bytes}, the most for one layer ({key})"),
            Bound::Expansion(ratio) => write!(
                f,
                "{bytes}, the most for its size ({key}: {ratio} times that, and {} for small ones)",
                memory(SMALL)
            ),
            Bound::Image(whole) => {
                write!(
                    f,
                    "{bytes}, what is left of {} for its image ({key})",
                    memory(whole)
                )
            }
            Bound::Store(whole) => {
                write!(
                    f,
                    "{bytes}, what is left of {} for all layers ({key})",
                    memory(whole)
                )
            }
            Bound::Space(reserve) => write!(
                f,
                "{bytes}, what is free on the disk beside the {} that are left to others ({key})",
                memory(reserve)
            ),
        }
    }
}

/// What the layers of one image may still unpack to.
#[derive(Debug)]
pub struct Allowance {
    bound: u64,
    left: AtomicU64,
}

/// All layers together are too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the image's layers unpack to more than {}, the most for one image (image.maxUnpackedSize)",
    memory(*.0)
)]
pub struct TooLarge(u64);

impl Allowance {
    fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Counts a layer of so many bytes.
    pub(crate) fn spend(&self, bytes: u64) -> Result<(), TooLarge> {
        let spent = |left: u64| left.checked_sub(bytes);
        let outcome = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent);
        outcome.map(drop).map_err(|_| TooLarge(self.bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn the_strictest_bound_holds_and_says_its_key() {
        let bounds = Bounds {
            layer: 16 * GIB,
            image: 64 * GIB,
            store: 100 * GIB,
            expansion: 200,
        };
        let fresh = bounds.allowance();
        let nearly = bounds.allowance();
        nearly.spend(63 * GIB).unwrap();
        let plenty = 1 << 50;
        for (size, image, used, free, bytes, text) in [
            (
                4 * MIB,
                &fresh,
                0,
                plenty,
                2 * GIB,
                "image.maxExpansion: 200 times",
            ),
            (
                20 * MIB,
                &fresh,
                0,
                plenty,
                4000 * MIB,
                "image.maxExpansion",
            ),
            (
                GIB,
                &fresh,
                0,
                plenty,
                16 * GIB,
                "16 GiB, the most for one layer (image.maxLayerSize)",
            ),
            (
                GIB,
                &nearly,
                0,
                plenty,
                GIB,
                "1 GiB, what is left of 64 GiB for its image (image.maxUnpackedSize)",
            ),
            (
                GIB,
                &fresh,
                99 * GIB,
                plenty,
                GIB,
                "1 GiB, what is left of 100 GiB for all layers (image.maxStoreSize)",
            ),
            (GIB, &fresh, 200 * GIB, plenty, 0, "image.maxStoreSize"),
            (GIB, &fresh, 0, MIB, MIB, "512 MiB"),
        ] {
            let reserve = 512 * MIB;
            let space = Space { free, reserve };
            let budget = bounds.budget(size, image, used, space);
            assert_eq!(budget.bytes, bytes, "{text}");
            assert!(budget.to_string().contains(text), "{budget}");
            assert_eq!(budget.key() == "storage.reserve", budget.is_space());
        }
    }

    #[test]
    fn an_allowance_is_spent_once() {
        let bounds = Bounds {
            image: 10,
            ..Bounds::default()
        };
        let allowance = bounds.allowance();
        allowance.spend(7).unwrap();
        assert_eq!(allowance.spend(4), Err(TooLarge(10)));
        allowance.spend(3).unwrap();
        assert_eq!(allowance.left(), 0);
    }
}
