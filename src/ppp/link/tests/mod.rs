//! Two links connected in memory under a virtual clock.

mod auth;
mod data;
mod encryption;
mod endings;
mod faults;
mod hostile;
mod kernel_data;
mod pair;
mod path_echo;
mod recorded;
mod watched;
