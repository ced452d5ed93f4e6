//! Transfer descriptors (xHCI 1.1, 4.11.2 and 4.10.1): the TRBs of one transfer, its data in guest memory, and what the driver is told at its end.

use crate::pci::dma::{Dma, DmaError};
use crate::usb::device::{Completion, Outcome, Setup, Transfer};

use super::ring::{BadRing, Ring};
use super::trb::{self, Code, Trb, kind};

/// TRBs of one transfer: those of 8 MiB in pages of 4 KiB, which is more than drivers of USB disks ask for.
const TRBS: usize = 2048;
/// Bytes of one transfer: as many as 256 buffers of 64 KiB.
const BYTES: usize = 16 << 20;

/// A transfer that the driver has put on a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Td {
    /// Its TRBs and their addresses.
    trbs: Vec<(u64, Trb)>,
    /// Where the ring goes on.
    pub(super) next: Ring,
}

/// Why a transfer cannot be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TdError {
    /// The ring or the transfer is malformed.
    Malformed,
    /// The driver has disabled bus mastering.
    NotNow,
}

impl From<BadRing> for TdError {
    fn from(BadRing: BadRing) -> Self {
        Self::Malformed
    }
}

impl From<DmaError> for TdError {
    fn from(error: DmaError) -> Self {
        match error {
            DmaError::Disabled => Self::NotNow,
            DmaError::OutsideRam { .. } => Self::Malformed,
        }
    }
}

/// What the driver is told of a TRB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Report {
    /// The event's parameter: the TRB's address, or the parameter of an Event Data TRB.
    pub(super) parameter: u64,
    pub(super) code: Code,
    /// Bytes that were not moved, or those of an Event Data TRB that were.
    pub(super) length: u32,
    /// It is of an Event Data TRB.
    pub(super) event_data: bool,
    pub(super) interrupts: bool,
}

impl Td {
    /// The next transfer of a ring, if all of it is there; `control` for the default control endpoint.
    pub(super) fn fetch(ring: Ring, control: bool, dma: &Dma) -> Result<Option<Self>, TdError> {
        let mut ring = ring;
        let mut trbs: Vec<(u64, Trb)> = Vec::new();
        while trbs.len() < TRBS {
            let Some((at, trb)) = ring.next(dma)? else { return Ok(None) };
            let first = trbs.is_empty();
            trbs.push((at, trb));
            let fits = match trb.kind() {
                kind::NO_OP | kind::NORMAL | kind::EVENT_DATA => true,
                kind::SETUP => control && first && trb.is_immediate(),
                kind::DATA | kind::STATUS => control && !first,
                kind::ISOCH => !control && first,
                _ => false,
            };
            if !fits {
                return Err(TdError::Malformed);
            }
            // A control transfer has three descriptors, one for each stage. Of those that were cancelled, only TRBs without operation are left.
            let in_control = trbs.first().is_some_and(|(_, trb)| trb.kind() == kind::SETUP);
            let in_status = trbs.iter().any(|(_, trb)| trb.kind() == kind::STATUS);
            if !trb.chained() && (!in_control || in_status) {
                return Ok(Some(Self { trbs, next: ring }));
            }
        }
        Err(TdError::Malformed)
    }

    /// The first TRB's address, and the bytes of its buffer.
    pub(super) fn start(&self) -> (u64, u32) {
        let first = self.trbs.first();
        first.map_or((0, 0), |(at, trb)| (*at, if trb.has_data() { trb.length() as u32 } else { 0 }))
    }

