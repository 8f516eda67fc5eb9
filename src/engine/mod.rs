//! The child process: event loop and data path around the protocol machines, without privileges.
