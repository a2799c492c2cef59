//! An adapter's own log lines, to syslog.

use std::os::unix::net::UnixDatagram;
use system::text::{LONGEST_LINE, cut, one_line};

/// How much a line matters (RFC 5424, section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// The site must act.
    Error,
    /// Somebody should look.
    Warning,
    /// Normal, and worth keeping.
    Notice,
}

impl Urgency {
    const fn severity(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
        }
    }
}

/// Syslog, facility daemon, by way of `/dev/log`, or journald's socket of that kind. A log that cannot be reached holds nobody up.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    name: &'static str,
}

impl Log {
    /// A log whose lines begin with the adapter's name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Sends one line; whether it was taken. What would end or forge a line is escaped.
    pub fn say(&self, urgency: Urgency, text: &str) -> bool {
        const DAEMON: u8 = 3 << 3;
        let line = cut(one_line(text), LONGEST_LINE);
        let priority = DAEMON | urgency.severity();
        let line = format!("<{priority}>{}[{}]: {line}", self.name, std::process::id());
        let send = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            let sent = socket.send_to(line.as_bytes(), "/dev/log");
            match sent {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    socket.send_to(line.as_bytes(), "/run/systemd/journal/dev-log")
                }
                sent => sent,
            }
        };
        send().is_ok()
    }
}
