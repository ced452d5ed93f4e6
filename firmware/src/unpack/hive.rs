//! Windows registry hives: the values of each key, which may hold a ROM, joined.
//!
//! Windows' graphics drivers keep a ROM in the hive SYSTEM (`…\Class\{4d36e968-…}\NNNN\Session`), as one large value, which a
//! hive keeps in pieces of 16344 bytes, or as several values. Layout as Maxim Suhanov's "Windows registry file format
//! specification" describes it; all integers are little-endian. Offsets in a hive count from the end of its base block.

use std::collections::HashSet;

use crate::image::fv::{u16_at, u32_at};

/// What a hive begins with.
pub(super) const SIGNATURE: &[u8] = b"regf";
/// Size of the base block, in bytes.
const BASE: usize = 4096;
/// Keys to visit, at most: Windows' largest hives have some hundred thousand.
const MAX_KEYS: usize = 2_000_000;
/// Values of a key, and entries of a list, at most.
const MAX_ENTRIES: usize = 65_536;
/// Lists within lists: the format has two levels.
const MAX_LISTS: usize = 4;
/// Levels of keys that are shown, and bytes of a key's name: Windows allows 255 characters.
const MAX_LEVELS: usize = 64;
const MAX_NAME: usize = 510;
/// Bytes of a value above which it is kept in pieces, and so of a piece.
const PIECE: usize = 16344;
/// Size of a value without its name, in bytes.
const VALUE: usize = 20;
/// REG_BINARY.
const BINARY: u32 = 3;
/// No offset.
const NONE: u32 = u32::MAX;

/// A hive.
pub(super) struct Hive<'a> {
    /// What offsets count from the start of.
    bins: &'a [u8],
    root: u32,
    /// Bytes of the hive are missing.
    cut: bool,
}

/// What a key holds.
pub(super) struct Values {
    /// The key.
    pub(super) path: String,
    /// The data of its binary values, in the order of their names.
    pub(super) bytes: Vec<u8>,
}

