//! The interface of every kind of step, and the properties that it returns. [`Step`](super::Step) dispatches
//! to it.

use std::fmt;

use super::{Facts, Symbol};
use crate::platform::Platform;

/// One kind of step.
pub(super) trait StepKind {
    /// Returns the key of the object that the step changes.
    fn key(&self) -> Key;

    /// Fills in the facts that are known; returns the symbols of the values that are still open.
    fn fill(&mut self, _facts: &Facts) -> Vec<Option<Symbol>> {
        Vec::new()
    }

    /// Returns the command that an administrator would type, in the platform's syntax.
    fn line(&self, platform: Platform) -> String;

    /// Returns the undo command in the platform's syntax; `None` if the step disappears with the tun device.
    fn undo_line(&self, _platform: Platform) -> Option<String> {
        None
    }

    /// Returns the properties that decide when the step is renewed and undone, and when it is gone by itself.
    fn traits(&self) -> StepTraits {
        StepTraits::OF_DEVICE
    }
}

/// Identifies the object on the host that a step changes; steps with the same key replace each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

impl Key {
    /// Returns the key of an object of a kind that only one kind of step changes.
    pub(super) fn of(kind: &str, object: impl fmt::Debug) -> Self {
        Self(format!("{kind} {object:?}"))
    }
}

/// Properties of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepTraits {
    /// A reboot undoes it.
    pub volatile: bool,
    /// It changes a network namespace and disappears with it.
    pub in_namespace: bool,
    /// It changes the tun device or names it.
    pub of_device: bool,
    /// It is undone while the tunnel is lost, with `retry.keep-routes = false`: it directs packets or DNS queries
    /// into the tunnel, filters them, or brings the device up. (The rules for a table have no effect once it is
    /// empty.)
    pub only_while_up: bool,
    /// It is a route or a rule, which disappears when a device goes down, and is then restored.
    pub is_routing: bool,
    /// Several tunnels may need it: the last of them undoes it.
    pub is_shared: bool,
}

impl StepTraits {
    /// The properties of a step that changes the kernel's state, but not the tun device.
    pub(super) const OF_HOST: Self = Self {
        volatile: true,
        in_namespace: true,
        of_device: false,
        only_while_up: false,
        is_routing: false,
        is_shared: false,
    };
    /// The properties of a step that changes the tun device.
    pub(super) const OF_DEVICE: Self = Self { of_device: true, ..Self::OF_HOST };
}
