//! Pure: a profile and the facts of a link become ordered, reversible steps.
