//! `tracing` events for the developer: noted as they come, told only where the site's own
//! configuration asks for everything. No environment variable has a say.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// The most that is kept until somebody asks.
const MOST: usize = 256;

/// What the code said of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Notebook(Arc<Mutex<Vec<String>>>);

impl Notebook {
    /// A notebook that gets every event from now on. In a second one nothing is ever written.
    pub(super) fn open() -> Self {
        let notebook = Self::default();
        let _ = tracing::subscriber::set_global_default(notebook.clone());
        notebook
    }

    /// What has been noted since the last time.
    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Subscriber for Notebook {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("glexec")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MOST {
            noted.push(format!("{}:{}", event.metadata().target(), line.0));
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let shown = crate::decide::text::escaped(format!("{value:?}").as_bytes());
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {shown}"),
            name => write!(self.0, " {name}={shown}"),
        };
    }
}
