//! Communication with a supervisor: the control socket (client, server and messages), the progress reports
//! that a waiting `up` reads, and the lock that identifies the supervisor's process.

pub mod capture;
pub mod carrier;
pub mod client;
mod connection;
pub mod events;
mod files;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
pub mod lock;
pub mod messages;
pub mod progress;
mod readers;
pub mod reloaded;
pub mod server;
pub mod subscribers;
pub mod subscription;
