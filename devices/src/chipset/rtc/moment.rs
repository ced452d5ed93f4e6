//! What the clock reads of the host's.

use std::time::SystemTime;

use crate::time::Clock;

/// The host's clocks at one moment, in nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// UTC since 1970.
    pub(super) wall: i128,
    /// Since the host's start.
    pub(super) boot: i128,
}

impl Moment {
    pub(super) fn of(clock: &dyn Clock) -> Self {
        Self { wall: unix_nanos(clock.wall()), boot: clock.boot().as_nanos() as i128 }
    }
}

pub(super) fn unix_nanos(wall: SystemTime) -> i128 {
    match wall.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}
