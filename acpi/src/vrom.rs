//! `_ROM` (§B.3.3): the video BIOS of a GPU that has none of its own to read, as laptops keep it in their firmware.
//!
//! The image lies in a blob of its own, which the firmware loads into ACPI NVS memory, below 4 GiB:
//!
//! ```text
//! 0x0000  one page of zeros, at which the pointer in the SSDT leads: no table header, so the blob is kept
//! 0x1000  the image, filled up with zeros to a page
//!         one page of zeros
//! ```
//!
//! An SSDT puts the method on the GPU's own device, so that there is one device per PCI function. Each call
//! declares an operation region over the page that the request begins in and the next one, and returns a piece of
//! it: a request has 4096 bytes at most, so it cannot leave the two. The method is shaped by what Windows is known
//! to execute:
//!
//! * Operation regions at computed addresses, declared inside of methods, are in the firmware of shipped laptops,
//!   in `_ROM` itself too (Intel's reference code for switchable graphics, and coreboot's `acpigen_write_rom`).
//! * Fields much larger than an integer are read into buffers by the `_ROM` of other laptops, 32 KiB at a time;
//!   these are 8 KiB.
//! * Regions begin at a page and are read as aligned 32-bit words: nothing depends on how an interpreter maps or
//!   reads odd addresses.
//! * The field is fetched whole into a local and the piece is cut from that and returned, in the same two steps as in
//!   tables that are reported to work.
//! * It needs no ToString, whose missing length Windows refuses, no loops, no I/O, and no large object between calls.
//!
//! A fixed region with fixed fields was rejected: fields cannot follow the request, so either requests across their
//! borders are cut, as in some laptops, or there must be a field per page of the image.

use std::sync::Arc;

use acpi_tables::aml::{
    Add, And, Arg, BufferTerm, Device, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule,
    GreaterThan, If, LessThan, Local, Method, Mid, OpRegion, OpRegionSpace, Path, Return, Scope, Store, ZERO,
};

use crate::aml::{External, ObjectKind, Terms};
use crate::dsdt::{ANY_BUS_NAMES, ROOT_BUS_ADDRESSES, ROOT_BUS_NAMES, adr};
use crate::error::Error;
use crate::fixed::table;
use crate::platform::{FunctionKind, NameSeg, PciFunction, Platform};

/// Bytes that one call returns at most (§B.3.3).
const CALL: u32 = 4096;

/// Largest image, in bytes. Option ROMs of GPUs have up to about 1 MiB; this is memory that the guest loses.
pub const MAX_IMAGE: usize = 16 << 20;

/// From revision 2 on integers have 64 bits.
const REVISION: u8 = 2;

/// The OEM table id that tells this SSDT from the user's.
const TABLE_ID: [u8; 8] = *b"OPTVROM ";

/// An image, and the PCI function whose `_ROM` returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vrom {
    /// Device and function numbers from bus 0 on, through the bridges: `[(1, 0), (0, 0)]` is function 00.0 below the
    /// root port 00:01.0. Where [`crate::PciRoot::functions`] has no such function, a device is made for it, and
    /// for the bridges that are missing on the way.
    pub at: Vec<(u8, u8)>,
    /// The image, 1 byte to [`MAX_IMAGE`].
    pub image: Arc<[u8]>,
}

impl Vrom {
    /// The blob, with the pages of zeros around the image.
    pub(crate) fn blob(&self) -> Vec<u8> {
        let page = CALL as usize;
        let length = self.image.len().next_multiple_of(page).saturating_add(2 * page);
        let mut blob = Vec::with_capacity(length);
        blob.resize(page, 0);
        blob.extend_from_slice(&self.image);
        blob.resize(length, 0);
        blob
    }
}

/// The SSDT, checksum zero. Its last four bytes are the field for the blob's address.
pub(crate) fn ssdt(platform: &Platform, vrom: &Vrom) -> Result<Vec<u8>, Error> {
    let length = u32::try_from(vrom.image.len()).unwrap_or(u32::MAX);
    if vrom.image.is_empty() || vrom.image.len() > MAX_IMAGE {
        return Err(Error::VromSize(vrom.image.len()));
    }
    let Node { scope, missing } = node(platform, &vrom.at)?;

    let mut content = Terms::new();
    content.push(&method(length));
    content.push(&Terms::from(b"\x08RBAS\x0C\0\0\0\0".to_vec()));
    for (name, (device, function)) in missing.into_iter().rev() {
        let address = adr(device, function);
        let mut outer = Terms::new();
        outer.push(&Device::new(name.path(), vec![&address, &content]));
        content = outer;
    }

    let mut body = Terms::new();
    // For disassemblers. Interpreters must not meet it, so compilers too wrap it like this.
    let external = External::new(Path::new(&scope), ObjectKind::Device, 0);
    body.push(&If::new(&ZERO, vec![&external]));
    body.push(&Scope::new(Path::new(&scope), vec![&content]));
    let oem = crate::OemIds { table_id: TABLE_ID, ..platform.oem };
    Ok(table(*b"SSDT", REVISION, oem, &body.into_bytes()))
}

