//! Offsets and bits of the controller's registers (HDA 1.0a, 3.3; ICH9 datasheet, 18.2).

/// Bytes of the BAR.
pub(super) const BAR_SIZE: u64 = 0x4000;
/// Streams to the guest, and from it. Those to it come first.
pub(super) const INPUTS: usize = 4;
pub(super) const STREAMS: usize = 8;

/// Global registers, by the dwords that hold them.
pub(super) mod global {
    /// GCAP, VMIN, VMAJ.
    pub(crate) const CAPABILITIES: u64 = 0x00;
    /// OUTPAY, INPAY.
    pub(crate) const PAYLOADS: u64 = 0x04;
    pub(crate) const GCTL: u64 = 0x08;
    /// WAKEEN, STATESTS.
    pub(crate) const WAKE: u64 = 0x0c;
    pub(crate) const GSTS: u64 = 0x10;
    pub(crate) const INTCTL: u64 = 0x20;
    pub(crate) const INTSTS: u64 = 0x24;
    pub(crate) const WALCLK: u64 = 0x30;
    /// SSYNC: where the ICH9 has it, and where the specification does.
    pub(crate) const SSYNC_ICH: u64 = 0x34;
    pub(crate) const SSYNC: u64 = 0x38;
    pub(crate) const CORBLBASE: u64 = 0x40;
    pub(crate) const CORBUBASE: u64 = 0x44;
    /// CORBWP, CORBRP.
    pub(crate) const CORBPOINTERS: u64 = 0x48;
    /// CORBCTL, CORBSTS, CORBSIZE.
    pub(crate) const CORBCTL: u64 = 0x4c;
    pub(crate) const RIRBLBASE: u64 = 0x50;
    pub(crate) const RIRBUBASE: u64 = 0x54;
    /// RIRBWP, RINTCNT.
    pub(crate) const RIRBPOINTERS: u64 = 0x58;
    /// RIRBCTL, RIRBSTS, RIRBSIZE.
    pub(crate) const RIRBCTL: u64 = 0x5c;
    pub(crate) const ICOI: u64 = 0x60;
    pub(crate) const ICII: u64 = 0x64;
    pub(crate) const ICIS: u64 = 0x68;
    pub(crate) const DPLBASE: u64 = 0x70;
    pub(crate) const DPUBASE: u64 = 0x74;
}

/// The first stream descriptor, and the distance to the next.
pub(super) const STREAM_BASE: u64 = 0x80;
pub(super) const STREAM_SIZE: u64 = 0x20;
/// Copies of WALCLK and of the streams' positions, for who maps a page of them.
pub(super) const ALIASES: u64 = 0x2000;

/// Four streams each way, 64-bit addresses; version 1.0.
pub(super) const CAPABILITIES: u32 = 0x0100_4401;
/// Words of a frame of the link, out and in.
pub(super) const PAYLOADS: u32 = 0x001d_003c;

/// GCTL: out of reset, flush, take unsolicited responses.
pub(super) const CRST: u32 = 1 << 0;
pub(super) const FLUSH: u32 = 1 << 1;
pub(super) const UNSOL: u32 = 1 << 8;
/// GSTS: flushed.
pub(super) const FLUSHED: u32 = 1 << 1;
/// INTCTL and INTSTS: all, the controller, each stream.
pub(super) const GLOBAL: u32 = 1 << 31;
pub(super) const CONTROLLER: u32 = 1 << 30;
/// CORBRP and RIRBWP: reset the pointer.
pub(super) const POINTER_RESET: u32 = 1 << 15;
/// CORBCTL: run, and interrupt on memory errors.
pub(super) const CORB_RUN: u8 = 1 << 1;
pub(super) const CORB_MEIE: u8 = 1 << 0;
/// CORBSTS: a memory error.
pub(super) const CORB_MEI: u8 = 1 << 0;
/// RIRBCTL: interrupt for responses, run, interrupt for overruns.
pub(super) const RIRB_INTERRUPT: u8 = 1 << 0;
pub(super) const RIRB_RUN: u8 = 1 << 1;
pub(super) const RIRB_OVERRUN: u8 = 1 << 2;
/// RIRBSTS: responses have arrived.
pub(super) const RIRB_ARRIVED: u8 = 1 << 0;
/// CORBSIZE and RIRBSIZE: 256 entries, and no other size.
pub(super) const RING_SIZE: u8 = 0x42;
/// ICIS: busy, and a result is valid.
pub(super) const ICB: u8 = 1 << 0;
pub(super) const IRV: u8 = 1 << 1;
/// DPLBASE: positions are written.
pub(super) const POSITIONS: u32 = 1 << 0;

/// Registers of a stream, by dwords from its base.
pub(super) mod stream {
    /// Control, and status in the highest byte.
    pub(crate) const CONTROL: u64 = 0x00;
    pub(crate) const LPIB: u64 = 0x04;
    pub(crate) const CBL: u64 = 0x08;
    pub(crate) const LVI: u64 = 0x0c;
    /// FIFOS, and FMT in the upper word.
    pub(crate) const FORMAT: u64 = 0x10;
    pub(crate) const BDPL: u64 = 0x18;
    pub(crate) const BDPU: u64 = 0x1c;

    pub(crate) const SRST: u32 = 1 << 0;
    pub(crate) const RUN: u32 = 1 << 1;
    pub(crate) const IOCE: u32 = 1 << 2;
    pub(crate) const FEIE: u32 = 1 << 3;
    pub(crate) const DEIE: u32 = 1 << 4;
    pub(crate) const TAG_SHIFT: u32 = 20;
    /// What the guest writes of the control register.
    pub(crate) const CONTROL_MASK: u32 = 0x00ff_001f;
    /// Status: a buffer is done; an error of the FIFO; one of the list; the FIFO is ready.
    pub(crate) const BCIS: u8 = 1 << 2;
    pub(crate) const FIFOE: u8 = 1 << 3;
    pub(crate) const DESE: u8 = 1 << 4;
    pub(crate) const FIFORDY: u8 = 1 << 5;
    /// FIFO sizes less one, out and in.
    pub(crate) const FIFO_OUT: u32 = 0xbf;
    pub(crate) const FIFO_IN: u32 = 0x77;
}
