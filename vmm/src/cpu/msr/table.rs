//! What guests find in registers that KVM leaves out and that a laptop's drivers and tools use.
//!
//! Names and layouts are those of the Intel SDM, volume 4, and of AMD's Processor Programming References (PPR), family 17h and later.
//! A guest gets the rows of its own vendor alone: on a processor of another, the same numbers are no registers. The values are those
//! of a processor whose firmware has locked what can be locked, that counts nothing and limits nothing. KVM answers before the table
//! does, so that a row matters only on kernels that do not know the register.
//!
//! Not here, so that the guest gets #GP: whatever CPUID announces, since it announces none of it (HWP 0x770 to 0x777, TSX_CTRL 0x122,
//! CORE_CAPABILITIES 0xCF, CPPC 0xC00102B0 to 0xC00102B3, thermal interrupts), and the overclocking mailbox 0x150: a tool would take
//! an answer to mean that it has changed a voltage.

use vocabulary::CpuVendor;
use vocabulary::thermal::TEMPERATURE;

use super::{Access, Processor};

/// What the table has for an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// A read gives this.
    Value(u64),
    /// A write is taken, and changes nothing.
    Accepted,
}

/// What a read gives.
#[derive(Debug, Clone, Copy)]
enum Reads {
    /// Always the same.
    Fixed(u64),
    /// Cores of the package in bits 31:16, its threads in 15:0.
    Shape,
}

/// What a write comes to.
#[derive(Debug, Clone, Copy)]
enum Writes {
    /// Nothing, without a word.
    Accepted,
    /// As for a register that nobody knows: there is nothing to write, or it is locked.
    ReadOnly,
}

/// Registers, from the first to the last.
struct Row {
    first: u32,
    last: u32,
    name: &'static str,
    reads: Reads,
    writes: Writes,
}

const fn row(first: u32, last: u32, name: &'static str, reads: Reads, writes: Writes) -> Row {
    Row { first, last, name, reads, writes }
}

/// One that reads as 0 and takes writes.
const fn idle(index: u32, name: &'static str) -> Row {
    row(index, index, name, Reads::Fixed(0), Writes::Accepted)
}

/// One that reads as 0 and cannot be written.
const fn nothing(first: u32, last: u32, name: &'static str) -> Row {
    row(first, last, name, Reads::Fixed(0), Writes::ReadOnly)
}

/// CFG Lock of PKG_CST_CONFIG_CONTROL: the firmware has closed it.
const CFG_LOCK: u64 = 1 << 15;

/// TjMax in degrees Celsius, as of many laptops' processors.
const LIMIT: u64 = 100;

/// TEMPERATURE_TARGET: the limit in bits 23:16.
const TARGET: u64 = LIMIT << 16;

/// A valid reading (bit 31) with a resolution of 1 degree (30:27), so many degrees below the limit (22:16).
const READING: u64 = 1 << 31 | 1 << 27 | (LIMIT - TEMPERATURE as u64 / 10) << 16;

