//! Finds containers in some bytes by their signatures, wherever they begin.

use super::stream::{Stream, is_lzma_alone};
use super::{Container, Tool, bios_guard, cabinet, dell, hive, known, seven_zip};
use crate::uefi_volume::{Sections, Unread, method_guids};

/// More signatures than any update has; behind them only noise or malice can lie.
const MAX_CONTAINERS: usize = 50_000;
/// Distance from the start of a firmware volume to its signature.
const FVH: usize = 40;

/// What was found by signature.
pub(super) struct Carved {
    pub(super) containers: Vec<Container>,
    pub(super) volumes: usize,
    /// Volumes and sections that cannot be unpacked.
    pub(super) unread: Vec<Unread>,
    /// Whether there were too many to list.
    pub(super) cut: bool,
}

/// Lists the containers in `bytes` in the order in which they are to be opened. `sections` says that the bytes themselves are
/// a row of UEFI sections.
pub(super) fn carve(bytes: &[u8], sections: bool) -> Carved {
    let guids = method_guids();
    let starts = Starts::new(&guids);
    let mut found = Vec::new();
    let mut uefi = Sections::default();
    let mut volumes = 0;
    let mut cut = false;
    if sections {
        uefi.walk_sections(bytes, 0..bytes.len());
    }
    found.extend(whole(bytes));
    for (at, pair) in bytes.windows(2).enumerate() {
        let [first, second] = pair else { break };
        if !starts.has(*first, *second) {
            continue;
        }
        let Some(rest) = bytes.get(at..) else { break };
        if rest.starts_with(b"_FVH") {
            volumes += usize::from(at.checked_sub(FVH).is_some_and(|start| uefi.walk_volume(bytes, start)));
        } else if let Some(container) = container(bytes, at) {
            found.push(container);
        } else if guids.iter().any(|guid| guid.first() == Some(first) && rest.starts_with(guid)) {
            uefi.take_guid(bytes, at);
        }
        if found.len() >= MAX_CONTAINERS {
            cut = true;
            break;
        }
    }
    let unread = uefi.unread().to_vec();
    found.extend(uefi.into_found().into_iter().map(Container::Section));
    found.extend(tools(bytes).map(|tool| Container::External(tool, 0..bytes.len())));
    found.sort_by_key(Container::rank);
    Carved { containers: found, volumes, unread, cut }
}

/// The container that `bytes` are as a whole, if they begin with one.
pub(super) fn first(bytes: &[u8]) -> Option<Container> {
    container(bytes, 0).or_else(|| whole(bytes))
}

/// What can only be told from the start of a file.
fn whole(bytes: &[u8]) -> Option<Container> {
    if is_lzma_alone(bytes) {
        return Some(Container::Stream(Stream::Lzma, 0));
    }
    known::at(bytes, 0).map(|format| Container::Known(0, format))
}

/// The container whose signature stands at `at`.
fn container(bytes: &[u8], at: usize) -> Option<Container> {
    let rest = bytes.get(at..)?;
    let found = match rest {
        [b'P', b'K', 5, 6, ..] => Container::Zip(zip_end(rest, at)),
        [b'P', b'K', 3, 4, ..] => Container::LoneZip(at),
        [b'7', ..] if rest.starts_with(&seven_zip::SIGNATURE) => Container::SevenZip(at),
        [0x6e, ..] if rest.starts_with(&seven_zip::ROTATED) => Container::RotatedSevenZip(at),
        [b'P', ..] if rest.starts_with(dell::SIGNATURE) => Container::Pfs(at),
        [b'_', ..] if rest.starts_with(bios_guard::SIGNATURE) => {
            Container::BiosGuard(at.checked_sub(bios_guard::BEFORE_SIGNATURE)?)
        }
        [b'M', ..] if rest.starts_with(cabinet::SIGNATURE) => Container::Cabinet(at),
        [b'r', ..] if rest.starts_with(hive::SIGNATURE) => Container::Hive(at),
        _ => match Stream::at(rest) {
            Some(stream) => Container::Stream(stream, at),
            // One at the start is listed already.
            None => Container::Known(at, known::at(bytes, at).filter(|_| at > 0)?),
        },
    };
    Some(found)
}

/// What signatures begin with: a set of pairs of bytes, as bits. So few of a file's bytes begin a signature that all else
/// is a matter of these alone, and they fit in a processor's fastest cache.
struct Starts([u64; 1024]);

