//! One process per tunnel: state machine, retry policy, control socket, status, readiness.
//!
//! [`machine`] decides and is pure; [`run`] is the loop that performs what it decides. [`client`] is the other
//! half, for `status` and `down`; [`report`] is how a waiting `up` hears how it goes.

pub mod backoff;
pub mod client;
pub mod control;
pub mod lock;
pub mod log;
pub mod machine;
pub mod notify;
pub mod report;
pub mod status;
