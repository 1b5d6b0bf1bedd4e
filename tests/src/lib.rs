//! The tests are in `e2e/`; the package has no library of its own.
