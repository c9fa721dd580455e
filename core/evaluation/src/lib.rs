//! Closed-loop evaluation: a policy acts in the built-in benchmark and success is counted.
//!
//! [`evaluate`] steps many worlds side by side, so that the policy sees large batches and the physics all processor
//! cores, and returns a [`Report`] with intervals. With [`EvalSpec::swapped`] every scene is played a second time under
//! the instruction of another task that it allows: a policy that still does the first task is not listening.

mod error;
mod report;
mod rollout;
mod statistics;

pub use error::{Error, Result};
pub use report::{Report, Swapped};
pub use rollout::{EvalSpec, Progress, evaluate};
pub use statistics::Count;
