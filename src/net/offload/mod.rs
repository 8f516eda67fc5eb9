//! Segmentation offload of a Linux tun device: large packets of one flow instead of many small ones.
//!
//! With a virtio-net header before each packet (IFF_VNET_HDR), the kernel passes TCP data and UDP datagrams of
//! one flow as one packet of up to 64 KiB, with the checksum left to us, and accepts such packets. [`split()`]
//! turns one into the packets that it stands for; [`Coalescer`] does the reverse with the packets from the
//! tunnel. No I/O: [`super::packets`] reads and writes the device. Nothing is allocated per packet, and any
//! bytes are accepted.

mod coalesce;
mod fields;
#[cfg(any(feature = "fuzzing", test))]
pub mod fuzz;
mod header;
mod split;
#[cfg(test)]
pub mod tests;

pub use self::{
    coalesce::{Coalescer, LARGEST},
    header::{HEADER, Split, VirtioHeader},
    split::{Segments, split},
};

/// The protocols whose packets may be combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    /// TCP segments in order.
    pub tcp: bool,
    /// UDP datagrams of equal size.
    pub udp: bool,
}
