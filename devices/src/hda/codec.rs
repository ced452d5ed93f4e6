//! The codec at address 0 of the link: one audio function group with a converter and a jack for each direction (HDA 1.0a,
//! chapter 7). Generic drivers of guests find in it what they need and nothing that would be of a maker's own.
//!
//! ```text
//! 02 DAC (volume, mute) ──► 03 line-out jack
//! 04 ADC (volume, mute) ◄── 05 microphone jack     (only with a microphone)
//! ```
//!
//! Something is plugged into each jack, always.

use crate::audio::Frame;

#[cfg(test)]
use super::format::Format;

/// The codec's node numbers.
const ROOT: u8 = 0;
const GROUP: u8 = 1;
const DAC: u8 = 2;
const OUT: u8 = 3;
const ADC: u8 = 4;
const IN: u8 = 5;
const NODES: usize = 6;

/// Who it says it is: a codec of the controller's maker that no driver knows better.
const VENDOR: u32 = 0x8086_293e;
const REVISION: u32 = 0x0010_0100;
const SUBSYSTEM: u32 = 0x8086_293e;

/// Audio widget capabilities (7.3.4.6).
const STEREO: u32 = 1 << 0;
const IN_AMP: u32 = 1 << 1;
const OUT_AMP: u32 = 1 << 2;
const AMP_OVERRIDE: u32 = 1 << 3;
const FORMAT_OVERRIDE: u32 = 1 << 4;
const UNSOLICITED: u32 = 1 << 7;
const CONNECTIONS: u32 = 1 << 8;
const POWER: u32 = 1 << 10;
const PIN: u32 = 4 << 20;

/// Rates and sizes (7.3.4.7): 44.1, 48, 88.2 and 96 kHz; 16 and 24 bits.
const PCM: u32 = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 17 | 1 << 19;
/// Amplifiers (7.3.4.10): mute, and 74 steps of 1 dB up to 0 dB.
const STEPS: u8 = 74;
const AMP: u32 = 1 << 31 | 3 << 16 | (STEPS as u32) << 8 | STEPS as u32;
/// D0 and D3.
const POWER_STATES: u32 = 1 << 0 | 1 << 3;

/// Bits of an amplifier's register.
const MUTE: u8 = 1 << 7;
/// Pin widget control: output and input are on.
const OUT_ENABLE: u8 = 1 << 6;
const IN_ENABLE: u8 = 1 << 5;
/// The answer to Get Pin Sense: something is plugged in.
const PLUGGED: u32 = 1 << 31;

/// Default configurations of the jacks (7.3.3.31): line out at the rear, green; microphone at the rear, pink. Each is an
/// association of its own.
const OUT_CONFIG: u32 = 0x0101_4010;
const IN_CONFIG: u32 = 0x01a1_9020;

/// What the guest can set of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    format: u16,
    /// Stream and channel.
    stream: u8,
    /// Left and right.
    amp: [u8; 2],
    power: u8,
    pin: u8,
    unsolicited: u8,
    config: u32,
}

impl Node {
    fn new(number: u8) -> Self {
        let (pin, config) = match number {
            OUT => (OUT_ENABLE, OUT_CONFIG),
            IN => (IN_ENABLE, IN_CONFIG),
            _ => (0, 0),
        };
        // 48 kHz, 16 bits, stereo; 0 dB.
        Self { format: 0x0011, stream: 0, amp: [STEPS; 2], power: 0, pin, unsolicited: 0, config }
    }
}

/// The codec.
#[derive(Debug, Clone)]
pub(super) struct Codec {
    microphone: bool,
    nodes: [Node; NODES],
    subsystem: u32,
}

/// Which way sound goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the guest.
    Out,
    /// To the guest.
    In,
}

impl Codec {
    pub(super) fn new(microphone: bool) -> Self {
        Self { microphone, nodes: std::array::from_fn(|node| Node::new(node as u8)), subsystem: SUBSYSTEM }
    }

