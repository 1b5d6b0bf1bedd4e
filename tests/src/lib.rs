//! The tests are in `e2e/` and `archives/`; the package has no library of its own.
