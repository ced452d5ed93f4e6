//! What the `[cpu]` section comes to.

use super::super::Cpu;
use super::super::file::CpuSection;
use crate::finding::Resolver;
use crate::finding::Section;

/// The highest APIC ID of xAPIC mode: 255 is the broadcast address (Intel SDM volume 3, "Physical Destination
/// Mode").
const APIC_ID_MAX: u32 = 254;

impl Resolver {
    /// The processors.
    pub fn cpu(&mut self, section: &CpuSection) -> Cpu {
        let phys_bits = section.phys_bits;
        let Some(topology) = &section.topology else {
            return Cpu { sockets: 1, cores: section.count.unwrap_or(1), threads: 1, phys_bits };
        };
        if section.count.is_some() {
            let message = "`count` and `topology` both give the number of processors";
            self.problem_with_help(Section::Cpu.key("count"), message, "leave one of them out");
        }
        let cpu =
            Cpu { sockets: topology.sockets, cores: topology.cores, threads: topology.threads, phys_bits };
        // APIC IDs have a field of whole bits for each level (Intel SDM volume 3, "Hierarchical
        // Mapping of Shared Resources"), so that a topology
        // may use up the IDs before it has that many processors.
        let next_bits = |count: u32| count.checked_next_power_of_two().map_or(32, u32::trailing_zeros);
        let (thread_bits, core_bits) = (next_bits(cpu.threads), next_bits(cpu.cores));
        let field = |count: u32, shift: u32| u64::from(count.saturating_sub(1)) << shift.min(32);
        let highest = field(cpu.threads, 0)
            | field(cpu.cores, thread_bits)
            | field(cpu.sockets, thread_bits + core_bits);
        if highest > u64::from(APIC_ID_MAX) {
            let message = format!(
                "{} × {} × {} processors need APIC IDs up to {highest}; the last one is {APIC_ID_MAX}, so that there \
                 are 255 of them at most",
                cpu.sockets, cpu.cores, cpu.threads
            );
            self.problem_with_help(Section::Cpu.key("topology"), message, "ask for fewer processors");
        }
        cpu
    }
}
