//! The user's terminal: its width, and whether it shows colours.

use std::{env, os::fd::BorrowedFd};

use super::live::Style;
use crate::supervisor::window_size;

/// The width of a terminal that does not report one.
const DEFAULT_COLUMNS: usize = 80;

/// Returns the number of columns of a terminal.
pub fn columns(terminal: BorrowedFd<'_>) -> usize {
    known_columns(terminal).unwrap_or(DEFAULT_COLUMNS)
}

/// Returns the number of columns of a terminal that reports it; `None` for others and for what is no terminal.
pub fn known_columns(terminal: BorrowedFd<'_>) -> Option<usize> {
    let columns = window_size(terminal).ok()?.ws_col;
    (columns > 0).then_some(usize::from(columns))
}

/// Returns the style of the user's terminal.
pub fn style() -> Style {
    let variable = |name: &str| env::var(name).ok();
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable);
    let locale = locale.into_iter().find(|value| !value.is_empty());
    Style::of(variable("TERM").as_deref(), variable("NO_COLOR").as_deref(), locale.as_deref())
}
