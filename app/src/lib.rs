//! The window and command line.
