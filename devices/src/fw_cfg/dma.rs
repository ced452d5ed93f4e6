//! DMA transfers (QEMU `docs/specs/fw_cfg.rst`, "Guest-side DMA Interface"). A descriptor in guest memory holds
//! big-endian control, length and address; the device clears control when it is done, or leaves the error bit.
//!
//! The transfer is complete when the write to the port returns, because firmware puts the descriptor on its stack.

use std::sync::atomic::{Ordering, fence};

use bitflags::bitflags;
use vm_memory::{Address, Bytes, GuestAddress, GuestMemoryBackend};

use super::{Configuration, State};

/// Most bytes copied at once.
const CHUNK: u32 = 64 * 1024;

bitflags! {
    /// The low half of the control word; the high half is the key to select.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    struct Control: u32 {
        const ERROR = 1 << 0;
        const READ = 1 << 1;
        const SKIP = 1 << 2;
        const SELECT = 1 << 3;
        const WRITE = 1 << 4;
    }
}

/// The guest asked for something impossible, or the host could not do it.
struct Refused;

/// Carries out the transfer described at `address`.
pub(super) fn transfer(config: &Configuration, state: &mut State, address: u64) {
    let address = GuestAddress(address);
    let mut descriptor = [0; 16];
    let outcome = match config.ram.read_slice(&mut descriptor, address) {
        Ok(()) => {
            let [c0, c1, c2, c3, l0, l1, l2, l3, a @ ..] = descriptor;
            let control = u32::from_be_bytes([c0, c1, c2, c3]);
            let len = u32::from_be_bytes([l0, l1, l2, l3]);
            run(config, state, control, len, GuestAddress(u64::from_be_bytes(a)))
        }
        Err(_) => Err(Refused),
    };
    let control = if outcome.is_ok() { Control::empty() } else { Control::ERROR };
    // The data before the sign that it is there.
    fence(Ordering::Release);
    // A descriptor where there is no memory cannot be answered.
    let _ = config.ram.write_slice(&control.bits().to_be_bytes(), address);
}

fn run(
    config: &Configuration,
    state: &mut State,
    control: u32,
    len: u32,
    target: GuestAddress,
) -> Result<(), Refused> {
    let flags = Control::from_bits_truncate(control);
    if flags.contains(Control::SELECT) {
        state.select(config, (control >> 16) as u16);
    }
    if flags.contains(Control::READ) {
        read(config, state, len, target)
    } else if flags.contains(Control::WRITE) {
        write(config, state, len, target)
    } else {
        if flags.contains(Control::SKIP) {
            state.skip(len);
        }
        Ok(())
    }
}

/// Nothing is transferred unless all of it can be.
fn check(config: &Configuration, target: GuestAddress, len: u32) -> Result<(), Refused> {
    let fits = target.checked_add(u64::from(len)).is_some()
        && usize::try_from(len).is_ok_and(|len| config.ram.check_range(target, len));
    if fits { Ok(()) } else { Err(Refused) }
}

fn read(config: &Configuration, state: &mut State, len: u32, target: GuestAddress) -> Result<(), Refused> {
    check(config, target, len)?;
    // The buffer is kept for the next transfer.
    let mut buffer = std::mem::take(&mut state.buffer);
    let mut done = 0;
    let mut outcome = Ok(());
    while done < len && outcome.is_ok() {
        let count = CHUNK.min(len - done);
        buffer.resize(count as usize, 0);
        outcome = state.read(config, &mut buffer).map_err(|_| Refused).and_then(|()| {
            let target = target.checked_add(u64::from(done)).ok_or(Refused)?;
            config.ram.write_slice(&buffer, target).map_err(|_| Refused)
        });
        done += count;
    }
    state.buffer = buffer;
    outcome
}

fn write(config: &Configuration, state: &mut State, len: u32, source: GuestAddress) -> Result<(), Refused> {
    check(config, source, len)?;
    let (file, contents, range) = state.writable_range(config, len).ok_or(Refused)?;
    let bytes = contents.get_mut(range).ok_or(Refused)?;
    config.ram.read_slice(bytes, source).map_err(|_| Refused)?;
    if len != 0 {
        file.listener.written(contents);
    }
    state.skip(len);
    Ok(())
}
