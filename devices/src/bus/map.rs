//! The flattened view of a bus: disjoint pieces in address order, each with the one device that answers there.

use std::sync::Arc;

use super::{AddressRange, BusDevice, Entry};

struct Piece {
    range: AddressRange,
    /// Base of the region that the piece was cut from: offsets count from here.
    region_base: u64,
    device: Arc<dyn BusDevice>,
}

/// Disjoint pieces in ascending order.
#[derive(Default)]
pub(super) struct FlatMap {
    pieces: Vec<Piece>,
}

/// The answer to a look-up.
pub(super) enum Found<'a> {
    /// One device answers the whole access, at this offset of its region.
    Whole(&'a dyn BusDevice, u64),
    /// Some bytes belong to one device, others to another or to nobody.
    Straddles,
    /// Nobody answers any byte.
    Nothing,
}

impl FlatMap {
    pub(super) fn new(entries: &[Entry]) -> Self {
        // Each boundary where the answer may change; few dozen regions make a quadratic sweep cheap.
        let mut starts: Vec<u64> = entries
            .iter()
            .flat_map(|entry| [Some(entry.range.base()), entry.range.last().checked_add(1)])
            .flatten()
            .collect();
        starts.sort_unstable();
        starts.dedup();

        let mut pieces: Vec<Piece> = Vec::new();
        for (index, &base) in starts.iter().enumerate() {
            let last = starts.get(index + 1).map_or(u64::MAX, |next| next - 1);
            let winner = entries
                .iter()
                .filter(|entry| entry.range.contains(base))
                // `max_by_key` takes the last of equals: reverse to prefer the oldest.
                .rev()
                .max_by_key(|entry| entry.priority);
            let (Some(entry), Some(range)) = (winner, AddressRange::inclusive(base, last)) else { continue };
            pieces.push(Piece { range, region_base: entry.range.base(), device: Arc::clone(&entry.device) });
        }
        // Neighbouring pieces of one region answer as one, so that an access across a hidden boundary stays whole.
        pieces.dedup_by(|next, previous| {
            let joins = Arc::ptr_eq(&next.device, &previous.device)
                && next.region_base == previous.region_base
                && previous.range.last().checked_add(1) == Some(next.range.base());
            if joins && let Some(range) = AddressRange::inclusive(previous.range.base(), next.range.last()) {
                previous.range = range;
            }
            joins
        });
        Self { pieces }
    }

    /// Whether the piece at `place`, or the gap before it, has the address.
    #[inline]
    fn is_at(&self, place: usize, address: u64) -> bool {
        let before = self.pieces.get(..place).and_then(<[Piece]>::last);
        before.is_none_or(|piece| piece.range.last() < address)
            && match self.pieces.get(place) {
                Some(piece) => address <= piece.range.last(),
                None => place == self.pieces.len(),
            }
    }

    /// Who answers `len` bytes at `address`. `place`: what was found last by who asks, which often is the next as well.
    #[inline]
    pub(super) fn find(&self, address: u64, len: usize, place: &mut usize) -> Found<'_> {
        // An access that wraps at the end of the address space is taken byte by byte.
        let Some(last) = address.checked_add((len as u64).saturating_sub(1)) else { return Found::Straddles };
        if !self.is_at(*place, address) {
            *place = self.pieces.partition_point(|piece| piece.range.last() < address);
        }
        match self.pieces.get(*place) {
            Some(piece) if piece.range.base() <= address => {
                if last <= piece.range.last() {
                    Found::Whole(piece.device.as_ref(), address - piece.region_base)
                } else {
                    Found::Straddles
                }
            }
            Some(piece) if piece.range.base() <= last => Found::Straddles,
            _ => Found::Nothing,
        }
    }
}