impl<'a> Hive<'a> {
    /// Reads the base block that `bytes` begin with; `None` unless its checksum is right.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let base = bytes.get(..BASE).filter(|base| base.starts_with(SIGNATURE))?;
        let words = base.get(..0x1fc)?.chunks_exact(4);
        let sum = words.fold(0, |sum, word| sum ^ u32_at(word, 0).unwrap_or_default());
        // 0 and 0xffffffff are stored as 1 and 0xfffffffe.
        let sum = sum.clamp(1, u32::MAX - 1);
        let size = usize::try_from(u32_at(base, 0x28)?).ok()?;
        let rest = bytes.get(BASE..)?;
        let cut = rest.len() < size;
        let bins = rest.get(..size.min(rest.len()))?;
        (u32_at(base, 0x1fc) == Some(sum)).then_some(Self { bins, root: u32_at(base, 0x24)?, cut })
    }

    /// Size of the hive, in bytes.
    pub(super) fn size(&self) -> usize {
        BASE.saturating_add(self.bins.len())
    }

    /// Visits each key that has binary values of `least` bytes or more together. Those of a key may have `limit`
    /// bytes. Gives a sentence if something could not be read.
    pub(super) fn visit(
        &self,
        least: usize,
        limit: usize,
        visit: &mut dyn FnMut(Values) -> bool,
    ) -> Option<String> {
        let mut keys = vec![self.root];
        let mut seen: HashSet<u32> = keys.iter().copied().collect();
        let mut unread = 0usize;
        // Nothing is in a hive twice, but what is damaged may be referred to again and again.
        let mut budget = Budget(self.bins.len().saturating_mul(2));
        while let Some(at) = keys.pop() {
            let Some(key) = self.cell(at).filter(|key| key.starts_with(b"nk")) else {
                unread += 1;
                continue;
            };
            if u32_at(key, 0x14) > Some(0) {
                let mut subkeys = Vec::new();
                let list = u32_at(key, 0x1c).unwrap_or(NONE);
                unread += usize::from(self.list(list, MAX_LISTS, &mut subkeys, &mut budget).is_none());
                keys.extend(subkeys.into_iter().filter(|subkey| seen.insert(*subkey)));
                if seen.len() > MAX_KEYS {
                    return Some(format!("it has more than {MAX_KEYS} keys; the rest was left out"));
                }
            }
            let Some(values) = self.values(key, limit, &mut budget) else {
                unread += 1;
                continue;
            };
            if values.len() >= least && !visit(Values { path: self.path(at), bytes: values }) {
                return None;
            }
        }
        if self.cut {
            return Some("its end is missing: it was not copied in whole".into());
        }
        (unread > 0).then(|| format!("{unread} keys cannot be read: it is damaged"))
    }

    /// The data of a cell.
    fn cell(&self, at: u32) -> Option<&'a [u8]> {
        let at = usize::try_from(at).ok()?;
        // Negative: in use.
        let size = u32_at(self.bins, at)?.wrapping_neg();
        let size = usize::try_from(size).ok().filter(|size| (8..=self.bins.len()).contains(size))?;
        self.bins.get(at.checked_add(4)?..at.checked_add(size)?)
    }

    /// The offsets in a list of keys.
    fn list(&self, at: u32, levels: usize, out: &mut Vec<u32>, budget: &mut Budget) -> Option<()> {
        let levels = levels.checked_sub(1)?;
        let cell = self.cell(at)?;
        let count = usize::from(u16_at(cell, 2)?);
        let step = match cell.get(..2)? {
            b"lf" | b"lh" => 8,
            b"li" | b"ri" => 4,
            _ => return None,
        };
        for index in 0..count {
            budget.spend(step)?;
            let entry = u32_at(cell, 4 + index * step)?;
            match cell.starts_with(b"ri") {
                true => self.list(entry, levels, out, budget)?,
                false => out.push(entry),
            }
            if out.len() > MAX_KEYS {
                return None;
            }
        }
        Some(())
    }

    /// The data of a key's binary values, in the order of their names.
    fn values(&self, key: &[u8], limit: usize, budget: &mut Budget) -> Option<Vec<u8>> {
        let count = usize::try_from(u32_at(key, 0x24)?).ok()?;
        if count == 0 {
            return Some(Vec::new());
        }
        let list = self.cell(u32_at(key, 0x28)?)?;
        let mut named = Vec::new();
        let mut total = 0usize;
        if count > MAX_ENTRIES {
            return None;
        }
        for index in 0..count {
            budget.spend(VALUE)?;
            let value = self.cell(u32_at(list, index * 4)?).filter(|value| value.starts_with(b"vk"))?;
            // The top bit says that the data stands in place of its offset.
            let (size, at) = (u32_at(value, 4)?, u32_at(value, 8)?);
            let size = match u32_at(value, 0x0c)? {
                BINARY => usize::try_from(size).ok().filter(|size| *size < 1 << 31).unwrap_or(0),
                _ => 0,
            };
            if size == 0 {
                continue;
            }
            let name = value.get(0x14..0x14 + usize::from(u16_at(value, 2)?))?;
            // One value may be listed again and again.
            budget.spend(name.len())?;
            budget.spend(size)?;
            total = total.checked_add(size).filter(|total| *total <= limit)?;
            named.push((order(name), at, size));
        }
        named.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        let mut joined = Vec::with_capacity(total);
        for (_, at, size) in named {
            self.data(at, size, &mut joined)?;
        }
        Some(joined)
    }

    /// Adds the data of a value.
    fn data(&self, at: u32, size: usize, joined: &mut Vec<u8>) -> Option<()> {
        let cell = self.cell(at)?;
        if size <= PIECE || !cell.starts_with(b"db") {
            joined.extend_from_slice(cell.get(..size)?);
            return Some(());
        }
        let pieces = self.cell(u32_at(cell, 4)?)?;
        let mut left = size;
        for index in 0..usize::from(u16_at(cell, 2)?) {
            let piece = self.cell(u32_at(pieces, index * 4)?)?.get(..left.min(PIECE))?;
            joined.extend_from_slice(piece);
            left -= piece.len();
        }
        (left == 0).then_some(())
    }

    /// The path of a key, from the root on.
    fn path(&self, mut at: u32) -> String {
        let mut names = Vec::new();
        while at != self.root && names.len() < MAX_LEVELS {
            let Some(key) = self.cell(at) else { break };
            let length = usize::from(u16_at(key, 0x48).unwrap_or_default()).min(MAX_NAME);
            let name = key.get(0x4c..0x4c + length).unwrap_or_default();
            // KEY_COMP_NAME: one byte for each character, else two.
            let wide = u16_at(key, 2).is_some_and(|flags| flags & 0x20 == 0);
            names.push(match wide {
                true => {
                    let units = name.chunks_exact(2).filter_map(|unit| u16_at(unit, 0));
                    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
                }
                false => name.iter().map(|byte| char::from(*byte)).collect::<String>(),
            });
            at = u32_at(key, 0x10).unwrap_or(NONE);
        }
        names.reverse();
        names.join("\\")
    }
}

/// Bytes that may still be read.
struct Budget(usize);

impl Budget {
    fn spend(&mut self, bytes: usize) -> Option<()> {
        self.0 = self.0.checked_sub(bytes)?;
        Some(())
    }
}

/// What names are sorted by: 2 comes before 10, and, in hexadecimal, 0a between.
fn order(name: &[u8]) -> (Vec<u8>, usize, Vec<u8>) {
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (stem, digits) = name.split_at(name.len() - digits);
    let leading = digits.iter().take_while(|byte| **byte == b'0').count();
    let digits = digits.get(leading..).unwrap_or_default();
    (stem.to_ascii_lowercase(), digits.len(), digits.to_ascii_lowercase())
}
