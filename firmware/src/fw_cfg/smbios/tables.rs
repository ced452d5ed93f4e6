//! The structures themselves, field by field (DSP0134 3.0, chapter 7; section numbers at each).

use super::cache::{self, CacheInfo, LEVELS};
use super::config::{
    BaseboardInfo, BiosInfo, ChassisInfo, MemoryInfo, ProcessorInfo, SmbiosError, SystemInfo,
};
use super::structure::{Structure, Writer};

const BIOS: u16 = 0x0000;
const SYSTEM: u16 = 0x0100;
const BASEBOARD: u16 = 0x0200;
const CHASSIS: u16 = 0x0300;
const PROCESSOR: u16 = 0x0400;
/// Eight for each socket.
const CACHE: u16 = 0x0500;
const MEMORY_ARRAY: u16 = 0x1000;
const MEMORY_DEVICE: u16 = 0x1100;
const MEMORY_MAPPING: u16 = 0x1300;
const BOOT: u16 = 0x2000;
const END: u16 = 0x7f00;
/// No such structure, or no information about one.
const NO_HANDLE: u16 = 0xffff;
const NO_ERROR_INFORMATION: u16 = 0xfffe;

const MIB: u64 = 1 << 20;
/// Each memory device holds this many bytes, unless that would make more than [`MAX_DEVICES`].
const DEVICE_SIZE: u64 = 16 << 30;
const MAX_DEVICES: u64 = 64;
const MAX_RANGES: usize = 64;

/// The first `Some`.
fn either<'a>(own: &'a Option<String>, inherited: &'a str) -> Option<&'a str> {
    Some(own.as_deref().unwrap_or(inherited))
}

/// 7.1 BIOS Information.
pub(super) fn bios(writer: &mut Writer, bios: &BiosInfo) {
    let (major, minor) = bios.release.unwrap_or((0xff, 0xff));
    writer.push(
        Structure::new(0, BIOS)
            .string(bios.vendor.as_deref())
            .string(bios.version.as_deref())
            .u16(0) // starting segment: not below 1 MiB
            .string(bios.date.as_deref())
            .u8(0) // ROM size: 64 KiB × (n + 1), of no meaning here
            .u64(1 << 3) // characteristics are not supported
            .u8(0)
            // Targeted content distribution, UEFI, virtual machine.
            .u8(1 << 2 | u8::from(bios.uefi) << 3 | u8::from(!bios.not_virtual) << 4)
            .u8(major)
            .u8(minor)
            .u8(0xff) // no embedded controller firmware
            .u8(0xff),
    );
}

/// 7.2 System Information.
pub(super) fn system(writer: &mut Writer, system: &SystemInfo) {
    writer.push(
        Structure::new(1, SYSTEM)
            .string(Some(&system.manufacturer))
            .string(Some(&system.product))
            .string(system.version.as_deref())
            .string(system.serial.as_deref())
            // Since 2.6 the first three fields of the UUID are little-endian.
            .raw(&system.uuid.to_bytes_le())
            .u8(6) // wake-up type: power switch
            .string(system.sku.as_deref())
            .string(system.family.as_deref()),
    );
}

/// 7.3 Baseboard Information.
pub(super) fn baseboard(writer: &mut Writer, baseboard: &BaseboardInfo, system: &SystemInfo) {
    writer.push(
        Structure::new(2, BASEBOARD)
            .string(either(&baseboard.manufacturer, &system.manufacturer))
            .string(either(&baseboard.product, &system.product))
            .string(baseboard.version.as_deref())
            .string(baseboard.serial.as_deref())
            .string(baseboard.asset.as_deref())
            .u8(1 << 0) // a hosting board
            .string(None) // location in chassis
            .u16(CHASSIS)
            .u8(0x0a) // motherboard
            .u8(0), // contained objects
    );
}

/// 7.4 System Enclosure or Chassis.
pub(super) fn chassis(writer: &mut Writer, chassis: &ChassisInfo, system: &SystemInfo) {
    const SAFE: u8 = 3;
    const SECURITY_UNKNOWN: u8 = 2;
    writer.push(
        Structure::new(3, CHASSIS)
            .string(either(&chassis.manufacturer, &system.manufacturer))
            .u8(chassis.kind)
            .string(chassis.version.as_deref())
            .string(chassis.serial.as_deref())
            .string(chassis.asset.as_deref())
            .u8(SAFE) // boot-up state
            .u8(SAFE) // power supply
            .u8(SAFE) // thermal
            .u8(SECURITY_UNKNOWN)
            .u32(0) // OEM
            .u8(0) // height unspecified
            .u8(0) // power cords unspecified
            .u8(0) // contained elements: none,
            .u8(0) // of no length
            .string(chassis.sku.as_deref()),
    );
}

