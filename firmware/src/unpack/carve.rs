//! Finds containers in some bytes by their signatures, wherever they begin.

use super::stream::Stream;
use super::{Container, Tool};
use crate::uefi_volume::{Sections, method_guids};

/// More signatures than any update has; behind them only noise or malice can lie.
const MAX_CONTAINERS: usize = 50_000;
/// Distance from the start of a firmware volume to its signature.
const FVH: usize = 40;

/// What was found by signature.
pub(super) struct Carved {
    pub(super) containers: Vec<Container>,
    pub(super) volumes: usize,
    /// Whether there were too many to list.
    pub(super) cut: bool,
}

/// Lists the containers in `bytes` in the order of their signatures; tools last. `sections` says that the
/// bytes themselves are a row of UEFI sections.
pub(super) fn carve(bytes: &[u8], sections: bool) -> Carved {
    let guids = method_guids();
    let interesting = first_bytes(&guids);
    let mut found = Vec::new();
    let mut uefi = Sections::default();
    let mut volumes = 0;
    let mut cut = false;
    if sections {
        uefi.walk_sections(bytes, 0..bytes.len());
    }
    for (at, first) in bytes.iter().enumerate() {
        if !interesting.get(usize::from(*first)).is_some_and(|yes| *yes) {
            continue;
        }
        let Some(rest) = bytes.get(at..) else { break };
        match rest {
            [b'_', b'F', b'V', b'H', ..] => {
                volumes +=
                    usize::from(at.checked_sub(FVH).is_some_and(|start| uefi.walk_volume(bytes, start)));
            }
            [b'P', b'K', 5, 6, ..] => found.push(Container::Zip(zip_end(rest, at))),
            [b'P', b'F', b'S', b'.', b'H', b'D', b'R', b'.', ..] => found.push(Container::Pfs(at)),
            [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => found.push(Container::SevenZip(at)),
            [0x1f, 0x8b, 8, flags, ..] if flags & 0xe0 == 0 => {
                found.push(Container::Stream(Stream::Gzip, at))
            }
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => found.push(Container::Stream(Stream::Xz, at)),
            // A window of 32 KiB, and the header's checksum right, at each of the four levels.
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => found.push(Container::Stream(Stream::Zlib, at)),
            _ if guids.iter().any(|guid| rest.starts_with(guid)) => uefi.take_guid(bytes, at),
            _ => {}
        }
        if found.len() >= MAX_CONTAINERS {
            cut = true;
            break;
        }
    }
    found.extend(uefi.into_found().into_iter().map(Container::Section));
    found.extend(tools(bytes).map(Container::External));
    Carved { containers: found, volumes, cut }
}

fn first_bytes(guids: &[[u8; 16]]) -> Vec<bool> {
    let mut table = vec![false; 256];
    let signatures = [b'_', b'P', b'7', 0x1f, 0xfd, 0x78];
    for first in signatures.into_iter().chain(guids.iter().filter_map(|guid| guid.first().copied())) {
        if let Some(entry) = table.get_mut(usize::from(first)) {
            *entry = true;
        }
    }
    table
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
