//! ExtendedDesktopSize: why a client is sent a size (rfbproto, "ExtendedDesktopSize Pseudo-encoding").

use devices::display::SizeRefusal;

/// Why a rectangle of ExtendedDesktopSize is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resize {
    /// The guest has changed the size, or the client has just announced that it knows of sizes.
    Server,
    /// The client wants another size, and this is what became of it.
    Client(Result<(), SizeRefusal>),
}

impl Resize {
    /// What the rectangle has for x, who brought it about, and for y, how it went.
    pub(super) fn reason_and_status(self) -> (u32, u32) {
        match self {
            Self::Server => (0, 0),
            // "Request forwarded (might complete asynchronously)": the guest takes the size when it looks, or never.
            Self::Client(Ok(())) => (1, 4),
            // "Resize is administratively prohibited."
            Self::Client(Err(SizeRefusal::Fixed)) => (1, 1),
            // "Out of resources."
            Self::Client(Err(SizeRefusal::TooLarge)) => (1, 2),
            // "Invalid screen layout."
            Self::Client(Err(SizeRefusal::Invalid)) => (1, 3),
        }
    }
}
