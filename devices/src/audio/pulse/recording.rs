//! The stream that records.

use pulseaudio::protocol::stream::StreamFlags;
use pulseaudio::protocol::{ChannelMap, Command, DEFAULT_SOURCE, ProtocolError, RecordStreamParams};

use crate::audio::Frame;

use super::Options;
use super::buffers::Buffers;
use super::connection::Answer;
use super::playback::{properties, sample_spec};

/// What the server knows of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) channel: u32,
    pub(super) rate: u32,
}

impl Stream {
    /// The request for a stream.
    pub(super) fn request(options: &Options, buffers: Buffers, rate: u32) -> Command {
        Command::CreateRecordStream(RecordStreamParams {
            sample_spec: sample_spec(rate),
            channel_map: ChannelMap::stereo(),
            source_name: Some(DEFAULT_SOURCE.to_owned()),
            buffer_attr: buffers.recording(rate),
            props: properties(&options.name),
            flags: StreamFlags { adjust_latency: true, ..StreamFlags::default() },
            ..RecordStreamParams::default()
        })
    }

    /// The stream that the server has made.
    pub(super) fn made(answer: &mut Answer, rate: u32) -> Result<Self, ProtocolError> {
        let [channel] = answer.numbers()?;
        Ok(Self { channel, rate })
    }
}

/// The frames of what the server has sent.
pub(super) fn frames(data: &[u8]) -> impl Iterator<Item = Frame> {
    data.as_chunks::<8>().0.iter().map(|[a, b, c, d, e, f, g, h]| {
        [i32::from_le_bytes([*a, *b, *c, *d]), i32::from_le_bytes([*e, *f, *g, *h])]
    })
}