impl Starts {
    fn new(guids: &[[u8; 16]]) -> Self {
        let mut starts = Self([0; 1024]);
        let streams: [&[u8]; 8] = [
            &[0x1f, 0x8b],
            &[0xfd, b'7'],
            &[0x78, 0x01],
            &[0x78, 0x5e],
            &[0x78, 0x9c],
            &[0x78, 0xda],
            b"BZ",
            &[0x28, 0xb5],
        ];
        let others: [&[u8]; 8] = [
            b"_FVH",
            b"PK",
            &seven_zip::SIGNATURE,
            &seven_zip::ROTATED,
            dell::SIGNATURE,
            bios_guard::SIGNATURE,
            cabinet::SIGNATURE,
            hive::SIGNATURE,
        ];
        let guids = guids.iter().map(<[u8; 16]>::as_slice);
        for signature in streams.into_iter().chain(others).chain(known::signatures()).chain(guids) {
            if let [first, second, ..] = signature {
                let (word, bit) = Self::place(*first, *second);
                if let Some(word) = starts.0.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        starts
    }

    #[inline]
    fn place(first: u8, second: u8) -> (usize, u64) {
        let pair = u16::from_be_bytes([first, second]);
        (usize::from(pair / 64), 1 << (pair % 64))
    }

    #[inline]
    fn has(&self, first: u8, second: u8) -> bool {
        let (word, bit) = Self::place(first, second);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

/// Where the archive ends whose end record begins `rest`: behind its comment.
fn zip_end(rest: &[u8], at: usize) -> usize {
    let comment = match rest.get(20..22) {
        Some([low, high]) => usize::from(u16::from_le_bytes([*low, *high])),
        _ => 0,
    };
    at.saturating_add(22).saturating_add(comment).min(at.saturating_add(rest.len()))
}

/// Programs that only their own tools can open.
fn tools(bytes: &[u8]) -> impl Iterator<Item = Tool> {
    let program = bytes.starts_with(b"MZ");
    let has = |needle: &[u8]| program && bytes.windows(needle.len()).any(|window| window == needle);
    let inno = has(b"Inno Setup Setup Data (").then_some(Tool::Innoextract);
    // UPX marks its header within the first pages.
    let head = bytes.get(..bytes.len().min(4096)).unwrap_or_default();
    let upx = (program && head.windows(4).any(|window| window == b"UPX!")).then_some(Tool::Upx);
    inno.into_iter().chain(upx)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What follows the first two bytes of each signature.
    fn tails() -> Vec<Vec<u8>> {
        let mut all: Vec<Vec<u8>> = vec![
            b"_FVH".to_vec(),
            b"PK\x03\x04".to_vec(),
            b"PK\x05\x06".to_vec(),
            vec![0x1f, 0x8b, 8, 0],
            vec![0xfd, b'7', b'z', b'X', b'Z', 0],
            b"BZh91AY&SY".to_vec(),
            b"BZh9\x17\x72\x45\x38\x50\x90".to_vec(),
            vec![0x28, 0xb5, 0x2f, 0xfd, 0],
        ];
        let named: [&[u8]; 6] = [
            &seven_zip::SIGNATURE,
            &seven_zip::ROTATED,
            dell::SIGNATURE,
            bios_guard::SIGNATURE,
            cabinet::SIGNATURE,
            hive::SIGNATURE,
        ];
        all.extend(named.into_iter().chain(known::signatures()).map(<[u8]>::to_vec));
        all.into_iter().map(|signature| signature[2..].to_vec()).collect()
    }

    #[test]
    fn no_signature_begins_with_bytes_that_are_passed_over() {
        let guids = method_guids();
        let starts = Starts::new(&guids);
        assert!(guids.iter().all(|[first, second, ..]| starts.has(*first, *second)));
        assert!(starts.has(b'_', b'F'));
        let before = bios_guard::BEFORE_SIGNATURE;
        let mut found = 0;
        for tail in tails() {
            let mut bytes = [vec![0; before + 2], tail, vec![0; 64]].concat();
            for pair in 0..=u16::MAX {
                let [first, second] = pair.to_be_bytes();
                bytes[before..before + 2].copy_from_slice(&[first, second]);
                let is_one = container(&bytes, before).is_some();
                assert!(!is_one || starts.has(first, second), "{:x?}", &bytes[before..]);
                found += usize::from(is_one);
            }
        }
        // Each but the volume's and AMI UCP's, which are looked at more closely, at least once.
        assert!(found >= tails().len() - 3, "{found}");
    }
}
