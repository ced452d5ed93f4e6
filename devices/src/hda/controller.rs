//! The controller's registers, and what a write to them does.

use crate::pci::dma::Dma;

use super::codec::{Codec, Direction};
use super::registers::{self as r, global as g, stream as s};
use super::rings::Rings;
use super::stream::Stream;

/// The registers.
#[derive(Debug, Clone)]
pub(super) struct Controller {
    running: bool,
    unsolicited: bool,
    wake: u16,
    states: u16,
    flushed: bool,
    interrupts: u32,
    /// Streams that are held, that they begin together.
    pub(super) held: u8,
    positions: u64,
    pub(super) rings: Rings,
    pub(super) streams: [Stream; r::STREAMS],
    pub(super) codec: Codec,
}

/// What a masked write makes of a register.
fn merge(old: u32, value: u32, mask: u32) -> u32 {
    old & !mask | value & mask
}

fn merge_low(old: &mut u64, value: u32, mask: u32) {
    *old = *old & !u64::from(u32::MAX) | u64::from(merge(*old as u32, value, mask));
}

fn merge_high(old: &mut u64, value: u32, mask: u32) {
    *old = u64::from(merge((*old >> 32) as u32, value, mask)) << 32 | u64::from(*old as u32);
}

/// The stream that has a register, and the register.
fn stream_at(offset: u64) -> Option<(usize, u64)> {
    let from = offset.checked_sub(r::STREAM_BASE)?;
    let index = usize::try_from(from / r::STREAM_SIZE).ok().filter(|index| *index < r::STREAMS)?;
    Some((index, from % r::STREAM_SIZE))
}

impl Controller {
    pub(super) fn new(microphone: bool) -> Self {
        let direction = |index| if index < r::INPUTS { Direction::In } else { Direction::Out };
        Self {
            running: false,
            unsolicited: false,
            wake: 0,
            states: 0,
            flushed: false,
            interrupts: 0,
            held: 0,
            positions: 0,
            rings: Rings::default(),
            streams: std::array::from_fn(|index| Stream::new(direction(index))),
            codec: Codec::new(microphone),
        }
    }

    /// Reset by the guest, of controller and link: what concerns waking up stays, and what firmware tells of the jacks.
    fn link_reset(&mut self) {
        let Self {
            running,
            unsolicited,
            wake: _,
            states: _,
            flushed,
            interrupts,
            held,
            positions,
            rings,
            streams,
            codec,
        } = self;
        (*running, *unsolicited, *flushed) = (false, false, false);
        (*interrupts, *held, *positions) = (0, 0, 0);
        *rings = Rings::default();
        streams.iter_mut().for_each(Stream::reset);
        codec.reset_settings();
    }

    /// Power-on state.
    pub(super) fn power_on(&mut self) {
        self.link_reset();
        (self.wake, self.states) = (0, 0);
        self.codec.reset();
    }

    /// Streams that interrupt, by bits.
    fn stream_causes(&self) -> u32 {
        self.streams
            .iter()
            .zip(0..)
            .filter(|(stream, _)| stream.interrupts())
            .fold(0, |bits, (_, bit)| bits | 1 << bit)
    }

    fn controller_cause(&self) -> bool {
        self.rings.interrupts() || self.states & self.wake != 0
    }

    /// INTSTS, with the bit for all in case that it interrupts.
    fn causes(&self) -> u32 {
        let controller = if self.controller_cause() { r::CONTROLLER } else { 0 };
        let causes = self.stream_causes() | controller;
        if causes & self.interrupts != 0 { causes | r::GLOBAL } else { causes }
    }

    /// The interrupt condition.
    pub(super) fn condition(&self) -> bool {
        self.interrupts & r::GLOBAL != 0 && self.causes() & r::GLOBAL != 0
    }

    /// Where positions are to be written, if they are.
    pub(super) fn positions(&self) -> Option<u64> {
        (self.positions & u64::from(r::POSITIONS) != 0).then_some(self.positions & !0x7f)
    }

