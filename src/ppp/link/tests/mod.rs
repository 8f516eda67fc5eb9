//! Two links wired together in memory under a virtual clock.

mod auth;
mod data;
mod encryption;
mod endings;
mod hostile;
mod pair;
mod recorded;
mod watched;
mod weather;
