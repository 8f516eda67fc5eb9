//! The language of the BSDs' routing sockets (route(4)): pure, for every system at once.
//!
//! Owns the layouts of FreeBSD, OpenBSD and NetBSD as data ([`Layout`]), the writing of a [`Request`] and the
//! reading of what a kernel sends ([`Message`]), to and from the words that every platform shares
//! ([`Route`](super::routes::Route)). Does not own a socket: `net::bsd` does. It is compiled everywhere, so
//! that Linux, where the tests run, tests it; it never panics, whatever the bytes are.
//!
//! A message is a header, whose fields and order differ between the systems, and socket addresses behind it, in
//! the order of their bits in `rtm_addrs`, each rounded up to [`Layout::round`] bytes. Numbers are in the order of
//! the machine. The layouts are those of 64-bit machines; `contrib/cross` compiles them as assertions against
//! the systems' own headers (`tests/rtsock/*.c`).

mod address;
mod convert;
pub mod fuzzing;
mod layout;
mod message;
mod request;

pub use self::{
    address::Gateway,
    convert::{from_route, to_route},
    layout::{AddressHeader, AnnounceHeader, Field, Flags, InterfaceHeader, Kinds, Layout, RouteHeader},
    message::{
        Action, AddressChange, Interface, InterfaceChange, LinkState, MalformedMessage, Message, RouteChange,
        read,
    },
    request::{Refused, Request},
};
