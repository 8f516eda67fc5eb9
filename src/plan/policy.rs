//! Policy routing on Linux: rules, tables of our own, and what keeps traffic from leaving by another way (the kill switch).

use serde::{Deserialize, Serialize};

use super::{Facts, Platform, Symbol};

/// One reversible deed of this kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum PolicyStep {
    /// To be replaced.
    Nothing,
}

/// The place on the host that such a step occupies.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PolicyKey {
    /// To be replaced.
    Nothing,
}

impl PolicyStep {
    pub(super) fn key(&self) -> PolicyKey {
        PolicyKey::Nothing
    }

    pub(super) fn open(&self) -> Vec<Symbol> {
        Vec::new()
    }

    pub(super) fn fill(&mut self, _facts: &Facts) {}

    pub(super) const fn is_volatile(&self) -> bool {
        true
    }

    pub(super) const fn is_in_namespace(&self) -> bool {
        true
    }

    pub(super) const fn is_of_device(&self) -> bool {
        true
    }

    pub(super) fn line(&self, _platform: Platform) -> String {
        String::new()
    }

    pub(super) fn undo_line(&self, _platform: Platform) -> Option<String> {
        None
    }
}
