//! What a saved session holds, and how it is kept.
//!
//! A session is the researcher's place in the work: which data and model are open, where both time cursors stand, which
//! [`HeadSelection`] leads from attention to mask, what is painted, and the figure under construction. It is one RON
//! file, small enough to read, diff and mail. Files it names are stored as paths, never copied.

mod file;
mod view;

pub use figure::{ColorMap, MapChoice};
pub use file::{Error, FORMAT_VERSION, Result, Session, SourceRef};
pub use view::{Overlay, Upsampling};