    /// Reads the dword at `offset`, a multiple of 4. `wall` is the wall clock counter.
    pub(super) fn read(&self, offset: u64, wall: u32) -> u32 {
        // Reads as after power-on while the controller is held in reset.
        let rings = &self.rings;
        match offset {
            g::CAPABILITIES => r::CAPABILITIES,
            g::PAYLOADS => r::PAYLOADS,
            g::GCTL => u32::from(self.running) | if self.unsolicited { r::UNSOL } else { 0 },
            g::WAKE => u32::from(self.wake) | u32::from(self.states) << 16,
            g::GSTS => {
                if self.flushed {
                    r::FLUSHED
                } else {
                    0
                }
            }
            g::INTCTL => self.interrupts,
            g::INTSTS => self.causes(),
            g::WALCLK => wall,
            g::SSYNC_ICH | g::SSYNC => self.held.into(),
            g::CORBLBASE => rings.verbs as u32,
            g::CORBUBASE => (rings.verbs >> 32) as u32,
            g::CORBPOINTERS => {
                let reset = if rings.verbs_reset { r::POINTER_RESET } else { 0 };
                u32::from(rings.verbs_written) | (u32::from(rings.verbs_read) | reset) << 16
            }
            g::CORBCTL => u32::from_le_bytes([rings.verbs_control, rings.verbs_status, r::RING_SIZE, 0]),
            g::RIRBLBASE => rings.responses as u32,
            g::RIRBUBASE => (rings.responses >> 32) as u32,
            g::RIRBPOINTERS => u32::from(rings.responses_written) | u32::from(rings.batch) << 16,
            g::RIRBCTL => {
                u32::from_le_bytes([rings.responses_control, rings.responses_status, r::RING_SIZE, 0])
            }
            g::ICOI => rings.single_verb,
            g::ICII => rings.single_response,
            g::ICIS => rings.single_status.into(),
            g::DPLBASE => self.positions as u32,
            g::DPUBASE => (self.positions >> 32) as u32,
            _ => match stream_at(offset)
                .and_then(|(index, register)| Some((self.streams.get(index)?, register)))
            {
                Some((stream, register)) => stream_read(stream, register),
                None => 0,
            },
        }
    }

    /// Writes the bits `mask` of the dword at `offset`, a multiple of 4. Returns whether streams may run, stop, or go another
    /// way.
    pub(super) fn write(&mut self, offset: u64, value: u32, mask: u32, dma: &Dma) -> bool {
        let mut streams = false;
        let written = value & mask;
        match offset {
            g::GCTL => {
                if mask & r::CRST != 0 {
                    self.set_running(written & r::CRST != 0);
                    streams = true;
                }
                if mask & r::UNSOL != 0 {
                    self.unsolicited = self.running && written & r::UNSOL != 0;
                }
                self.flushed |= self.running && written & r::FLUSH != 0;
            }
            g::WAKE => {
                self.wake = merge(self.wake.into(), value, mask & 0x7fff) as u16;
                self.states &= !((written >> 16) as u16);
            }
            _ if !self.running => {}
            g::GSTS => self.flushed &= written & r::FLUSHED == 0,
            g::INTCTL => {
                self.interrupts = merge(self.interrupts, value, mask & (r::GLOBAL | r::CONTROLLER | 0xff))
            }
            g::SSYNC_ICH | g::SSYNC => {
                self.held = merge(self.held.into(), value, mask & 0xff) as u8;
                streams = true;
            }
            g::DPLBASE => merge_low(&mut self.positions, value, mask & !0x7e),
            g::DPUBASE => merge_high(&mut self.positions, value, mask),
            g::CORBLBASE..g::DPLBASE => {
                self.write_rings(offset, value, mask, dma);
                // A verb may have connected a stream.
                streams = true;
            }
            _ => {
                if let Some((index, register)) = stream_at(offset)
                    && let Some(stream) = self.streams.get_mut(index)
                {
                    streams = stream_write(stream, register, value, mask);
                }
            }
        }
        streams
    }

    fn set_running(&mut self, running: bool) {
        match (self.running, running) {
            (true, false) => self.link_reset(),
            (false, true) => {
                self.running = true;
                // The codec makes itself known.
                self.states |= 1;
            }
            _ => {}
        }
    }

