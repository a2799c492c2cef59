//! What adapters stand on besides the [`contract`]: holding a run, asking other programs within a
//! time limit, reading the site's file, telling the log, removing what accounts leave. Nothing here
//! is ever setuid: it runs with the rights of whoever the scheduler started.
#![forbid(unsafe_code)]

mod command;
mod config_file;
mod held_run;
mod inherited_descriptor;
mod log;
mod record_fields;
mod removal;
mod settle;
pub mod tree;
mod wait_signals;

pub use command::{Answer, BoundedCommand};
pub use config_file::{SignalExit, SiteFile};
pub use held_run::{Held, Hold, Lifetime, end_as, rehearse};
pub use inherited_descriptor::take_kept;
pub use log::{Log, Urgency};
pub use record_fields::{MoreOfARecord, RecordField, more_of_a_line};
pub use removal::{Removal, remove_as_told};
pub use settle::{Settlement, settle};
pub use wait_signals::listen;
