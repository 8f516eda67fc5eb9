//! Who encapsulates the frames of a call in GRE.

/// Who encapsulates the frames of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carrier {
    /// The engine, by its GRE socket.
    Engine,
    /// The kernel, once it has the call; frames wait.
    KernelSoon,
    /// The kernel.
    Kernel,
}
