//! Codec for the messages of the BSDs' routing sockets (route(4)), without I/O, for all systems.
//!
//! Owns the layouts of FreeBSD, OpenBSD and NetBSD as data ([`Layout`]), the encoding of a [`Request`], the
//! decoding of a kernel's [`Message`], and their conversion from and to the platform-independent
//! [`Route`](super::routes::Route). The sockets belong to `net::bsd`. The module is compiled on all
//! platforms, so that the tests, which run on Linux, cover it. It does not panic on any input.
//!
//! A message consists of a header, whose fields and order differ between the systems, and socket addresses in
//! the order of their bits in `rtm_addrs`, each padded to a multiple of [`Layout::alignment`] bytes. Numbers are
//! in host byte order. The layouts are those of 64-bit machines; `contrib/cross` compiles them as assertions
//! against the systems' own headers (`tests/rtsock/*.c`).

mod address;
mod convert;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzzing;
mod layout;
mod message;
mod request;

pub use self::{
    address::Gateway,
    convert::{from_route, is_neighbour, refuses, to_route},
    layout::{Field, Layout},
    message::{
        Action, AddressChange, Interface, InterfaceChange, LinkState, MalformedMessage, Message, RouteChange,
        read,
    },
    request::{Refused, Request},
};
