//! Observes: reads the configuration and the account database. What is read as root is judged as the
//! caller again.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod config_file;
pub mod credential;
pub mod lcmaps;
mod nameservice;
