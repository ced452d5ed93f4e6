//! The payload: a few hundred instructions that measure from inside the guest, and the file that starts them.
//!
//! They are assembled into this program's constants by the compiler itself, which takes stable Rust and nothing else: no target of bare
//! metal has to be installed, no second compiler has to be found, and what a sample contains can be read in `payload/payload.s` instruction by
//! instruction. A run that does not measure never touches them; they take two pages of the file.
//!
//! | what | as |
//! |---|---|
//! | [`layout`] | where things lie in guest memory, and what the shared page means |
//! | [`image`] | an ELF file with PVH's entry (Xen, docs/misc/pvh.pandoc), with page tables and descriptors |
//!
//! The payload obeys one command after the other. It waits for a new number in the shared page, measures, writes one sample after the
//! other, and repeats the number. It needs nothing but a processor in 32-bit protected mode and RAM up to 8 MiB, so that every machine
//! monitor that starts PVH kernels can run it.
//!
//! A sample is the difference of two reads of the time-stamp counter, each between two LFENCEs, which no later instruction overtakes and
//! for which all earlier ones have completed (Intel SDM volume 2, RDTSC and LFENCE). What reading takes by itself is a command of its own.
#![allow(unsafe_code, reason = "the assembled instructions are reached through two symbols")]

mod elf;
pub(super) mod layout;

use std::arch::global_asm;

pub(super) use elf::image;

global_asm!(
    include_str!("payload/payload.s"),
    base = const layout::BASE,
    page_tables = const layout::PAGE_TABLES,
    gdtr = const layout::GDTR,
    idtr = const layout::IDTR,
    stack = const layout::STACK,
    page = const layout::PAGE,
    samples = const layout::SAMPLES,
    up = const layout::field::UP,
    wanted = const layout::field::WANTED,
    done = const layout::field::DONE,
    kind = const layout::field::KIND,
    address = const layout::field::ADDRESS,
    value = const layout::field::VALUE,
    count = const layout::field::COUNT,
    limit = const layout::field::LIMIT,
    patience = const layout::field::PATIENCE,
    acknowledge = const layout::field::ACKNOWLEDGE,
    acknowledgement = const layout::field::ACKNOWLEDGEMENT,
    expected = const layout::field::EXPECTED,
    doorbell = const layout::field::DOORBELL,
    step_count = const layout::field::STEP_COUNT,
    steps = const layout::field::STEPS,
    taken = const layout::field::TAKEN,
    lost = const layout::field::LOST,
    elapsed = const layout::field::ELAPSED,
    stolen = const layout::field::STOLEN,
    seen = const layout::field::SEEN,
    fault = const layout::field::FAULT,
    interrupts = const layout::field::INTERRUPTS,
    moment = const layout::field::MOMENT,
    features = const layout::field::FEATURES,
);

unsafe extern "C" {
    static optimus_bench_payload: u8;
    static optimus_bench_payload_end: u8;
}

/// The assembled instructions, with four offsets before them.
fn code() -> &'static [u8] {
    let (start, end) = (&raw const optimus_bench_payload, &raw const optimus_bench_payload_end);
    // SAFETY: both symbols are of the one section above, in this order, and what is between them is constant bytes of this program.
    unsafe { std::slice::from_raw_parts(start, end.addr().saturating_sub(start.addr())) }
}
