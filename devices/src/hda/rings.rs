//! Verbs to codecs and their responses: by rings in guest memory (HDA 1.0a, 3.3.18 to 3.3.31 and 4.4), or one by one by
//! registers (3.4). Codecs answer at once.

use crate::pci::dma::Dma;

use super::codec::Codec;
use super::registers::{self as r};

/// Entries of a ring.
const ENTRIES: u8 = 255;

/// Both rings, and the registers for single verbs.
#[derive(Debug, Clone, Default)]
pub(super) struct Rings {
    pub(super) verbs: u64,
    pub(super) verbs_written: u8,
    pub(super) verbs_read: u8,
    /// The guest resets the read pointer: it sets the bit, sees it, clears it, and sees that, too.
    pub(super) verbs_reset: bool,
    pub(super) verbs_control: u8,
    pub(super) verbs_status: u8,
    pub(super) responses: u64,
    pub(super) responses_written: u8,
    /// Responses for which it interrupts, 0 for 256.
    pub(super) batch: u8,
    pub(super) responses_control: u8,
    pub(super) responses_status: u8,
    pub(super) single_verb: u32,
    pub(super) single_response: u32,
    pub(super) single_status: u8,
}

/// The codec that a verb is for, and its answer, if there is such a codec.
fn ask(codec: &mut Codec, verb: u32) -> Option<u32> {
    let (address, node) = (verb >> 28, (verb >> 20 & 0xff) as u8);
    (address == 0).then(|| codec.verb(node, verb & 0xf_ffff))
}

impl Rings {
    /// Whether a condition that interrupts for the controller is there.
    pub(super) fn interrupts(&self) -> bool {
        let arrived =
            self.responses_control & r::RIRB_INTERRUPT != 0 && self.responses_status & r::RIRB_ARRIVED != 0;
        let error = self.verbs_control & r::CORB_MEIE != 0 && self.verbs_status & r::CORB_MEI != 0;
        arrived || error
    }

    /// Performs the verbs that wait, as long as the ring runs.
    pub(super) fn run(&mut self, codec: &mut Codec, dma: &Dma) {
        let mut answered = false;
        // Once around at most: the guest's pointer does not move meanwhile.
        for _ in 0..=ENTRIES {
            let stopped = self.verbs_control & r::CORB_RUN == 0 || self.verbs_reset;
            if stopped || self.verbs_read == self.verbs_written || !dma.enabled() {
                break;
            }
            self.verbs_read = self.verbs_read.wrapping_add(1);
            let mut verb = [0; 4];
            if dma.read(self.verbs.wrapping_add(4 * u64::from(self.verbs_read)), &mut verb).is_err() {
                self.verbs_status |= r::CORB_MEI;
                self.verbs_control &= !r::CORB_RUN;
                break;
            }
            let verb = u32::from_le_bytes(verb);
            if let Some(response) = ask(codec, verb) {
                answered |= self.respond(response, dma);
            }
        }
        // Whatever the batch: nothing else follows that would complete it.
        if answered {
            self.responses_status |= r::RIRB_ARRIVED;
        }
    }

    /// Writes a response of codec 0. Returns whether there is a ring for it.
    fn respond(&mut self, response: u32, dma: &Dma) -> bool {
        if self.responses_control & r::RIRB_RUN == 0 {
            return false;
        }
        self.responses_written = self.responses_written.wrapping_add(1);
        let mut entry = [0; 8];
        entry[..4].copy_from_slice(&response.to_le_bytes());
        let at = self.responses.wrapping_add(8 * u64::from(self.responses_written));
        dma.write(at, &entry).is_ok()
    }

    /// Performs the single verb, as the guest has set the busy bit.
    pub(super) fn run_single(&mut self, codec: &mut Codec) {
        self.single_status &= !(r::ICB | r::IRV);
        if let Some(response) = ask(codec, self.single_verb) {
            self.single_response = response;
            self.single_status |= r::IRV;
        }
    }
}