/// 7.5 Processor Information, one for each socket.
pub(super) fn processors(writer: &mut Writer, info: &ProcessorInfo) -> Result<(), SmbiosError> {
    let threads = info.cores.checked_mul(info.threads).ok_or(SmbiosError::Processors)?;
    if info.sockets == 0 || info.sockets > 256 || threads == 0 {
        return Err(SmbiosError::Processors);
    }
    // Counts of 256 and more are in the 16-bit fields, and 0xFF in the 8-bit ones.
    let short = |count: u16| u8::try_from(count).unwrap_or(0xff);
    let multi_core = if info.cores > 1 { 1 << 3 } else { 0 };
    let hardware_threads = if info.threads > 1 { 1 << 4 } else { 0 };
    let caches: Vec<CacheInfo> =
        info.caches.iter().copied().filter(|cache| (1..=LEVELS).contains(&cache.level)).collect();
    for socket in 0..info.sockets {
        let cache_handle = |level: u8| CACHE + socket * u16::from(LEVELS) + u16::from(level) - 1;
        let cache_of = |level: u8| {
            if caches.iter().any(|cache| cache.level == level) { cache_handle(level) } else { NO_HANDLE }
        };
        writer.push(
            Structure::new(4, PROCESSOR + socket)
                .string(Some(&format!("CPU {socket}")))
                .u8(3) // central processor
                .u8(1) // family: other
                .string(Some(&info.manufacturer))
                .u64(info.id)
                .string(Some(&info.version))
                .u8(0) // voltage unknown
                .u16(0) // external clock unknown
                .u16(info.mhz)
                .u16(info.mhz)
                .u8(1 << 6 | 1) // socket populated, CPU enabled
                .u8(1) // upgrade: other
                .u16(cache_of(1))
                .u16(cache_of(2))
                .u16(cache_of(3))
                .string(None) // serial
                .string(None) // asset
                .string(None) // part
                .u8(short(info.cores))
                .u8(short(info.cores))
                .u8(short(threads))
                .u16(1 << 2 | multi_core | hardware_threads) // 64-bit capable
                .u16(1) // family 2, as the family
                .u16(info.cores)
                .u16(info.cores)
                .u16(threads),
        );
        for level in &caches {
            cache::cache(writer, cache_handle(level.level), *level);
        }
    }
    Ok(())
}

/// 7.17 Physical Memory Array, 7.18 Memory Device, 7.20 Memory Array Mapped Address.
pub(super) fn memory(writer: &mut Writer, memory: &MemoryInfo) -> Result<(), SmbiosError> {
    let mut total = 0u64;
    for (base, length) in &memory.ranges {
        let error = SmbiosError::Memory { base: *base, length: *length };
        if *length == 0 || base % MIB != 0 || length % MIB != 0 || base.checked_add(*length).is_none() {
            return Err(error);
        }
        total = total.checked_add(*length).ok_or(error)?;
    }
    if total == 0 || memory.ranges.len() > MAX_RANGES {
        return Err(SmbiosError::Memory { base: 0, length: total });
    }
    let mut device_size = DEVICE_SIZE;
    while total.div_ceil(device_size) > MAX_DEVICES {
        device_size = device_size.saturating_mul(2);
    }
    let devices = u16::try_from(total.div_ceil(device_size)).map_err(|_| SmbiosError::TooLarge)?;

    // In KiB, with a value that says "see the extended field, in bytes" from 2 TiB on.
    let capacity = u32::try_from(total / 1024).ok().filter(|kib| *kib < 0x8000_0000);
    writer.push(
        Structure::new(16, MEMORY_ARRAY)
            .u8(3) // on the system board
            .u8(3) // system memory
            .u8(3) // no error correction
            .u32(capacity.unwrap_or(0x8000_0000))
            .u16(NO_ERROR_INFORMATION)
            .u16(devices)
            .u64(if capacity.is_some() { 0 } else { total }),
    );
    let mut rest = total;
    for device in 0..devices {
        let size = rest.min(device_size);
        rest -= size;
        memory_device(writer, device, size)?;
    }
    for (handle, (base, length)) in (MEMORY_MAPPING..).zip(&memory.ranges) {
        mapping(writer, handle, *base, *length);
    }
    Ok(())
}

fn memory_device(writer: &mut Writer, device: u16, size: u64) -> Result<(), SmbiosError> {
    // In MiB; 0x7FFF says "see the extended field".
    let mib = u32::try_from(size / MIB).ok().filter(|mib| *mib < 1 << 31).ok_or(SmbiosError::TooLarge)?;
    let short = u16::try_from(mib).ok().filter(|mib| *mib < 0x7fff);
    writer.push(
        Structure::new(17, MEMORY_DEVICE + device)
            .u16(MEMORY_ARRAY)
            .u16(NO_ERROR_INFORMATION)
            .u16(0xffff) // total width unknown
            .u16(0xffff) // data width unknown
            .u16(short.unwrap_or(0x7fff))
            .u8(9) // DIMM
            .u8(0) // of no set
            .string(Some(&format!("DIMM {device}")))
            .string(None) // bank
            .u8(7) // RAM
            .u16(1 << 1) // type detail: other
            .u16(0) // speed unknown
            .string(None) // manufacturer
            .string(None) // serial
            .string(None) // asset
            .string(None) // part
            .u8(0) // rank unknown
            .u32(if short.is_some() { 0 } else { mib })
            .u16(0) // configured speed unknown
            .u16(0) // voltages unknown
            .u16(0)
            .u16(0),
    );
    Ok(())
}

fn mapping(writer: &mut Writer, handle: u16, base: u64, length: u64) {
    // The caller checked that the range ends within 64 bits and is not empty.
    let last = base.saturating_add(length - 1);
    // In KiB, the last one included; from 4 TiB on both say "see the extended fields", in bytes.
    let kib = |address: u64| u32::try_from(address / 1024).ok().filter(|kib| *kib != u32::MAX);
    let structure = Structure::new(19, handle);
    let structure = match (kib(base), kib(last)) {
        (Some(start), Some(end)) => structure.u32(start).u32(end).u16(MEMORY_ARRAY).u8(1).u64(0).u64(0),
        _ => structure.u32(u32::MAX).u32(u32::MAX).u16(MEMORY_ARRAY).u8(1).u64(base).u64(last),
    };
    writer.push(structure);
}

/// 7.33 System Boot Information: no errors detected.
pub(super) fn boot(writer: &mut Writer) {
    writer.push(Structure::new(32, BOOT).raw(&[0; 6]).u8(0));
}

/// 7.45 End-of-Table.
pub(super) fn end(writer: &mut Writer) {
    writer.push(Structure::new(127, END));
}
