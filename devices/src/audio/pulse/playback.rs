//! The stream that plays.

use pulseaudio::protocol::stream::StreamFlags;
use pulseaudio::protocol::{
    ChannelMap, Command, CorkStreamParams, DEFAULT_SINK, PlaybackStreamParams, Prop, Props, ProtocolError,
    SampleFormat, SampleSpec, SetPlaybackStreamBufferAttrParams,
};

use crate::audio::Frame;

use super::Options;
use super::buffers::{Buffers, FRAME};
use super::connection::{Answer, text};

/// What the server knows of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) channel: u32,
    pub(super) index: u32,
    pub(super) rate: u32,
    /// Bytes that the server wants at a time, and those that it has asked for and not got.
    pub(super) target: u32,
    pub(super) credit: u32,
    /// It plays; before, and after it has run dry, it waits for enough.
    pub(super) started: bool,
    /// It has got something since it last ran dry.
    pub(super) fed: bool,
    pub(super) corked: bool,
    /// The device that plays sleeps.
    pub(super) suspended: bool,
}

/// What the server is to know of the sound.
pub(super) fn sample_spec(rate: u32) -> SampleSpec {
    SampleSpec { format: SampleFormat::S32Le, channels: 2, sample_rate: rate }
}

/// What mixers show.
pub(super) fn properties(name: &str) -> Props {
    let mut props = Props::new();
    props.set(Prop::ApplicationName, text(name));
    props.set(Prop::MediaName, text(name));
    props
}

impl Stream {
    /// The request for a stream.
    pub(super) fn request(options: &Options, buffers: Buffers, rate: u32) -> Command {
        let device = options.device.as_deref().map_or_else(|| DEFAULT_SINK.to_owned(), text);
        Command::CreatePlaybackStream(PlaybackStreamParams {
            sample_spec: sample_spec(rate),
            channel_map: ChannelMap::stereo(),
            sink_name: Some(device),
            buffer_attr: buffers.playback(rate),
            props: properties(&options.name),
            flags: StreamFlags { adjust_latency: true, ..StreamFlags::default() },
            ..PlaybackStreamParams::default()
        })
    }

    /// The stream that the server has made.
    pub(super) fn made(answer: &mut Answer, rate: u32) -> Result<Self, ProtocolError> {
        // Channel, number, bytes that are wanted, and the buffers as the server has them.
        let [channel, index, credit, _, target] = answer.numbers()?;
        Ok(Self {
            channel,
            index,
            rate,
            target: target.max(credit),
            credit,
            started: false,
            fed: false,
            corked: false,
            suspended: false,
        })
    }

    /// The request for other buffers.
    pub(super) fn resize(&self, buffers: Buffers) -> Command {
        Command::SetPlaybackStreamBufferAttr(SetPlaybackStreamBufferAttrParams {
            index: self.channel,
            buffer_attr: buffers.playback(self.rate),
            adjust_latency: true,
            early_requests: false,
        })
    }

    /// The server has changed its buffers: what it now wants at a time it asks for.
    pub(super) fn resized(&mut self, answer: &mut Answer) -> Result<(), ProtocolError> {
        let [_, target] = answer.numbers()?;
        self.target = target.max(FRAME);
        Ok(())
    }

    /// Frames that the server may have now.
    pub(super) fn room(&self) -> usize {
        (self.credit / FRAME) as usize
    }

    /// Frames that it has.
    pub(super) fn ahead(&self) -> i64 {
        (i64::from(self.target) - i64::from(self.credit)) / i64::from(FRAME)
    }

    pub(super) fn cork(&self, cork: bool) -> Command {
        Command::CorkPlaybackStream(CorkStreamParams { channel: self.channel, cork })
    }
}

/// Frames of a cross-fade, for two milliseconds.
pub(super) fn fade_frames(rate: u32) -> usize {
    (rate / 500).max(1) as usize
}

/// Goes over from `old` to `new`, of the same length.
pub(super) fn cross_fade(old: &[Frame], new: &[Frame]) -> Vec<Frame> {
    let len = old.len().min(new.len()) as i64;
    old.iter()
        .zip(new)
        .zip(1..)
        .map(|((old, new), step)| {
            let mix =
                |old: i32, new: i32| (i64::from(old) * (len - step) + i64::from(new) * step) / len.max(1);
            let [[old_left, old_right], [new_left, new_right]] = [*old, *new];
            // Between two numbers of 32 bits.
            [mix(old_left, new_left) as i32, mix(old_right, new_right) as i32]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cross_fade_goes_from_one_to_the_other() {
        let faded = cross_fade(&[[1000, i32::MIN]; 4], &[[2000, i32::MAX]; 4]);
        assert_eq!(faded.iter().map(|[left, _]| *left).collect::<Vec<_>>(), [1250, 1500, 1750, 2000]);
        assert_eq!(faded[3][1], i32::MAX);
        assert!(cross_fade(&[], &[]).is_empty());
    }
}