const INTEL: &[Row] = &[
    // Firmware and Intel's tools count processors by it. SDM: thread count 15:0, core count 31:16.
    row(0x35, 0x35, "CORE_THREAD_COUNT", Reads::Shape, Writes::ReadOnly),
    // Drivers of C-states. Limit 0 (no C-states) and CFG Lock, behind which writes fault; CPUID has no MONITOR either.
    row(0xe2, 0xe2, "PKG_CST_CONFIG_CONTROL", Reads::Fixed(CFG_LOCK), Writes::ReadOnly),
    // Overclocking tools read and restore it. No flexible ratio.
    idle(0x194, "FLEX_RATIO"),
    // Drivers for temperature, also where CPUID.6 has no sensor. Writes clear the log bits. A warm laptop, far from throttling.
    row(0x19c, 0x19c, "THERM_STATUS", Reads::Fixed(READING), Writes::Accepted),
    // The limit that the readings are below. Some tools write an offset to it.
    row(0x1a2, 0x1a2, "TEMPERATURE_TARGET", Reads::Fixed(TARGET), Writes::Accepted),
    // Tools that switch prefetchers off; 0 is all on.
    idle(0x1a4, "MISC_FEATURE_CONTROL"),
    // Profilers; 0 selects no event.
    row(0x1a6, 0x1a7, "OFFCORE_RSP", Reads::Fixed(0), Writes::Accepted),
    // Power drivers; 0 is the hardware's own coordination.
    idle(0x1aa, "MISC_PWR_MGMT"),
    // Intel's graphics driver and CPU-Z ask for the turbo ratios; 0 means that there is none.
    row(0x1ad, 0x1af, "TURBO_RATIO_LIMIT", Reads::Fixed(0), Writes::Accepted),
    // As THERM_STATUS, for the package.
    row(0x1b1, 0x1b1, "PACKAGE_THERM_STATUS", Reads::Fixed(READING), Writes::Accepted),
    // Crash log drivers; 0 enables nothing.
    idle(0x1f1, "CRASHLOG_CONTROL"),
    // Tools that show C-states. Nothing was ever spent in one.
    nothing(0x3f8, 0x3fa, "PKG_C3_C6_C7_RESIDENCY"),
    nothing(0x3fc, 0x3fe, "CORE_C3_C6_C7_RESIDENCY"),
    nothing(0x660, 0x660, "CORE_C1_RESIDENCY"),
    // Power limits, for DPTF, ThrottleStop and Linux' RAPL driver. RAPL_POWER_UNIT and the energy counters are KVM's, and 0. Limits of
    // 0 are not enabled (bit 15).
    idle(0x601, "VR_CURRENT_CONFIG"),
    idle(0x610, "PKG_POWER_LIMIT"),
    nothing(0x613, 0x613, "PKG_PERF_STATUS"),
    nothing(0x614, 0x614, "PKG_POWER_INFO"),
    idle(0x618, "DRAM_POWER_LIMIT"),
    idle(0x638, "PP0_POWER_LIMIT"),
    idle(0x640, "PP1_POWER_LIMIT"),
    // Frequency tools: no productive cycles are counted, and nothing has limited the frequency. Writes clear the log bits.
    nothing(0x64e, 0x64e, "PPERF"),
    idle(0x64f, "CORE_PERF_LIMIT_REASONS"),
    idle(0x690, "CORE_PERF_LIMIT_REASONS"),
];

const AMD: &[Row] = &[
    // Systems write what errata ask for. APM volume 2, appendix A; PPR.
    idle(0xc001_001f, "NB_CFG"),
    idle(0xc001_0115, "IGNNE"),
    idle(0xc001_1020, "LS_CFG"),
    idle(0xc001_102b, "CU_CFG3"),
    idle(0xc001_102c, "EX_CFG"),
    // Sampling that CPUID has not: 0 is off.
    idle(0xc001_1030, "IBS_FETCH_CTL"),
    // Ryzen Master and HWiNFO list P-states; bit 63 clear means that a definition is not valid.
    nothing(0xc001_0061, 0xc001_0061, "PSTATE_CURRENT_LIMIT"),
    idle(0xc001_0062, "PSTATE_CONTROL"),
    nothing(0xc001_0063, 0xc001_0063, "PSTATE_STATUS"),
    row(0xc001_0064, 0xc001_006b, "PSTATE_DEF", Reads::Fixed(0), Writes::Accepted),
    nothing(0xc001_0071, 0xc001_0071, "COFVID_STATUS"),
    nothing(0xc001_0293, 0xc001_0293, "HW_PSTATE_STATUS"),
    // Energy counters and their unit.
    nothing(0xc001_0299, 0xc001_029b, "RAPL"),
];

fn find(index: u32, vendor: CpuVendor) -> Option<&'static Row> {
    let rows = match vendor {
        CpuVendor::Intel => INTEL,
        CpuVendor::Amd => AMD,
        CpuVendor::Other => &[],
    };
    rows.iter().find(|row| (row.first..=row.last).contains(&index))
}

/// What the table has for this access; `None` where it has nothing.
pub(super) fn answer(index: u32, access: Access, processor: Processor) -> Option<Answer> {
    let row = find(index, processor.vendor)?;
    match (access, row.writes) {
        (Access::Read, _) => Some(Answer::Value(match row.reads {
            Reads::Fixed(value) => value,
            Reads::Shape => {
                let cores = u64::from(processor.topology.cores);
                let threads = cores * u64::from(processor.topology.threads);
                (cores & 0xffff) << 16 | threads & 0xffff
            }
        })),
        (Access::Write, Writes::Accepted) => Some(Answer::Accepted),
        (Access::Write, Writes::ReadOnly) => None,
    }
}

/// The vendor's name of a register of the table.
pub(super) fn name(index: u32, vendor: CpuVendor) -> Option<&'static str> {
    find(index, vendor).map(|row| row.name)
}

#[cfg(test)]
mod tests {
    use vocabulary::Topology;

    use super::*;

    const LAPTOP: Topology = Topology { sockets: 1, cores: 8, threads: 2 };

