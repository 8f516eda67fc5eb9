//! The fourteen known defects of pptp-linux 1.10.0, with at least one test for each, named by number. Where
//! the classic program is installed, it must fail the same test in the known way, which shows that the test
//! detects the defect. Number 12 is compared with a model of the classic behaviour instead.
//!
//! | | defect | here | the classic program | also |
//! |---|---|---|---|---|
//! | 1 | `--sync` loses encrypted, compressed and short frames | `data` | fails | `src/dropin/sync/mod.rs` |
//! | 2 | a duplicate behind a gap corrupts the queue | `data` | fails | `src/dropin/tunnel.rs`, `src/pptp/flow/tests/order.rs` |
//! | 3 | a payload that is cut short is filled up from an old buffer | `data` | fails | `src/dropin/tunnel.rs`, `src/pptp/flow/tests/order.rs` |
//! | 4 | statistics: lost packets wrap, acknowledgements are not counted | `data` | fails, each | `src/dropin/tunnel.rs` |
//! | 5 | the quirk BEZEQ_ISRAEL gets no call | `control` | fails | `manager.rs` (its bytes) |
//! | 6 | `--missing-window` below 300 is ignored | `data` | fails | `src/dropin/tunnel.rs`, `src/dropin/options.rs` |
//! | 7 | an echo request before the connection is established | `control` | fails | `src/pptp/control/tests/start.rs` |
//! | 8 | the host route: left behind, made once, by `/bin/ip` | `route` | fails, each | `src/dropin/manager/route.rs`, `tunnel.rs` |
//! | 9 | the manager's socket: accessible to all users, two managers at once, no second start | `manager` | fails, the first two; the third is reported of a version from 2005 | `src/dropin/manager/socket.rs` |
//! | 10 | the call id is read from `/dev/random` | `control` | fails | |
//! | 11 | a process that reuses the pid of a client's exited process is killed | `manager` | fails | `src/os/process.rs` |
//! | 12 | insertion into the queue walks the list | `src/pptp/flow/tests/work.rs` | a model of its list: its work is counted, not timed | |
//! | 13 | a daemon that does not read stops the receiving side | `data` | fails | `src/dropin/stream.rs` |
//! | 14 | no limit for TCP, for SCCRP, for OCRP | `control` | still waits when ours have ended | |

mod control;
mod data;
mod manager;
mod route;
