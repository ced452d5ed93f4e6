//! What the guest's CPUs say of themselves: the host's CPUID as KVM supports it, changed as the plan asks (Intel SDM volume 2A,
//! CPUID; AMD APM volume 3, appendix E; Linux `Documentation/virt/kvm/api.rst`, KVM_GET_SUPPORTED_CPUID).
//!
//! [`Supported::guest`] is a pure function of what KVM supports, the plan and the APIC ID. The guest's processors are all alike and of
//! the host's kind, with its name and all features that KVM can give, but the topology is the plan's:
//!
//! | leaf | what becomes of it |
//! |---|---|
//! | 1, 4, 0xB, 0x80000001 (TOPOEXT, CmpLegacy), 0x80000008 ECX, 0x8000001D, 0x8000001E | sockets, cores and threads (`topology`) |
//! | 0x1F, 0x80000026 | dies and modules: the guest has none |
//! | 0xD, and what needs it | features and state components that belong together (`needs`) |
//! | 7 EDX bit 29 | a register of Intel's, on AMD's processors |
//! | 7 EDX bit 15, 0x1A | hybrid processors, of which the guest sees one kind |
//! | 0x12 | SGX: needs protected memory that the machine has not |
//! | 0x80000008 EAX | width of addresses |
//! | 1 ECX bit 31, 0x40000000 and up | the hypervisor (`hypervisor`), under Hyper-V's interface where that is asked for (`hyperv`) |

mod caches;
mod host;
mod hyperv;
mod hypervisor;
mod needs;
mod show;
mod table;
#[cfg(test)]
mod tests;
mod topology;

use std::sync::{Mutex, PoisonError};

use kvm_ioctls::Kvm;
use vocabulary::cpuid::bits_named;
use vocabulary::{CpuVendor, CpuidBit, Enlightenments, Hypervisor, Topology};

use table::{field, set_field};

pub use caches::PackageCache;
pub use host::processor;
pub use show::{Difference, ShownCpu, differences, differences_text};
pub use table::Table;
#[cfg(test)]
pub(super) use table::leaf;

/// What the plan asks of the CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Shape.
    pub topology: Topology,
    /// Guest-physical address bits; never more than the host's.
    pub physical_bits: u8,
    /// What the guest finds of the hypervisor.
    pub hypervisor: Hypervisor,
    /// What it may use of Hyper-V's interface, all of which KVM offers.
    pub enlightenments: Enlightenments,
    /// How often it is to try before it tells the hypervisor that it waits for a spinlock, if it may do that.
    pub spinlock_retries: u32,
    /// Features to take away.
    pub remove: Vec<CpuidBit>,
}

/// Features that no guest has, whatever KVM says of them: five-level paging, which newer OVMF would enter from the reset vector;
/// processors of two kinds, of which KVM knows one; SGX, for which the machine has no protected memory.
const HIDDEN: [&str; 4] = ["la57", "hybrid", "sgx", "sgxlc"];

/// A register of Intel's that says which attacks do not work. KVM offers it for every host, but AMD's processors have none, and Windows
/// has stopped where it found one in theirs.
const INTELS: &str = "arch-capabilities";

/// Characters in registers, up to the first NUL; anything but printable ASCII becomes a question mark.
fn text(registers: &[u32]) -> String {
    let bytes = registers.iter().flat_map(|register| register.to_le_bytes());
    let text: String = bytes
        .take_while(|byte| *byte != 0)
        .map(|byte| if matches!(byte, b' '..=b'~') { char::from(byte) } else { '?' })
        .collect();
    text.trim().to_owned()
}

/// What KVM can show a guest on this host.
#[derive(Debug)]
pub struct Supported {
    table: Table,
    /// The in-kernel APIC's TSC-deadline mode, which KVM_GET_SUPPORTED_CPUID leaves out (api.rst, 4.46).
    tsc_deadline: bool,
    /// Hyper-V's interface.
    hyperv: hyperv::Offer,
    /// What all CPUs of the guest asked for last have in common: a start asks for the same one several times.
    common: Mutex<Option<(Profile, Table)>>,
}

impl Supported {
    /// Asks KVM, on the CPU that the first vCPU will run on, if that is decided.
    ///
    /// # Errors
    /// Whatever KVM_GET_SUPPORTED_CPUID and its counterpart for Hyper-V's interface say.
    pub fn query(kvm: &Kvm, on: Option<u32>) -> Result<Self, kvm_ioctls::Error> {
        host::supported(kvm, on)
    }

