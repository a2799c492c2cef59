//! What adapters stand on besides the [`contract`](contract): holding a run, asking other
//! programs within a time limit, reading the site's file, telling the log, removing what accounts leave. Nothing here is ever
//! setuid: it runs with the rights of whoever the scheduler started.

mod command;
mod descriptor;
mod front;
mod log;
mod removal;
mod settle;
mod site;
pub mod tree;

pub use command::{Answer, BoundedCommand};
pub use descriptor::take_kept;
pub use front::{Held, Hold, end_as, rehearse};
pub use log::{Log, Urgency};
pub use removal::{Removal, remove_as_told};
pub use settle::{Settlement, settle};
pub use site::read_site_file;
