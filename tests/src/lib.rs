//! The tests are in `e2e/` and `field/`; the package has no library of its own.
