//! Sockets, tunnel device, routing sockets, signals.
