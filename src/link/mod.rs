//! Effects on the host: apply and undo steps, ledger, routes, pid files.
