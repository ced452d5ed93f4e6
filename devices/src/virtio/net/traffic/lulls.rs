//! When a worker looks at the driver's frames by itself for a while, rather than have the driver ring for each.
//!
//! A doorbell costs the driver an exit. While frames follow each other closely, one more look after a short pause finds several that nobody
//! has rung for. Frames that are too far apart for that would cost a timer each and gain nothing: pauses that end in vain
//! become rare.

use std::time::{Duration, Instant};

/// How long a pause is: the first frame of a burst would be the only one that the worker finds.
pub(in super::super) const LULL: Duration = Duration::from_micros(100);
/// Frames that are further apart than this do not follow each other.
pub(in super::super) const BURST: Duration = Duration::from_millis(1);
/// At most so many pauses are left out after those that were in vain.
const RARELY: u32 = 64;

/// Whether the next pause is worth it.
#[derive(Default)]
pub(super) struct Lulls {
    /// When there was the last frame that others may follow.
    last: Option<Instant>,
    /// A pause is over, or under way.
    paused: bool,
    /// Pauses still to be left out, and how many that were the last time.
    skip: u32,
    skipped: u32,
}

impl Lulls {
    /// The worker has looked: at so many frames of the driver's.
    pub(super) fn looked(&mut self, frames: usize) {
        if !std::mem::take(&mut self.paused) {
            return;
        }
        self.skipped = if frames > 0 { 0 } else { (2 * self.skipped + 1).min(RARELY) };
        self.skip = self.skipped;
    }

    /// The pause that was to follow does not take place: the worker looks again at once, for something else. What it finds tells nothing.
    pub(super) fn not_paused(&mut self) {
        self.paused = false;
    }

    /// There were frames at `now`, and there are no more: whether to pause before the driver is asked to ring.
    pub(super) fn pause(&mut self, now: Instant) -> bool {
        let follows = self.last.replace(now).is_some_and(|last| now.duration_since(last) < BURST);
        if follows && self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.paused = follows;
        follows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of `count` frames that are `gap` apart are followed by a pause. Whether it finds the next frame depends on its length.
    fn pauses(gap: Duration, count: u32) -> Vec<u32> {
        let (mut lulls, mut now, mut paused) = (Lulls::default(), Instant::now(), Vec::new());
        let mut ahead = false;
        for number in 0..count {
            if ahead && gap > LULL {
                // The look after the pause comes before the frame.
                lulls.looked(0);
            }
            lulls.looked(1);
            ahead = lulls.pause(now);
            if ahead {
                paused.push(number);
            }
            now += gap;
        }
        paused
    }

    #[test]
    fn close_frames_are_waited_for_each_time() {
        assert_eq!(pauses(LULL / 2, 100), (1..100).collect::<Vec<_>>());
    }

    #[test]
    fn pauses_in_vain_become_rare() {
        // After 1, 3, 7, 15, 31, 63 and then each time 64 that are left out.
        assert_eq!(pauses(5 * LULL, 258), [1, 3, 7, 15, 31, 63, 127, 192, 257]);
    }

    #[test]
    fn pauses_that_did_not_take_place_were_not_in_vain() {
        let (mut lulls, mut now) = (Lulls::default(), Instant::now());
        lulls.pause(now);
        for _ in 0..10 {
            now += LULL / 2;
            assert!(lulls.pause(now));
            lulls.not_paused();
            lulls.looked(0);
        }
    }

    #[test]
    fn single_frames_are_not_waited_for() {
        assert_eq!(pauses(2 * BURST, 10), Vec::<u32>::new());
    }

    #[test]
    fn frames_that_come_closer_again_are_waited_for_again() {
        let (mut lulls, mut now) = (Lulls::default(), Instant::now());
        let mut frames = |gap: Duration, count: u32| -> u32 {
            (0..count)
                .map(|_| {
                    now += gap;
                    lulls.looked(1);
                    let pause = lulls.pause(now);
                    if pause && gap > LULL {
                        lulls.looked(0);
                    }
                    u32::from(pause)
                })
                .sum()
        };
        assert!(frames(5 * LULL, 300) < 10);
        // Some are left out still, the rest are not.
        assert!(frames(LULL / 2, 300) >= 300 - RARELY);
    }
}
