//! The user's terminal: its width, and whether it shows colours.

use std::os::fd::BorrowedFd;

use crate::supervisor::window_size;

/// The width of a terminal that does not report one.
const DEFAULT_COLUMNS: usize = 80;

/// Returns the number of columns of a terminal.
pub fn columns(terminal: BorrowedFd<'_>) -> usize {
    match window_size(terminal) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => DEFAULT_COLUMNS,
    }
}
