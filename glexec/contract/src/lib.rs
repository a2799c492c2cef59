//! How glexec is called and how it ends: all that a caller or a hook may know of it.

mod invocation;
pub mod json;
mod orders;
mod outcome;
mod reason;
mod status;
pub mod variables;

#[cfg(feature = "read")]
pub use invocation::options;
pub use invocation::{Invocation, Mode, Usage, VerifiedIds, usage_text};
pub use orders::{order, order_line};
pub use outcome::{
    ADMIN_MUST_ACT, CALLER_MUST_ACT, COLLISION, Ending, FOUND_NOT_EXECUTABLE, NOT_FOUND, Outcome,
    REFUSED,
};
pub use reason::{Fault, Reason};
pub use status::{EpilogueResult, Record, Usage as ResourceUsage, is_a_fault};
