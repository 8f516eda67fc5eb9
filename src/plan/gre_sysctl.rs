//! OpenBSD's `net.inet.gre.allow`.

use serde::{Deserialize, Serialize};

use super::kind::{Key, StepKind, StepTraits};
use crate::platform::Platform;

/// Makes the kernel deliver GRE packets to sockets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowGreStep {}

impl StepKind for AllowGreStep {
    fn key(&self) -> Key {
        Key::of("net.inet.gre.allow", ())
    }

    fn line(&self, _platform: Platform) -> String {
        "sysctl net.inet.gre.allow=1".to_owned()
    }

    fn undo_line(&self, _platform: Platform) -> Option<String> {
        Some("sysctl net.inet.gre.allow=0 (if it was, and no other tunnel needs it)".to_owned())
    }

    fn traits(&self) -> StepTraits {
        StepTraits { is_shared: true, ..StepTraits::OF_HOST }
    }
}