    /// Power-on state.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.microphone);
    }

    /// The stream that the converter of this direction takes or gives, 0 for none.
    pub(super) fn stream(&self, direction: Direction) -> u8 {
        match direction {
            Direction::Out => self.node(DAC).stream >> 4,
            Direction::In if self.microphone => self.node(ADC).stream >> 4,
            Direction::In => 0,
        }
    }

    fn node(&self, number: u8) -> Node {
        self.nodes.get(usize::from(number)).copied().unwrap_or(Node::new(ROOT))
    }

    /// Applies volume and mute of a direction.
    pub(super) fn amplify(&self, direction: Direction, frames: &mut [Frame]) {
        let (amp, enabled) = match direction {
            Direction::Out => (self.node(DAC).amp, self.node(OUT).pin & OUT_ENABLE != 0),
            Direction::In => (self.node(ADC).amp, self.node(IN).pin & IN_ENABLE != 0),
        };
        if enabled && amp == [STEPS; 2] {
            return;
        }
        let factors = amp.map(|amp| if enabled { factor(amp) } else { 0 });
        for frame in frames {
            for (sample, factor) in frame.iter_mut().zip(factors) {
                *sample = ((i64::from(*sample) * factor) >> FRACTION) as i32;
            }
        }
    }

    fn last(&self) -> u8 {
        if self.microphone { IN } else { OUT }
    }

    /// Answers a verb (bits 19:0) to a node. What there is not answers 0, as codecs do.
    pub(super) fn verb(&mut self, number: u8, verb: u32) -> u32 {
        if number > self.last() {
            return 0;
        }
        // Verbs of 4 bits have payloads of 16, the others of 8.
        let (id, payload) = match verb >> 16 & 0xf {
            0x7 | 0xf => (verb >> 8 & 0xfff, (verb & 0xff) as u16),
            short => (short, (verb & 0xffff) as u16),
        };
        let byte = payload as u8;
        if id == 0xf00 {
            return self.parameter(number, byte);
        }
        if id == 0x7ff && number == GROUP {
            self.reset_settings();
            return 0;
        }
        let subsystem = self.subsystem;
        let Some(node) = self.nodes.get_mut(usize::from(number)) else { return 0 };
        let converter = matches!(number, DAC | ADC);
        let pin = matches!(number, OUT | IN);
        match id {
            0xf02 => match (number, byte) {
                (OUT, 0..=3) => DAC.into(),
                (ADC, 0..=3) => IN.into(),
                _ => 0,
            },
            0xa if converter => node.format.into(),
            0x2 if converter => {
                node.format = payload;
                0
            }
            0xb if converter => amp_value(number, node, payload),
            0x3 if converter => {
                set_amp(number, node, payload);
                0
            }
            0xf05 if number != ROOT => u32::from(node.power) << 4 | u32::from(node.power),
            0x705 if number != ROOT => {
                node.power = byte & 0xf;
                0
            }
            0xf06 if converter => node.stream.into(),
            0x706 if converter => {
                node.stream = byte;
                0
            }
            0xf07 if pin => node.pin.into(),
            0x707 if pin => {
                node.pin = byte & (OUT_ENABLE | IN_ENABLE);
                0
            }
            0xf08 if pin => node.unsolicited.into(),
            0x708 if pin => {
                node.unsolicited = byte;
                0
            }
            0xf09 if pin => PLUGGED,
            0xf1c if pin => node.config,
            0x71c..=0x71f if pin => {
                let shift = (id - 0x71c) * 8;
                node.config = node.config & !(0xff << shift) | u32::from(byte) << shift;
                0
            }
            0xf20 if number == GROUP => subsystem,
            0x720..=0x723 if number == GROUP => {
                let shift = (id - 0x720) * 8;
                self.subsystem = subsystem & !(0xff << shift) | u32::from(byte) << shift;
                0
            }
            _ => 0,
        }
    }

    /// Function Reset (7.3.3.33), and reset of the link: what a platform's firmware configures stays.
    pub(super) fn reset_settings(&mut self) {
        for (node, number) in self.nodes.iter_mut().zip(0..) {
            *node = Node { config: node.config, ..Node::new(number) };
        }
    }

    /// Get Parameter (7.3.4).
    fn parameter(&self, node: u8, parameter: u8) -> u32 {
        let converter = STEREO | AMP_OVERRIDE | FORMAT_OVERRIDE | POWER;
        match (node, parameter) {
            (ROOT, 0x00) => VENDOR,
            (ROOT, 0x02) => REVISION,
            (ROOT, 0x04) => u32::from(GROUP) << 16 | 1,
            (GROUP, 0x04) => u32::from(DAC) << 16 | u32::from(self.last() - GROUP),
            // An audio function group.
            (GROUP, 0x05) => 1,
            // Delays of input and output, in frames.
            (GROUP, 0x08) => 0x0808,
            (DAC, 0x09) => converter | OUT_AMP,
            (ADC, 0x09) => 1 << 20 | converter | IN_AMP | CONNECTIONS,
            (OUT, 0x09) => PIN | STEREO | UNSOLICITED | CONNECTIONS,
            (IN, 0x09) => PIN | STEREO | UNSOLICITED,
            (GROUP | DAC | ADC, 0x0a) => PCM,
            // PCM and nothing else.
            (GROUP | DAC | ADC, 0x0b) => 1,
            // Presence detection, and the direction.
            (OUT, 0x0c) => 1 << 2 | 1 << 4,
            (IN, 0x0c) => 1 << 2 | 1 << 5,
            (ADC, 0x0d) | (DAC, 0x12) => AMP,
            (OUT | ADC, 0x0e) => 1,
            (GROUP | DAC | ADC, 0x0f) => POWER_STATES,
            _ => 0,
        }
    }
}

/// Bits of factors behind the point.
const FRACTION: u32 = 30;

/// What an amplifier multiplies samples with.
fn factor(amp: u8) -> i64 {
    if amp & MUTE != 0 {
        return 0;
    }
    let decibels = f64::from(amp & !MUTE) - f64::from(STEPS);
    (10_f64.powf(decibels / 20.0) * f64::from(1_u32 << FRACTION)).round() as i64
}

/// Get Amplifier Gain/Mute (7.3.3.7). Bit 15 asks for the output, bit 13 for the left side.
fn amp_value(number: u8, node: &Node, payload: u16) -> u32 {
    if (payload & 1 << 15 != 0) != (number == DAC) {
        return 0;
    }
    let [left, right] = node.amp;
    (if payload & 1 << 13 != 0 { left } else { right }).into()
}

/// Set Amplifier Gain/Mute: of output (bit 15) or input (14), left (13) or right (12) or both.
fn set_amp(number: u8, node: &mut Node, payload: u16) {
    let (meant, index) = if number == DAC { (1 << 15, 0) } else { (1 << 14, payload >> 8 & 0xf) };
    if payload & meant == 0 || index != 0 {
        return;
    }
    let gain = (payload as u8 & !MUTE).min(STEPS) | payload as u8 & MUTE;
    for (amp, bit) in node.amp.iter_mut().zip([1 << 13, 1 << 12]) {
        if payload & bit != 0 {
            *amp = gain;
        }
    }
}

impl Codec {
    /// The format that the converter of a direction is set to: for what must agree with the stream's.
    #[cfg(test)]
    pub(super) fn format(&self, direction: Direction) -> Format {
        Format::new(self.node(if direction == Direction::Out { DAC } else { ADC }).format)
    }
}