    fn read(index: u32, vendor: CpuVendor) -> Option<u64> {
        match answer(index, Access::Read, Processor { vendor, topology: LAPTOP }) {
            Some(Answer::Value(value)) => Some(value),
            Some(Answer::Accepted) => panic!("{index:#x} is read as if it were written"),
            None => None,
        }
    }

    fn writable(index: u32, vendor: CpuVendor) -> bool {
        answer(index, Access::Write, Processor { vendor, topology: LAPTOP }) == Some(Answer::Accepted)
    }

    #[test]
    fn registers_read_as_those_of_a_locked_laptop() {
        use CpuVendor::{Amd, Intel};
        for (index, vendor, value, writes) in [
            (0x35, Intel, 0x0008_0010, false),
            (0xe2, Intel, 0x8000, false),
            (0x19c, Intel, 0x8832_0000, true),
            (0x1b1, Intel, 0x8832_0000, true),
            (0x1a2, Intel, 0x0064_0000, true),
            (0x1ad, Intel, 0, true),
            (0x1af, Intel, 0, true),
            (0x3f8, Intel, 0, false),
            (0x3fe, Intel, 0, false),
            (0x610, Intel, 0, true),
            (0x614, Intel, 0, false),
            (0x64f, Intel, 0, true),
            (0xc001_0061, Amd, 0, false),
            (0xc001_0064, Amd, 0, true),
            (0xc001_006b, Amd, 0, true),
            (0xc001_0299, Amd, 0, false),
            (0xc001_1020, Amd, 0, true),
        ] {
            assert_eq!((read(index, vendor), writable(index, vendor)), (Some(value), writes), "{index:#x}");
        }
    }

    /// The processor is to be as warm as the ACPI thermal zone says, by the layout of the SDM.
    #[test]
    fn the_temperature_is_that_of_the_thermal_zone() {
        let status = read(0x19c, CpuVendor::Intel).unwrap();
        let target = read(0x1a2, CpuVendor::Intel).unwrap();
        assert_eq!(status >> 31, 1, "valid");
        assert_eq!(((target >> 16 & 0xff) - (status >> 16 & 0x7f)) * 10, u64::from(TEMPERATURE));
        // No event is pending and none is logged.
        assert_eq!(status & 0xffff, 0);
    }

    #[test]
    fn what_a_vendor_lacks_is_not_answered() {
        for (index, vendor) in [
            // The other's.
            (0x1a2, CpuVendor::Amd),
            (0xc001_0064, CpuVendor::Intel),
            (0x1a2, CpuVendor::Other),
            (0xc001_0064, CpuVendor::Other),
            // What CPUID would announce, and the mailbox.
            (0x770, CpuVendor::Intel),
            (0x777, CpuVendor::Intel),
            (0x122, CpuVendor::Intel),
            (0x150, CpuVendor::Intel),
            (0xc001_02b0, CpuVendor::Amd),
            // Between rows.
            (0x3fb, CpuVendor::Intel),
            (0x1b0, CpuVendor::Intel),
            (0xc001_006c, CpuVendor::Amd),
        ] {
            assert_eq!(read(index, vendor), None, "{index:#x} {vendor:?}");
            assert!(!writable(index, vendor), "{index:#x} {vendor:?}");
            assert_eq!(name(index, vendor), None);
        }
    }

    #[test]
    fn rows_are_apart_and_leave_what_must_not_be_answered() {
        for rows in [INTEL, AMD] {
            for (at, row) in rows.iter().enumerate() {
                assert!(row.first <= row.last, "{:#x}", row.first);
                let others = rows.iter().enumerate().filter(|(other, _)| *other != at);
                for (_, other) in others {
                    assert!(row.last < other.first || other.last < row.first, "{:#x}", row.first);
                }
                // x2APIC, Hyper-V's and KVM's: the kernel's own.
                for kernels in [0x800..=0x8ff, 0x4000_0000..=0x4000_0fff, 0x4b56_4d00..=0x4b56_4dff] {
                    assert!(!kernels.contains(&row.first) && !kernels.contains(&row.last));
                }
            }
        }
    }

    /// More processors than the fields hold.
    #[test]
    fn a_large_package_is_cut_to_the_fields() {
        let topology = Topology { sockets: 1, cores: 0x1_0001, threads: 1 };
        let processor = Processor { vendor: CpuVendor::Intel, topology };
        assert_eq!(answer(0x35, Access::Read, processor), Some(Answer::Value(0x0001_0001)));
    }
}
