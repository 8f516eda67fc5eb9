//! One process per tunnel: state machine, retry policy, control socket, status, readiness.
