//! Physical Region Pages: where in guest memory a command's data is (NVM Express Base Specification 2.0, 4.1.1).
//!
//! PRP 1 points anywhere into a page. What is left is in the page of PRP 2, or in the pages of a list that PRP 2 points to; a list
//! that does not end in its page goes on at its last entry. Each page of a list but the first starts at the page's beginning, so a list is as
//! long as its data and no longer, whatever the guest writes.

use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use crate::GuestRam;
use crate::disk::engine::Piece;

use super::command::{Command, Status};

/// Bytes of a memory page, the only size that the controller has (CAP.MPSMIN and MPSMAX).
pub(super) const PAGE: u64 = 4096;
/// Bytes of an entry of a list.
const ENTRY: u64 = 8;

/// Appends the pieces of guest memory that hold `len` bytes of `command`'s data, neighbours as one. To be called under a permit.
///
/// # Errors
/// The status of the command: an entry that is not where one may point, or a list that is not in RAM. Whether the data is, is found when it
/// is transferred.
pub(super) fn pieces(
    command: &Command,
    len: u32,
    ram: &GuestRam,
    into: &mut Vec<Piece>,
) -> Result<(), Status> {
    let mut rest = u64::from(len);
    let first = command.prp1();
    if !first.is_multiple_of(4) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let mut add = |address: u64, most: u64| {
        let len = rest.min(most);
        rest -= len;
        match into.last_mut() {
            Some(Piece { address: before, len: length })
                if before.checked_add(u64::from(*length)) == Some(address) =>
            {
                *length += len as u32;
            }
            _ if len > 0 => into.push(Piece { address, len: len as u32 }),
            _ => {}
        }
        rest
    };
    let rest = add(first, PAGE - first % PAGE);
    let second = command.prp2();
    if rest == 0 {
        return Ok(());
    }
    if rest <= PAGE {
        if !second.is_multiple_of(PAGE) {
            return Err(Status::INVALID_PRP_OFFSET);
        }
        add(second, PAGE);
        return Ok(());
    }
    if !second.is_multiple_of(ENTRY) {
        return Err(Status::INVALID_PRP_OFFSET);
    }
    let (mut list, mut needed) = (second, rest.div_ceil(PAGE));
    loop {
        let room = (PAGE - list % PAGE) / ENTRY;
        let (data, goes_on) = if needed > room { (room - 1, true) } else { (needed, false) };
        let entries = read_list(list, data + u64::from(goes_on), ram)?;
        let mut entries =
            entries.as_chunks::<{ ENTRY as usize }>().0.iter().map(|entry| u64::from_le_bytes(*entry));
        for entry in entries.by_ref().take(data as usize) {
            if !entry.is_multiple_of(PAGE) {
                return Err(Status::INVALID_PRP_OFFSET);
            }
            add(entry, PAGE);
        }
        needed -= data;
        match entries.next() {
            Some(next) if next.is_multiple_of(PAGE) => list = next,
            Some(_) => return Err(Status::INVALID_PRP_OFFSET),
            None => return Ok(()),
        }
    }
}

/// `count` entries, which do not leave their page.
fn read_list(list: u64, count: u64, ram: &GuestRam) -> Result<Vec<u8>, Status> {
    let mut bytes = vec![0; (count * ENTRY).min(PAGE) as usize];
    ram.read_slice(&mut bytes, GuestAddress(list)).map_err(|_| Status::DATA_TRANSFER)?;
    Ok(bytes)
}

/// Whether a whole page is RAM.
pub(super) fn is_ram(page: u64, ram: &GuestRam) -> bool {
    ram.check_range(GuestAddress(page), PAGE as usize)
}

/// Reads `len` bytes of data that `command` brings along. To be called under a permit.
pub(super) fn read(command: &Command, len: u32, ram: &GuestRam) -> Result<Vec<u8>, Status> {
    let mut found = Vec::new();
    pieces(command, len, ram, &mut found)?;
    let mut data = Vec::with_capacity(len as usize);
    for piece in found {
        let at = data.len();
        data.resize(at + piece.len as usize, 0);
        let part = data.get_mut(at..).unwrap_or_default();
        ram.read_slice(part, GuestAddress(piece.address)).map_err(|_| Status::DATA_TRANSFER)?;
    }
    Ok(data)
}

/// Writes `data` to where `command` wants it. To be called under a permit.
pub(super) fn write(command: &Command, data: &[u8], ram: &GuestRam) -> Result<(), Status> {
    let mut found = Vec::new();
    pieces(command, u32::try_from(data.len()).map_err(|_| Status::INVALID_FIELD)?, ram, &mut found)?;
    let mut rest = data;
    for piece in found {
        let Some((part, behind)) = rest.split_at_checked(piece.len as usize) else { break };
        ram.write_slice(part, GuestAddress(piece.address)).map_err(|_| Status::DATA_TRANSFER)?;
        rest = behind;
    }
    Ok(())
}