/// `_ROM` for an image of `length` bytes.
fn method(length: u32) -> Terms {
    let page_mask = CALL - 1;
    let (offset, count) = (Arg(0), Local(0));
    let base = Local(1);
    let region = || Path::new("VROM");

    let begin = Add::new(&ZERO, &base, &CALL);
    let (to_page, two_pages) = (!page_mask, 2 * CALL);
    let page = And::new(&base, &offset, &to_page);
    let rbas = Path::new("RBAS");
    let address = Add::new(&base, &base, &rbas);
    let declare = OpRegion::new(region(), OpRegionSpace::SystemMemory, &begin, &two_pages);
    let bits = two_pages as usize * 8;
    let field = Field::new(
        region(),
        FieldAccessType::DWord,
        FieldLockRule::NoLock,
        FieldUpdateRule::Preserve,
        vec![FieldEntry::Named(*b"PAGE", bits)],
    );
    let (field_name, pages) = (Path::new("PAGE"), Local(2));
    let fetch = Store::new(&pages, &field_name);
    let in_page = And::new(&ZERO, &offset, &page_mask);
    let piece = Mid::new(&pages, &in_page, &count, &ZERO);
    let found = Return::new(&piece);

    let asked = Arg(1);
    let limit = Store::new(&count, &CALL);
    let zeros = BufferTerm::new(&count);
    let mut terms = Terms::new();
    terms.push(&Method::new(
        "_ROM".into(),
        2,
        // It makes objects, which a second call must not find there already.
        true,
        vec![
            &Store::new(&count, &asked),
            &If::new(&GreaterThan::new(&asked, &CALL), vec![&limit]),
            &If::new(
                &LessThan::new(&offset, &length),
                vec![&page, &address, &declare, &field, &fetch, &found],
            ),
            &Return::new(&zeros),
        ],
    ));
    terms
}

/// Where the method goes.
struct Node {
    /// Path of the device that the DSDT has.
    scope: String,
    /// The devices to make below it, outermost first.
    missing: Vec<(NameSeg, (u8, u8))>,
}

fn node(platform: &Platform, at: &[(u8, u8)]) -> Result<Node, Error> {
    let mut scope = "\\_SB_.PCI0".to_owned();
    let mut missing: Vec<(NameSeg, (u8, u8))> = Vec::new();
    let mut bus: Option<&[PciFunction]> = Some(&platform.pci.functions);
    let unusable = |reason: String| Error::VromPlace { reason };
    if at.is_empty() || at.len() > 255 {
        return Err(unusable(format!("a path of {} functions leads nowhere", at.len())));
    }
    for (depth, &(device, function)) in at.iter().enumerate() {
        let last = depth.saturating_add(1) == at.len();
        if device > 31 || function > 7 {
            return Err(unusable(format!("there is no PCI address {device:02x}.{function:x}")));
        }
        if depth == 0 && ROOT_BUS_ADDRESSES.contains(&(device, function)) {
            return Err(unusable(format!("00:{device:02x}.{function:x} is a function of the chipset")));
        }
        let siblings = if missing.is_empty() { bus.unwrap_or_default() } else { &[] };
        let here = siblings.iter().find(|entry| (entry.device, entry.function) == (device, function));
        match here {
            Some(PciFunction { name, kind, .. }) => {
                scope.push('.');
                scope.push_str(&name.to_string());
                bus = match kind {
                    FunctionKind::Bridge { children } => Some(children),
                    FunctionKind::Endpoint if last => None,
                    FunctionKind::Endpoint => {
                        return Err(unusable(format!("{scope} is no bridge, so nothing can be below it")));
                    }
                };
            }
            None => {
                let reserved: &[NameSeg] = if depth == 0 { &ROOT_BUS_NAMES } else { &ANY_BUS_NAMES };
                let taken = siblings.iter().map(|entry| entry.name).chain(reserved.iter().copied());
                missing.push((free_name(taken.collect(), last)?, (device, function)));
            }
        }
    }
    Ok(Node { scope, missing })
}

/// `PEGP` for the GPU and `PEG0` for a bridge above it, or similar names that no sibling has.
fn free_name(taken: Vec<NameSeg>, gpu: bool) -> Result<NameSeg, Error> {
    let first: &str = if gpu { "P" } else { "0" };
    // A bus has at most 256 functions, and there are more names than these and the reserved ones.
    let candidates = first.chars().chain('0'..='9').chain('A'..='Z').map(|last| format!("PEG{last}"));
    let more = (0..512).map(|number| format!("G{number:03X}"));
    candidates
        .chain(more)
        .filter_map(|name| NameSeg::new(&name).ok())
        .find(|name| !taken.contains(name))
        .ok_or_else(|| Error::VromPlace { reason: "its bus has no free device name".to_owned() })
}
