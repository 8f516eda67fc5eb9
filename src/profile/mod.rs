//! What a person wrote: files become validated profiles, or errors with a caret.