    fn buffers(&self) -> impl Iterator<Item = Trb> + '_ {
        self.trbs.iter().map(|(_, trb)| *trb).filter(|trb| trb.has_data())
    }

    fn length(&self) -> usize {
        self.buffers().map(Trb::length).sum()
    }

    fn setup(&self) -> Option<Setup> {
        let (_, trb) = self.trbs.first().filter(|(_, trb)| trb.kind() == kind::SETUP)?;
        Some(Setup::from_bytes(trb.parameter.to_le_bytes()))
    }

    /// What the device is to do; `None` if there is nothing for it. `to_host` is the direction of an endpoint that has one.
    pub(super) fn transfer(&self, to_host: bool, dma: &Dma) -> Result<Option<Transfer>, TdError> {
        let length = self.length();
        if length > BYTES {
            return Err(TdError::Malformed);
        }
        Ok(match self.setup() {
            Some(setup) if setup.is_in() => {
                let length = setup.length.min(u16::try_from(length).unwrap_or(u16::MAX));
                Some(Transfer::Control { setup: Setup { length, ..setup }, data: Vec::new() })
            }
            Some(setup) => {
                let data = self.gather(length.min(usize::from(setup.length)), dma)?;
                Some(Transfer::Control { setup, data })
            }
            None if self.buffers().next().is_none() => None,
            None if to_host => Some(Transfer::In { length }),
            None => Some(Transfer::Out { data: self.gather(length, dma)? }),
        })
    }

    /// The first `length` bytes of the buffers.
    fn gather(&self, length: usize, dma: &Dma) -> Result<Vec<u8>, TdError> {
        let mut data = Vec::with_capacity(length);
        for trb in self.buffers() {
            let start = data.len();
            let end = length.min(start + trb.length());
            data.resize(end, 0);
            let Some(part) = data.get_mut(start..).filter(|part| !part.is_empty()) else { continue };
            if trb.is_immediate() {
                // Eight bytes at most; what is beyond stays zero.
                part.iter_mut().zip(trb.parameter.to_le_bytes()).for_each(|(to, from)| *to = from);
            } else {
                dma.read(trb.parameter, part)?;
            }
        }
        Ok(data)
    }

    /// Puts what the device has sent into the buffers, which may have less room.
    pub(super) fn scatter(&self, data: &[u8], dma: &Dma) -> Result<(), TdError> {
        let mut rest = data;
        for trb in self.buffers().filter(|trb| !trb.is_immediate()) {
            let (part, more) = rest.split_at(rest.len().min(trb.length()));
            rest = more;
            if !part.is_empty() {
                dma.write(trb.parameter, part)?;
            }
        }
        Ok(())
    }

    /// What the driver is told at the end.
    pub(super) fn reports(&self, completion: &Completion, to_host: bool) -> Vec<Report> {
        let from_device = self.setup().map_or(to_host, Setup::is_in);
        let mut left = if from_device { completion.data.len() } else { completion.taken };
        let failure = match completion.outcome {
            Outcome::Done => None,
            Outcome::Stall => Some(Code::Stall),
            Outcome::Babble => Some(Code::Babble),
            Outcome::NoAnswer => Some(Code::Transaction),
        };
        let last_buffer = self.trbs.iter().rposition(|(_, trb)| trb.has_data());
        // Of the stage so far: the bytes that no Event Data TRB has told of, whether a buffer lacks some, and whether the driver was told of that one.
        let (mut reports, mut moved, mut lacked, mut short) = (Vec::new(), 0u32, false, false);
        for (index, (at, trb)) in self.trbs.iter().enumerate() {
            let mut report = Report {
                parameter: *at,
                code: Code::Success,
                length: 0,
                event_data: false,
                interrupts: !trb.blocks_interrupt(),
            };
            let mut wanted = trb.interrupts();
            match trb.kind() {
                kind::NORMAL | kind::DATA | kind::ISOCH => {
                    let part = left.min(trb.length());
                    left -= part;
                    moved = moved.wrapping_add(part as u32);
                    let lacks = part < trb.length();
                    let fails = failure.filter(|_| lacks || Some(index) == last_buffer);
                    // After the buffer in which the data ended, the rest of the descriptor is passed over.
                    wanted = fails.is_some() || !short && (wanted || lacks && trb.interrupts_on_short());
                    report.length = (trb.length() - part) as u32;
                    report.code = match fails {
                        Some(code) => code,
                        None if lacks => Code::ShortPacket,
                        None => Code::Success,
                    };
                    lacked |= lacks;
                    short |= lacks && wanted;
                    if fails.is_some() {
                        reports.push(report);
                        return reports;
                    }
                }
                kind::STATUS => {
                    // A descriptor of its own (4.11.2.2), in which nothing is missing.
                    (moved, lacked) = (0, false);
                    if let Some(code) = failure {
                        reports.push(Report { code, ..report });
                        return reports;
                    }
                }
                kind::EVENT_DATA => {
                    report.parameter = trb.parameter;
                    report.event_data = true;
                    report.length = std::mem::take(&mut moved) & 0xff_ffff;
                    if lacked {
                        report.code = Code::ShortPacket;
                    }
                }
                _ => {}
            }
            if wanted {
                reports.push(report);
            }
        }
        reports
    }
}

/// The event of a report.
pub(super) fn event(report: Report, slot: usize, endpoint: usize) -> Trb {
    let Report { parameter, code, length, event_data, interrupts: _ } = report;
    let rest = (slot as u32) << 24 | (endpoint as u32) << 16 | if event_data { trb::EVENT_DATA } else { 0 };
    Trb::event(kind::TRANSFER_EVENT, parameter, code, length, rest)
}
