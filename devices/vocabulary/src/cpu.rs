//! The guest's processors: who made them, how many there are of what, and what they say of the hypervisor.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::printable::shorten;
use crate::scalar::{Complaint, Scalar};

/// The vendor in CPUID leaf 0, as far as firmware and tables tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuVendor {
    /// `GenuineIntel`.
    Intel,
    /// `AuthenticAMD`.
    Amd,
    /// Any other.
    Other,
}

impl CpuVendor {
    /// By the characters in the registers of leaf 0.
    pub const fn of(ebx: u32, edx: u32, ecx: u32) -> Self {
        match (ebx, edx, ecx) {
            (0x756e_6547, 0x4965_6e69, 0x6c65_746e) => Self::Intel,
            (0x6874_7541, 0x6974_6e65, 0x444d_4163) => Self::Amd,
            _ => Self::Other,
        }
    }
}

/// The name of a hypervisor in CPUID leaf 0x40000000: up to twelve characters, with zeros behind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub struct HypervisorVendor([u8; 12]);

impl HypervisorVendor {
    /// The name of its format.
    pub const FORMAT: &str = "hypervisor-vendor";
    /// What it is, in words.
    pub const EXPECTED: &str = "a hypervisor's name of 1 to 12 ASCII characters in quotes";
    /// That of Intel's processors, which no driver takes for a hypervisor's.
    pub const GENUINE_INTEL: Self = Self(*b"GenuineIntel");
    /// That of Hyper-V. Linux takes its interface for Hyper-V's under no other, and drivers that look for hypervisors know it.
    pub const MICROSOFT: Self = Self(*b"Microsoft Hv");

    /// EBX, ECX and EDX of the leaf.
    pub fn registers(self) -> [u32; 3] {
        let Self([b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3]) = self;
        [[b0, b1, b2, b3], [c0, c1, c2, c3], [d0, d1, d2, d3]].map(u32::from_le_bytes)
    }
}

impl FromStr for HypervisorVendor {
    type Err = Complaint;

    fn from_str(text: &str) -> Result<Self, Complaint> {
        let mut name = [0; 12];
        let fits = (1..=12).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        match name.get_mut(..text.len()).filter(|_| fits) {
            Some(start) => start.copy_from_slice(text.as_bytes()),
            None => return Err(format!("\"{}\" is not {}", shorten(text), Self::EXPECTED)),
        }
        Ok(Self(name))
    }
}

impl fmt::Display for HypervisorVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let characters = self.0.iter().take_while(|byte| **byte != 0);
        characters
            .map(|byte| char::from(*byte))
            .try_for_each(|character| fmt::Write::write_char(f, character))
    }
}

crate::text_scalar!(HypervisorVendor);

crate::inline_schema!(HypervisorVendor, {
    "type": "string",
    "format": HypervisorVendor::FORMAT,
    "pattern": "^[ -~]{1,12}$",
});

/// What the guest's CPUID says of the hypervisor beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hypervisor {
    /// That there is none: neither the bit of leaf 1 nor leaves from 0x40000000 on.
    Absent,
    /// That there is one.
    Present {
        /// Whether KVM's leaves are there: at 0x40000000, or, if `vendor` has that place, at 0x40000100.
        kvm: bool,
        /// The name in leaf 0x40000000, instead of KVM's.
        vendor: Option<HypervisorVendor>,
    },
}

impl Hypervisor {
    /// The name in leaf 0x40000000, if it is not KVM's. `hyperv`: Hyper-V's interface is there. It is found under any name, so it
    /// does not give away the hypervisor where KVM is hidden.
    pub fn vendor(self, hyperv: bool) -> Option<HypervisorVendor> {
        match self {
            Self::Present { vendor: None, kvm } if hyperv => {
                Some(if kvm { HypervisorVendor::MICROSOFT } else { HypervisorVendor::GENUINE_INTEL })
            }
            Self::Present { vendor, .. } => vendor,
            Self::Absent => None,
        }
    }
}

/// Sockets, cores of each and threads of each core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// Processor packages.
    pub sockets: u32,
    /// Cores in each package.
    pub cores: u32,
    /// Threads of each core.
    pub threads: u32,
}

/// Bits to number `count` things, 0 for one.
const fn bits_for(count: u32) -> u32 {
    if count <= 1 { 0 } else { u32::BITS - (count - 1).leading_zeros() }
}

impl Topology {
    /// All hardware threads.
    pub fn count(self) -> u32 {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }

    /// Width of the thread field of an APIC ID.
    pub fn thread_bits(self) -> u32 {
        bits_for(self.threads)
    }

    /// Width of the core field of an APIC ID.
    pub fn core_bits(self) -> u32 {
        bits_for(self.cores)
    }

    /// Width of the core and thread fields together.
    pub fn package_shift(self) -> u32 {
        self.thread_bits() + self.core_bits()
    }

    /// The APIC ID of thread `index`, counted thread by thread, core by core. IDs have gaps where cores or threads are
    /// no power of two, as on hardware (SDM 3A, 9.9.1).
    pub fn apic_id(self, index: u32) -> u32 {
        let threads = self.threads.max(1);
        let cores = self.cores.max(1);
        let thread = index % threads;
        let core = index / threads % cores;
        let package = index / threads / cores;
        package << self.package_shift() | core << self.thread_bits() | thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hypervisor_has_a_name_of_twelve_characters() {
        let name: HypervisorVendor = "Microsoft Hv".parse().unwrap();
        assert_eq!(name.registers(), [0x7263_694d, 0x666f_736f, 0x7648_2074]);
        assert_eq!(name.to_string(), "Microsoft Hv");
        let short: HypervisorVendor = "abc".parse().unwrap();
        assert_eq!((short.registers(), short.to_string().as_str()), ([0x0063_6261, 0, 0], "abc"));
        for wrong in ["", "thirteen-long", "caf\u{e9}", "a\tb"] {
            assert!(wrong.parse::<HypervisorVendor>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_is_the_users_or_fits_what_is_shown() {
        let abc = "abc".parse().ok();
        let vendor = |kvm, vendor, hyperv| Hypervisor::Present { kvm, vendor }.vendor(hyperv);
        assert_eq!((vendor(true, None, false), vendor(false, None, false)), (None, None));
        assert_eq!(vendor(true, None, true), Some(HypervisorVendor::MICROSOFT));
        assert_eq!(vendor(false, None, true), Some(HypervisorVendor::GENUINE_INTEL));
        assert_eq!((vendor(true, abc, true), vendor(false, abc, false)), (abc, abc));
        assert_eq!(Hypervisor::Absent.vendor(true), None);
    }

    #[test]
    fn apic_ids_leave_gaps() {
        let topology = Topology { sockets: 2, cores: 3, threads: 2 };
        let ids: Vec<u32> = (0..topology.count()).map(|index| topology.apic_id(index)).collect();
        assert_eq!(ids, [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13]);
    }

    #[test]
    fn one_cpu_has_id_zero_and_no_bits() {
        let topology = Topology { sockets: 1, cores: 1, threads: 1 };
        assert_eq!((topology.apic_id(0), topology.package_shift()), (0, 0));
    }
}
