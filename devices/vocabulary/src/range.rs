//! Ranges of guest addresses or I/O ports.

use std::fmt;

/// A non-empty range of guest addresses or ports; by default the one address 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AddressRange {
    base: u64,
    last: u64,
}

impl AddressRange {
    /// `len` addresses from `base`; `None` when empty or beyond the end of the address space.
    pub const fn new(base: u64, len: u64) -> Option<Self> {
        if len == 0 {
            return None;
        }
        match base.checked_add(len - 1) {
            Some(last) => Some(Self { base, last }),
            None => None,
        }
    }

    /// From `base` to `last`, both included; `None` when `last` lies before `base`.
    pub const fn inclusive(base: u64, last: u64) -> Option<Self> {
        if last < base { None } else { Some(Self { base, last }) }
    }

    /// From `base` to `last`, for the constants of this crate.
    pub(crate) const fn fixed(base: u64, last: u64) -> Self {
        assert!(base <= last);
        Self { base, last }
    }

    /// First address.
    pub const fn base(self) -> u64 {
        self.base
    }

    /// Last address.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Number of addresses, saturating for the whole 64-bit space.
    pub const fn len(self) -> u64 {
        (self.last - self.base).saturating_add(1)
    }

    /// Ranges are never empty.
    pub const fn is_empty(self) -> bool {
        false
    }

    /// Whether `address` lies within.
    pub const fn contains(self, address: u64) -> bool {
        self.base <= address && address <= self.last
    }

    /// Whether all of `other` lies within.
    pub const fn covers(self, other: Self) -> bool {
        self.base <= other.base && other.last <= self.last
    }

    /// Whether the two share an address.
    pub const fn overlaps(self, other: Self) -> bool {
        self.base <= other.last && other.base <= self.last
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.base, self.last)
    }
}
