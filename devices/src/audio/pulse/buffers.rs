//! How much sound is to wait between the device and the server's mixer.

use pulseaudio::protocol::stream::BufferAttr;

/// Bytes of a frame as the server gets them: two samples of 32 bits.
pub(super) const FRAME: u32 = 8;

/// Milliseconds that a latency grows to at most on its own.
const LONGEST: u32 = 100;

/// What a latency means for buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffers {
    /// Milliseconds.
    latency: u32,
}

fn frames(milliseconds: u32, rate: u32) -> u32 {
    (u64::from(milliseconds) * u64::from(rate) / 1000).max(1) as u32
}

impl Buffers {
    pub(super) fn new(latency: u32) -> Self {
        Self { latency }
    }

    /// Milliseconds.
    pub(super) fn latency(self) -> u32 {
        self.latency
    }

    /// Those that are half as long again, after a gap: none where that would be too long.
    pub(super) fn longer(self) -> Option<Self> {
        let latency = (self.latency + self.latency / 2 + 1).min(LONGEST);
        (latency > self.latency).then_some(Self { latency })
    }

    /// Frames that the server's buffer has room for: it may take a half of them at a time.
    pub(super) fn target(self, rate: u32) -> u32 {
        frames(2 * self.latency, rate)
    }

    /// Frames that are to wait on average, and that the server waits for before it plays.
    pub(super) fn aim(self, rate: u32) -> u32 {
        self.target(rate) * 3 / 4
    }

    /// So many frames beyond are left out at once, and not bit by bit.
    pub(super) fn excess(self, rate: u32) -> u32 {
        self.target(rate).max(frames(40, rate))
    }

    /// Recorded frames that are to wait.
    pub(super) fn recorded(self, rate: u32) -> u32 {
        frames(self.latency, rate)
    }

    /// What the server is told for playing.
    pub(super) fn playback(self, rate: u32) -> BufferAttr {
        BufferAttr {
            max_length: 5 * self.target(rate) * FRAME,
            target_length: self.target(rate) * FRAME,
            pre_buffering: self.aim(rate) * FRAME,
            minimum_request_length: frames((self.latency / 4).max(2), rate) * FRAME,
            ..BufferAttr::default()
        }
    }

    /// What it is told for recording: it sends pieces of so many bytes.
    pub(super) fn recording(self, rate: u32) -> BufferAttr {
        BufferAttr {
            max_length: 10 * self.target(rate) * FRAME,
            fragment_size: frames((self.latency / 2).max(2), rate) * FRAME,
            ..BufferAttr::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_grow_by_half_up_to_a_limit() {
        let all = |latency| {
            std::iter::successors(Some(Buffers::new(latency)), |one| one.longer()).map(Buffers::latency)
        };
        assert_eq!(all(20).collect::<Vec<_>>(), [20, 31, 47, 71, 100]);
        assert_eq!(all(5).take(3).collect::<Vec<_>>(), [5, 8, 13]);
        assert_eq!(all(500).count(), 1);
    }
}
