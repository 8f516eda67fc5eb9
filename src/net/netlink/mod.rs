//! Linux's rtnetlink, synchronously: routes, addresses, links.
//!
//! Owns one socket per [`Netlink`], tied to the network namespace it was opened in: every request is
//! acknowledged, answers are matched by sequence number, each wait is bounded, and the kernel checks requests
//! strictly. Does not decide anything: which routes to add is `plan`'s, whether to remove them `link`'s.

mod address;
mod device;
mod route;
mod rule;
mod socket;
mod watch;

pub use socket::Netlink;
pub use watch::Watch;

pub use super::routes::Error;
