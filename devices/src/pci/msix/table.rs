//! The MSI-X vector table and the pending bit array (PCIe 6.0, 7.7.2.6 to 7.7.2.9), wherever in a function's BARs they
//! lie.
//!
//! A vector is *routed* while it can be delivered, that is while MSI-X is enabled, the function is not masked and
//! neither is the vector. Its route changes only when the message or that condition does.

use crate::interrupt::MsiMessage;
use crate::pci::route::{Route, Routed};

/// Most vectors that one function can have.
pub const MAX_VECTORS: usize = 2048;
/// Bytes of one table entry.
const ENTRY_SIZE: usize = 16;

/// One table entry and what has become of it.
struct Entry<V> {
    route: Route<V>,
    address: u64,
    data: u32,
    masked: bool,
}

impl<V: Routed> Entry<V> {
    fn new(vector: V) -> Self {
        // Vectors come out of reset masked (7.7.2.9).
        Self { route: Route::new(vector), address: 0, data: 0, masked: true }
    }

    fn bytes(&self) -> [u8; ENTRY_SIZE] {
        let mut bytes = [0; ENTRY_SIZE];
        let fields = self.address.to_le_bytes().into_iter().chain(self.data.to_le_bytes());
        for (byte, value) in bytes.iter_mut().zip(fields.chain([u8::from(self.masked)])) {
            *byte = value;
        }
        bytes
    }

    fn set_bytes(&mut self, [a0, a1, a2, a3, a4, a5, a6, a7, d0, d1, d2, d3, mask, ..]: [u8; ENTRY_SIZE]) {
        // Bits 1:0 of the address are zero: messages are dwords.
        self.address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]) & !3;
        self.data = u32::from_le_bytes([d0, d1, d2, d3]);
        self.masked = mask & 1 != 0;
    }

    /// Makes the route what the registers say.
    fn update(&mut self, index: usize, ready: bool) {
        let deliverable = ready && !self.masked;
        let wanted = deliverable.then_some(MsiMessage { address: self.address, data: self.data });
        self.route.set("MSI-X", index, wanted);
    }

    fn reset(&mut self, index: usize) {
        let Self { route: _, address, data, masked } = self;
        *address = 0;
        *data = 0;
        *masked = true;
        self.update(index, false);
    }
}

/// The table of one function and the pending bits that go with it. Multi-byte fields are little-endian.
pub(crate) struct Table<V> {
    entries: Vec<Entry<V>>,
    /// MSI-X is on and the function as a whole is not masked.
    ready: bool,
}

impl<V: Routed> Table<V> {
    /// A table over `vectors`, of which the first [`MAX_VECTORS`] are used.
    pub(crate) fn new(vectors: impl IntoIterator<Item = V>) -> Self {
        Self { entries: vectors.into_iter().take(MAX_VECTORS).map(Entry::new).collect(), ready: false }
    }

    /// Number of vectors.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes of the table.
    pub(crate) fn size(&self) -> usize {
        self.len() * ENTRY_SIZE
    }

    /// Bytes of the pending bit array, a multiple of 8.
    pub(crate) fn pending_size(&self) -> usize {
        self.len().div_ceil(64) * 8
    }

    /// What the entries drive.
    pub(crate) fn vectors(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.iter_mut().map(|entry| entry.route.vector())
    }

    /// Takes over whether vectors can be delivered: MSI-X is enabled and the function is not masked.
    pub(crate) fn set_ready(&mut self, ready: bool) {
        if std::mem::replace(&mut self.ready, ready) != ready {
            for (index, entry) in self.entries.iter_mut().enumerate() {
                entry.update(index, ready);
            }
        }
    }

    /// Reads the table from byte `offset` on. Bytes behind it read as 0xff.
    pub(crate) fn read(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in offsets(offset).zip(data) {
            let entry = at.and_then(|at| Some((at, self.entries.get(at / ENTRY_SIZE)?)));
            *byte = entry.and_then(|(at, entry)| entry.bytes().get(at % ENTRY_SIZE).copied()).unwrap_or(0xff);
        }
    }

    /// Writes the table from byte `offset` on. Bytes behind it are dropped.
    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let mut at = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut rest = data;
        // An access that spans entries reaches each of them as one change.
        while let (index, Some(entry), false) =
            (at / ENTRY_SIZE, self.entries.get_mut(at / ENTRY_SIZE), rest.is_empty())
        {
            let within = at % ENTRY_SIZE;
            let (now, later) = rest.split_at(rest.len().min(ENTRY_SIZE - within));
            let mut bytes = entry.bytes();
            for (byte, value) in bytes.iter_mut().skip(within).zip(now) {
                *byte = *value;
            }
            entry.set_bytes(bytes);
            entry.update(index, self.ready);
            at += now.len();
            rest = later;
        }
    }

    /// Reads the pending bit array from byte `offset` on. Bytes behind it read as 0xff.
    pub(crate) fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (at, byte) in offsets(offset).zip(data) {
            *byte = match at.filter(|at| *at < self.pending_size()) {
                Some(at) => {
                    let bits = self.entries.iter().skip(at * 8).take(8).enumerate();
                    bits.fold(0, |byte, (bit, entry)| byte | u8::from(entry.route.pending()) << bit)
                }
                None => 0xff,
            };
        }
    }

    /// Back to power-on: not ready, all messages zero, all vectors masked. What waits is the owner's to drain.
    pub(crate) fn reset(&mut self) {
        let Self { entries, ready } = self;
        *ready = false;
        for (index, entry) in entries.iter_mut().enumerate() {
            entry.reset(index);
        }
    }
}

/// `first` and the byte offsets that follow it, `None` where they leave the address space.
fn offsets(first: u64) -> impl Iterator<Item = Option<usize>> {
    let first = usize::try_from(first).ok();
    (0..).map(move |index| first?.checked_add(index))
}