    /// Width of the host's physical addresses in bits.
    pub fn physical_bits(&self) -> u8 {
        self.table.get(0x8000_0008, 0).map_or(36, |leaf| leaf.eax as u8)
    }

    /// Whether pages of 1 GiB exist.
    pub fn gib_pages(&self) -> bool {
        self.table.get(0x8000_0001, 0).is_some_and(|leaf| leaf.edx & 1 << 26 != 0)
    }

    /// Who made the CPU.
    pub fn vendor(&self) -> CpuVendor {
        self.table.get(0, 0).map_or(CpuVendor::Other, |leaf| CpuVendor::of(leaf.ebx, leaf.edx, leaf.ecx))
    }

    /// The maker's name as leaf 0 spells it.
    pub fn manufacturer(&self) -> String {
        let registers = self.table.get(0, 0).map_or([0; 3], |leaf| [leaf.ebx, leaf.edx, leaf.ecx]);
        text(&registers)
    }

    /// The brand string of leaves 0x80000002 to 0x80000004.
    pub fn brand(&self) -> String {
        let registers: Vec<u32> = (0x8000_0002..=0x8000_0004)
            .filter_map(|leaf| self.table.get(leaf, 0))
            .flat_map(|leaf| [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx])
            .collect();
        text(&registers)
    }

    /// Leaf 1 EAX in bits 31:0 and EDX in bits 63:32, as SMBIOS wants it.
    pub fn processor_id(&self) -> u64 {
        self.table.get(1, 0).map_or(0, |leaf| u64::from(leaf.edx) << 32 | u64::from(leaf.eax))
    }

    /// Whether KVM can show this bit.
    pub fn has(&self, bit: CpuidBit) -> bool {
        self.table.has(bit) || self.tsc_deadline && bits_named("tsc-deadline").contains(&bit)
    }

    /// The enlightenments of Hyper-V's interface that KVM can give.
    pub fn enlightenments(&self) -> Enlightenments {
        self.hyperv.enlightenments()
    }

    /// The caches of the first package of a guest with these APIC IDs.
    pub fn caches(&self, profile: &Profile, apic_ids: &[u32]) -> Vec<PackageCache> {
        let first = apic_ids.first().copied().unwrap_or_default();
        let package = |id: u32| id >> profile.topology.package_shift();
        let ids: Vec<u32> = apic_ids.iter().copied().filter(|id| package(*id) == package(first)).collect();
        caches::of_package(&self.guest(profile, first), &ids)
    }

    fn new(table: Table, tsc_deadline: bool, hyperv: hyperv::Offer) -> Self {
        Self { table, tsc_deadline, hyperv, common: Mutex::default() }
    }

    /// The CPUID of the vCPU with `apic_id`.
    pub fn guest(&self, profile: &Profile, apic_id: u32) -> Table {
        let mut common = self.common.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = match &*common {
            Some((made_for, table)) if made_for == profile => table.clone(),
            _ => {
                let table = self.common(profile);
                *common = Some((profile.clone(), table.clone()));
                table
            }
        };
        topology::describe(&mut table, profile.topology, apic_id);
        table
    }

    /// What does not depend on the APIC ID.
    fn common(&self, profile: &Profile) -> Table {
        let mut table = self.table.clone();
        for bit in HIDDEN.into_iter().flat_map(bits_named).chain(profile.remove.iter().copied()) {
            table.set(bit, false);
        }
        if self.vendor() == CpuVendor::Amd {
            bits_named(INTELS).into_iter().for_each(|bit| table.set(bit, false));
        }
        table.retain(|entry| !matches!(entry.function, 0x12 | 0x1a));
        table.edit(0x1, 0, |leaf| {
            let removed = profile.remove.iter().any(|bit| bits_named("tsc-deadline").contains(bit));
            set_field(&mut leaf.ecx, 24, 24, u32::from(self.tsc_deadline && !removed));
        });
        hypervisor::describe(&mut table, profile, &self.hyperv);
        // ARAT: KVM's APIC timer runs in every C-state.
        table.edit(0x6, 0, |leaf| set_field(&mut leaf.eax, 2, 2, 1));
        table.edit(0x8000_0008, 0, |leaf| {
            // Without five-level paging linear addresses have 48 bits. The guest-specific field (23:16) must agree with the
            // physical one.
            let linear = field(leaf.eax, 15, 8).min(48);
            set_field(&mut leaf.eax, 15, 8, linear);
            set_field(&mut leaf.eax, 7, 0, u32::from(profile.physical_bits));
            set_field(&mut leaf.eax, 23, 16, 0);
        });
        needs::settle(&mut table);
        table
    }
}
