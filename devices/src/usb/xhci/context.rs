//! Contexts in guest memory (xHCI 1.1, 6.2): 32 bytes each, the slot's first, then those of its endpoints.

use crate::pci::dma::{Dma, DmaError};

use super::ring::Ring;

/// Bytes of a context.
pub(super) const SIZE: u64 = 32;
/// Endpoints of a device, by their device context index: 1 is the control endpoint, and then an OUT and an IN endpoint for each number.
pub(super) const ENDPOINTS: usize = 32;

/// States of a slot (table 6-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotState {
    /// Enabled or disabled; software reads the same.
    Enabled = 0,
    Default = 1,
    Addressed = 2,
    Configured = 3,
}

/// States of an endpoint (table 6-9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointState {
    Disabled = 0,
    Running = 1,
    Halted = 2,
    Stopped = 3,
    Error = 4,
}

/// A context's dwords.
pub(super) type Context = [u32; 8];

/// Reads a context.
pub(super) fn read(dma: &Dma, at: u64) -> Result<Context, DmaError> {
    let mut bytes = [0; SIZE as usize];
    dma.read(at, &mut bytes)?;
    let (dwords, _) = bytes.as_chunks::<4>();
    let mut context = [0; 8];
    context.iter_mut().zip(dwords).for_each(|(to, from)| *to = u32::from_le_bytes(*from));
    Ok(context)
}

/// Writes a context.
pub(super) fn write(dma: &Dma, at: u64, context: Context) -> Result<(), DmaError> {
    let mut bytes = [0; SIZE as usize];
    let (dwords, _) = bytes.as_chunks_mut::<4>();
    dwords.iter_mut().zip(context).for_each(|(to, from)| *to = from.to_le_bytes());
    dma.write(at, &bytes)
}

/// Where the context of an endpoint is in an output device context.
pub(super) fn of_endpoint(device: u64, endpoint: usize) -> u64 {
    device.wrapping_add(endpoint as u64 * SIZE)
}

/// The address of an endpoint by its device context index.
pub(super) fn address(endpoint: usize) -> u8 {
    match endpoint {
        0 | 1 => 0,
        _ => (endpoint / 2) as u8 & 0xf | if endpoint.is_multiple_of(2) { 0 } else { 0x80 },
    }
}

/// The device context index of an endpoint's address.
pub(super) fn index(address: u8) -> usize {
    let number = usize::from(address & 0xf);
    if number == 0 { 1 } else { number * 2 + usize::from(address >> 7) }
}

/// What a slot's context holds that the controller uses.
pub(super) mod slot {
    use super::{Context, SlotState};

    /// The route below the root port; 0 for a device at the port itself.
    pub(in crate::usb::xhci) fn route(context: &Context) -> u32 {
        context[0] & 0xf_ffff
    }

    /// The root port, from 1.
    pub(in crate::usb::xhci) fn port(context: &Context) -> usize {
        (context[1] >> 16 & 0xff) as usize
    }

    /// Sets state and address.
    pub(in crate::usb::xhci) fn set_state(context: &mut Context, state: SlotState, address: u8) {
        context[3] = u32::from(address) | (state as u32) << 27;
    }

    /// Sets the index of the last endpoint.
    pub(in crate::usb::xhci) fn set_entries(context: &mut Context, last: usize) {
        context[0] = context[0] & 0x07ff_ffff | (last as u32) << 27;
    }
}

/// What an endpoint's context holds that the controller uses.
pub(super) mod endpoint {
    use super::{Context, EndpointState, Ring};

    /// Isochronous, bulk, interrupt: bits 1:0; to the host or control: bit 2.
    pub(in crate::usb::xhci) fn kind(context: &Context) -> u32 {
        context[1] >> 3 & 7
    }

    /// Streams, which there are none of.
    pub(in crate::usb::xhci) fn streams(context: &Context) -> u32 {
        context[0] >> 10 & 0x1f
    }

    /// The transfer ring.
    pub(in crate::usb::xhci) fn ring(context: &Context) -> Ring {
        Ring::from_pointer(u64::from(context[2]) | u64::from(context[3]) << 32)
    }

    /// Takes over the state and the ring.
    pub(in crate::usb::xhci) fn set(context: &mut Context, state: EndpointState, ring: Ring) {
        context[0] = context[0] & !7 | state as u32;
        context[2] = ring.pointer() as u32;
        context[3] = (ring.pointer() >> 32) as u32;
    }

    /// Sets the largest packet's size.
    pub(in crate::usb::xhci) fn set_packet(context: &mut Context, from: &Context) {
        context[1] = context[1] & 0xffff | from[1] & 0xffff_0000;
    }
}
