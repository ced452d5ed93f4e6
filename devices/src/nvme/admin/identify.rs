//! What the controller and its namespace say of themselves (NVM Express Base Specification 2.0, 5.17; NVM Command Set Specification 1.0,
//! 4.1.5).

use crate::disk::{SECTOR, Topology};
use crate::nvme::command::{Command, EVERY_NAMESPACE, NAMESPACE, Status};
use crate::nvme::io::MDTS;
use crate::nvme::log::ENTRIES;
use crate::nvme::registers::VERSION;
use crate::nvme::{Identity, PCI_VENDOR, SUBSYSTEM_VENDOR};

/// Bytes of each structure.
pub(super) const SIZE: usize = 4096;

/// Most asynchronous event requests, and aborts, that can be outstanding.
pub(super) const EVENT_REQUESTS: usize = 4;
const ABORTS: u8 = 4;
/// Kelvin at which a drive warns, and at which it is in danger.
pub(super) const WARNING_TEMPERATURE: u16 = 343;
const CRITICAL_TEMPERATURE: u16 = 353;
/// Optional admin commands: Doorbell Buffer Config. Neither namespace management, firmware, formatting nor self-tests.
const OPTIONAL_ADMIN: u16 = 1 << 8;
/// Optional commands: Dataset Management, Write Zeroes, and the Save and Select fields of features.
const DATASET_MANAGEMENT: u16 = 1 << 2;
const WRITE_ZEROES: u16 = 1 << 3;
const SAVE_AND_SELECT: u16 = 1 << 4;
/// Log pages: commands and effects; lengths and offsets of 32 bits.
const LOG_PAGES: u8 = 1 << 1 | 1 << 2;
/// Namespace features: the sizes that accesses are best laid out by are told.
const HAS_OPTIMAL_SIZES: u8 = 1 << 4;

/// Facts that the structures are made from.
pub(super) struct Facts<'a> {
    pub(super) identity: &'a Identity,
    /// Bytes.
    pub(super) size: u64,
    pub(super) topology: Topology,
    pub(super) can_discard: bool,
    pub(super) read_only: bool,
}

/// The structure that the command asks for, by its Controller or Namespace Structure.
pub(super) fn structure(command: &Command, facts: &Facts<'_>) -> Result<Vec<u8>, Status> {
    let (what, namespace) = (command.dword(10) as u8, command.namespace());
    let command_set = command.dword(11) >> 24;
    let ours = |structure: fn(&Facts<'_>) -> Vec<u8>| match namespace {
        NAMESPACE => Ok(structure(facts)),
        _ => Err(Status::INVALID_NAMESPACE),
    };
    let mut data = match what {
        0x00 => ours(of_namespace)?,
        0x01 => of_controller(facts),
        // The namespaces with a higher identifier.
        0x02 if namespace >= EVERY_NAMESPACE - 1 => return Err(Status::INVALID_NAMESPACE),
        0x02 if namespace < NAMESPACE => NAMESPACE.to_le_bytes().to_vec(),
        0x02 => Vec::new(),
        0x03 => ours(descriptors)?,
        // What the NVM command set adds of a namespace and of a controller: nothing, with limits that are none.
        0x05 if command_set == 0 => ours(|_| Vec::new())?,
        0x06 if command_set == 0 => Vec::new(),
        _ => return Err(Status::INVALID_FIELD),
    };
    data.resize(SIZE, 0);
    Ok(data)
}

/// A structure under construction.
struct Structure(Vec<u8>);

impl Structure {
    fn new() -> Self {
        Self(vec![0; SIZE])
    }

    fn set(&mut self, at: usize, value: &[u8]) {
        self.0.iter_mut().skip(at).zip(value).for_each(|(byte, value)| *byte = *value);
    }

    /// Text of `len` bytes, padded by spaces.
    fn text(&mut self, at: usize, len: usize, text: &str) {
        let padded: Vec<u8> = text.bytes().chain(std::iter::repeat(b' ')).take(len).collect();
        self.set(at, &padded);
    }
}

fn of_controller(facts: &Facts<'_>) -> Vec<u8> {
    let Facts { identity, can_discard, read_only, .. } = facts;
    let mut it = Structure::new();
    it.set(0, &PCI_VENDOR.to_le_bytes());
    it.set(2, &SUBSYSTEM_VENDOR.to_le_bytes());
    it.text(4, 20, &identity.serial);
    it.text(24, 40, &identity.model);
    it.text(64, 8, &identity.firmware_revision);
    it.set(72, &[6]); // RAB: commands of a burst, a power of two
    it.set(77, &[MDTS]);
    it.set(80, &VERSION.to_le_bytes());
    it.set(111, &[1]); // an I/O controller
    it.set(256, &OPTIONAL_ADMIN.to_le_bytes());
    it.set(258, &[ABORTS - 1, EVENT_REQUESTS as u8 - 1]);
    it.set(260, &[1 << 1 | 1, LOG_PAGES, ENTRIES as u8 - 1]); // one firmware slot, which cannot be written
    it.set(266, &WARNING_TEMPERATURE.to_le_bytes());
    it.set(268, &CRITICAL_TEMPERATURE.to_le_bytes());
    it.set(512, &[0x66, 0x44]); // entries of 64 and of 16 bytes
    it.set(516, &1u32.to_le_bytes());
    let discard = if *can_discard { DATASET_MANAGEMENT } else { 0 };
    it.set(520, &(discard | WRITE_ZEROES | SAVE_AND_SELECT).to_le_bytes());
    // A write cache, which is flushed for all namespaces at once, too.
    it.set(525, &[if *read_only { 6 } else { 7 }]);
    let id = identity.uuid;
    it.set(768, format!("nqn.2014-08.org.nvmexpress:uuid:{}", hyphenated(id)).as_bytes());
    it.set(2048, &900u16.to_le_bytes()); // the only power state: 9 W
    it.0
}

/// A UUID as people write it.
fn hyphenated(uuid: [u8; 16]) -> String {
    let digits: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or_default().to_owned();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

fn of_namespace(facts: &Facts<'_>) -> Vec<u8> {
    let Facts { size, topology, read_only, .. } = *facts;
    let mut it = Structure::new();
    let blocks = (size / SECTOR).to_le_bytes();
    it.set(0, &blocks);
    it.set(8, &blocks);
    it.set(16, &blocks);
    it.set(24, &[HAS_OPTIMAL_SIZES]);
    // Write Zeroes frees, if asked to. What freed blocks read as is not promised.
    it.set(33, &[1 << 3]);
    // Units of writes and deallocations, and the size of large writes, in blocks from 0.
    let from_zero = |bytes: u32| u16::try_from((u64::from(bytes) / SECTOR).max(1) - 1).unwrap_or(u16::MAX);
    let (write, free) = (from_zero(topology.physical_block), from_zero(topology.discard_granularity));
    let optimal = if topology.optimal_io == 0 { write } else { from_zero(topology.optimal_io) };
    for (at, value) in [(64, write), (66, write), (68, free), (70, free), (72, optimal)] {
        it.set(at, &value.to_le_bytes());
    }
    it.set(99, &[u8::from(read_only)]);
    // One format: blocks of 512 bytes without metadata.
    it.set(128, &[0, 0, SECTOR.ilog2() as u8, 0]);
    it.0
}

/// The namespace's identifiers: a UUID. There is no EUI-64, so firmware's path of the disk has none.
fn descriptors(facts: &Facts<'_>) -> Vec<u8> {
    let mut list = vec![3, 16, 0, 0];
    list.extend(facts.identity.uuid);
    list
}
