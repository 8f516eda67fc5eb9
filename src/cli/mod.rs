//! What a person types and sees: arguments, rendering, exit codes.
