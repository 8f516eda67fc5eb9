//! The result of a reload, as the control socket returns it. `docs/CONTROL.md` describes it.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// What a reload has changed, or would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Name of the profile.
    pub name: String,
    /// `reloaded`, `unchanged`, `refused` (nothing was changed) or `failed` (a step failed, and the former ones were put
    /// back).
    pub result: ReloadResult,
    /// The file that the profile was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Steps that were performed, one line each, as the dry run of `up` shows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<String>,
    /// Steps that are no longer in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<String>,
    /// Keys whose new values are in force.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied: Vec<String>,
    /// Keys that differ, and need a redial.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_redial: Vec<String>,
    /// Keys that differ, and take effect at the next `up`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
    /// Whether the tunnel is dialled again now.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redials: bool,
    /// Notes for the user, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The errors of the profile, of several lines, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<String>,
    /// Why it was refused, or has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// What could not be put back after that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

/// The result in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReloadResult {
    /// The profile was read, and what can be applied is in force.
    Reloaded,
    /// No key and no step differs from those in force.
    #[default]
    Unchanged,
    /// Nothing was changed.
    Refused,
    /// A step failed; the former steps were put back, but for the problems.
    Failed,
}
