//! What was played, and what came of it.

/// The samples of a moment, left and right.
pub(super) type Frame = [i16; 2];

/// Frames per second of everything that is played here.
pub(super) const RATE: usize = 48_000;

/// Noise in which no frame is silent and no stretch is like another.
pub(super) fn noise(seconds: usize) -> Vec<Frame> {
    let mut state = 0x2545_f491_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        ((state >> 16) as i16 / 2) | 1
    };
    (0..seconds * RATE).map(|_| [next(), next()]).collect()
}

/// What was heard of something that was played.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Frames in order.
    pub(super) frames: usize,
    /// Silences between them, and their frames.
    pub(super) gaps: usize,
    pub(super) silent: usize,
    /// Places where some are missing, and how many in all.
    pub(super) cuts: usize,
    pub(super) missing: usize,
    /// Places where some came again.
    pub(super) repeats: usize,
    /// The first and the last frame that was heard.
    pub(super) range: Option<(usize, usize)>,
}

/// So many frames tell where in the noise they are.
const WINDOW: usize = 4;

/// Where a stretch is in the noise: soon after `from`, or anywhere.
fn find(noise: &[Frame], stretch: &[Frame], from: usize) -> Option<usize> {
    // Nearly all that other sounds are made of is known by its looks, and not looked for in minutes of noise: that has odd samples, and
    // hardly ever the same one on both sides.
    if !stretch.iter().all(|[left, right]| left & right & 1 == 1 && left != right) {
        return None;
    }
    let near = noise.get(from..).unwrap_or_default();
    let near = near.get(..10 * RATE).unwrap_or(near);
    let at = |some: &[Frame]| some.windows(WINDOW).position(|there| there == stretch);
    at(near).map(|found| found + from).or_else(|| at(noise))
}

impl Heard {
    /// All of so many frames, and nothing else.
    pub(super) fn whole(frames: usize) -> Self {
        Self { frames, range: frames.checked_sub(1).map(|last| (0, last)), ..Self::default() }
    }

    /// Compares what came with what was played. What is missing before the first frame that came counts, and what is behind the
    /// last does not.
    pub(super) fn of(played: &[Frame], came: &[Frame]) -> Self {
        let mut heard = Self::default();
        let (mut at, mut expected, mut silence) = (0, 0, 0);
        while let Some(frame) = came.get(at) {
            if played.get(expected) == Some(frame) {
                if silence > 0 && heard.frames > 0 {
                    heard.gaps += 1;
                    heard.silent += silence;
                }
                silence = 0;
                heard.range = Some((heard.range.map_or(expected, |(first, _)| first), expected));
                (heard.frames, expected, at) = (heard.frames + 1, expected + 1, at + 1);
                continue;
            }
            if *frame == [0, 0] {
                silence += 1;
                at += 1;
                continue;
            }
            let Some(found) = came.get(at..at + WINDOW).and_then(|some| find(played, some, expected)) else {
                // Of a cross-fade, or the last frames.
                at += 1;
                continue;
            };
            if found > expected {
                heard.cuts += 1;
                heard.missing += found - expected;
            } else {
                heard.repeats += 1;
            }
            expected = found;
        }
        heard
    }
}

/// The frames of samples of 32 bits.
pub(super) fn frames(data: &[u8]) -> Vec<Frame> {
    let sample = |bytes: &[u8; 4]| (i32::from_le_bytes(*bytes) >> 16) as i16;
    let samples: Vec<i16> = data.as_chunks::<4>().0.iter().map(sample).collect();
    samples.as_chunks::<2>().0.to_vec()
}

/// The frames of samples of 16 bits.
pub(super) fn short_frames(data: &[u8]) -> Vec<Frame> {
    let sample = |bytes: &[u8; 2]| i16::from_le_bytes(*bytes);
    let samples: Vec<i16> = data.as_chunks::<2>().0.iter().map(sample).collect();
    samples.as_chunks::<2>().0.to_vec()
}
