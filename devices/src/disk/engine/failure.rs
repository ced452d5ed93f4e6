//! Failures of requests that are not simply the host's: those that were given up, and those that no repetition mends.

use std::io;

/// A request that was given up by [`Lane::cancel`](super::Lane::cancel).
#[derive(Debug, thiserror::Error)]
#[error("the request was given up")]
struct Cancelled;

/// Why no request of a kind succeeds until the image is opened anew.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Final(String);

pub(super) fn cancelled() -> io::Error {
    io::Error::other(Cancelled)
}

/// The error of a thread that has left an image half changed.
pub(super) fn lost() -> io::Error {
    for_good(io::ErrorKind::Other, "a thread has ended abnormally while it changed the image".into())
}

/// An error that [`is_final`] knows.
pub(in crate::disk) fn for_good(kind: io::ErrorKind, why: String) -> io::Error {
    io::Error::new(kind, Final(why))
}

/// Whether `error` is that of a request which was given up, and not the image's.
pub fn is_cancelled(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Cancelled>())
}

/// Whether a request that failed with `error` fails however often it is repeated, until the image is opened anew: a flush after one that
/// failed, an access to an image where it is damaged, a change of one that was found damaged, or any request after a thread has ended abnormally.
pub fn is_final(error: &io::Error) -> bool {
    // The kernel has no such error: it is what formats say of what makes no sense, in a backing file, too.
    error.kind() == io::ErrorKind::InvalidData || error.get_ref().is_some_and(|inner| inner.is::<Final>())
}
