//! How other processes reach a supervisor: the control socket (client, server and their messages), the progress that
//! a waiting `up` reads, and the lock that says which process it is.

pub mod client;
pub mod lock;
pub mod messages;
pub mod progress;
pub mod server;