    fn write_rings(&mut self, offset: u64, value: u32, mask: u32, dma: &Dma) {
        let Self { rings, codec, .. } = self;
        let [written, ..] = (value & mask).to_le_bytes();
        let second = ((value & mask) >> 8) as u8;
        match offset {
            g::CORBLBASE => merge_low(&mut rings.verbs, value, mask & !0x7f),
            g::CORBUBASE => merge_high(&mut rings.verbs, value, mask),
            g::CORBPOINTERS => {
                if mask >> 16 != 0 {
                    rings.verbs_reset = merge(u32::from(rings.verbs_reset) << 31, value, mask) >> 31 != 0;
                    if rings.verbs_reset {
                        rings.verbs_read = 0;
                    }
                }
                rings.verbs_written = merge(rings.verbs_written.into(), value, mask & 0xff) as u8;
            }
            g::CORBCTL => {
                let allowed = mask & u32::from(r::CORB_RUN | r::CORB_MEIE);
                rings.verbs_control = merge(rings.verbs_control.into(), value, allowed) as u8;
                rings.verbs_status &= !(second & r::CORB_MEI);
            }
            g::RIRBLBASE => merge_low(&mut rings.responses, value, mask & !0x7f),
            g::RIRBUBASE => merge_high(&mut rings.responses, value, mask),
            g::RIRBPOINTERS => {
                if value & mask & r::POINTER_RESET != 0 {
                    rings.responses_written = 0;
                }
                rings.batch = (merge(u32::from(rings.batch) << 16, value, mask & 0xff_0000) >> 16) as u8;
            }
            g::RIRBCTL => {
                let allowed = mask & u32::from(r::RIRB_INTERRUPT | r::RIRB_RUN | r::RIRB_OVERRUN);
                rings.responses_control = merge(rings.responses_control.into(), value, allowed) as u8;
                rings.responses_status &= !(second & (r::RIRB_ARRIVED | r::RIRB_OVERRUN));
            }
            g::ICOI => rings.single_verb = merge(rings.single_verb, value, mask),
            g::ICIS => {
                rings.single_status &= !(written & r::IRV);
                if written & r::ICB != 0 {
                    rings.run_single(codec);
                }
            }
            _ => {}
        }
        rings.run(codec, dma);
    }
}

fn stream_read(stream: &Stream, register: u64) -> u32 {
    match register {
        s::CONTROL => stream.control | u32::from(stream.status()) << 24,
        s::LPIB => stream.position,
        s::CBL => stream.length,
        // With the watermark of the FIFO, which software need not know.
        s::LVI => u32::from(stream.last) | 4 << 16,
        s::FORMAT => {
            let fifo = if stream.direction() == Direction::Out { s::FIFO_OUT } else { s::FIFO_IN };
            fifo | u32::from(stream.format) << 16
        }
        s::BDPL => stream.list as u32,
        s::BDPU => (stream.list >> 32) as u32,
        _ => 0,
    }
}

/// Returns whether streams may run or stop.
fn stream_write(stream: &mut Stream, register: u64, value: u32, mask: u32) -> bool {
    let changed = match register {
        s::CONTROL => {
            let cleared = ((value & mask) >> 24) as u8 & (s::BCIS | s::FIFOE | s::DESE);
            stream.events &= !cleared;
            let control = merge(stream.control, value, mask & s::CONTROL_MASK);
            if control & s::SRST != 0 && stream.control & s::SRST == 0 {
                stream.reset();
                stream.control = s::SRST;
                return true;
            }
            let changed = control != stream.control;
            stream.control = control;
            return changed;
        }
        s::CBL => {
            let before = stream.length;
            stream.length = merge(before, value, mask);
            stream.length != before
        }
        s::LVI => {
            stream.last = merge(stream.last.into(), value, mask & 0xff) as u8;
            false
        }
        s::FORMAT => {
            stream.format = (merge(u32::from(stream.format) << 16, value, mask & 0xffff_0000) >> 16) as u16;
            false
        }
        s::BDPL => {
            merge_low(&mut stream.list, value, mask & !0x7f);
            true
        }
        s::BDPU => {
            merge_high(&mut stream.list, value, mask);
            true
        }
        _ => false,
    };
    if changed {
        stream.rewind();
    }
    false
}
