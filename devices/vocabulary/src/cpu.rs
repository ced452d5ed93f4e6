//! The guest's processors: who made them, and how many there are of what.

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
