//! What differs between Linux, FreeBSD, OpenBSD and NetBSD; the only room with unsafe code.
