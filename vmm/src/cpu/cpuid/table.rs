//! CPUID as a table: what each leaf and sub-leaf answers.

use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};
use vocabulary::cpuid::{CpuidBit, Register};

/// Puts `content` into bits `high` to `low` of a register.
pub(super) fn set_field(value: &mut u32, high: u32, low: u32, content: u32) {
    let width = high - low + 1;
    let mask = (u32::MAX >> (u32::BITS - width)) << low;
    *value = *value & !mask | content << low & mask;
}

/// Bits `high` to `low` of a register.
pub(super) fn field(value: u32, high: u32, low: u32) -> u32 {
    value >> low & u32::MAX >> (u32::BITS - (high - low + 1))
}

/// One answer's register.
pub(super) fn register(entry: &kvm_cpuid_entry2, register: Register) -> u32 {
    match register {
        Register::Eax => entry.eax,
        Register::Ebx => entry.ebx,
        Register::Ecx => entry.ecx,
        Register::Edx => entry.edx,
    }
}

/// The answer of a leaf without sub-leaves: EAX, EBX, ECX and EDX.
pub(in crate::cpu) fn leaf(function: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, eax, ebx, ecx, edx, ..Default::default() }
}

/// All answers, in the order of leaves and sub-leaves.
#[derive(Debug, Clone, Default)]
pub struct Table(Vec<kvm_cpuid_entry2>);

impl Table {
    /// With these answers.
    pub fn new(mut entries: Vec<kvm_cpuid_entry2>) -> Self {
        entries.sort_by_key(|entry| (entry.function, entry.index));
        Self(entries)
    }

    /// The answers, in order.
    pub fn entries(&self) -> &[kvm_cpuid_entry2] {
        &self.0
    }

    /// What a leaf or sub-leaf answers, if the table has it.
    pub fn get(&self, leaf: u32, index: u32) -> Option<&kvm_cpuid_entry2> {
        self.0.iter().find(|entry| (entry.function, entry.index) == (leaf, index))
    }

    /// Changes an answer, if the table has it.
    pub(super) fn edit(&mut self, leaf: u32, index: u32, change: impl FnOnce(&mut kvm_cpuid_entry2)) {
        if let Some(entry) = self.0.iter_mut().find(|entry| (entry.function, entry.index) == (leaf, index)) {
            change(entry);
        }
    }

    /// Changes all sub-leaves of a leaf.
    pub(super) fn edit_all(&mut self, leaf: u32, change: impl FnMut(&mut kvm_cpuid_entry2)) {
        self.0.iter_mut().filter(|entry| entry.function == leaf).for_each(change);
    }

    /// Adds an answer, in place of one that there was.
    pub(super) fn put(&mut self, entry: kvm_cpuid_entry2) {
        let key = (entry.function, entry.index);
        let at = self.0.partition_point(|known| (known.function, known.index) < key);
        match self.0.get_mut(at).filter(|known| (known.function, known.index) == key) {
            Some(known) => *known = entry,
            None => self.0.insert(at, entry),
        }
    }

    /// Adds a leaf with sub-leaves' answer.
    pub(super) fn put_indexed(&mut self, entry: kvm_cpuid_entry2) {
        self.put(kvm_cpuid_entry2 { flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX, ..entry });
    }

    /// Takes answers away: to KVM's guests they are all zeros then.
    pub(super) fn retain(&mut self, keep: impl FnMut(&kvm_cpuid_entry2) -> bool) {
        self.0.retain(keep);
    }

    /// Whether a bit is set.
    pub fn has(&self, bit: CpuidBit) -> bool {
        self.get(bit.leaf, bit.index).is_some_and(|entry| register(entry, bit.register) & 1 << bit.bit != 0)
    }

    /// Sets or clears a bit, if the table has its leaf.
    pub(super) fn set(&mut self, bit: CpuidBit, on: bool) {
        self.edit(bit.leaf, bit.index, |entry| {
            let value = match bit.register {
                Register::Eax => &mut entry.eax,
                Register::Ebx => &mut entry.ebx,
                Register::Ecx => &mut entry.ecx,
                Register::Edx => &mut entry.edx,
            };
            *value = *value & !(1 << bit.bit) | u32::from(on) << bit.bit;
        });
    }

    /// As KVM takes it; `None` if it has more answers than that.
    pub fn for_kvm(&self) -> Option<CpuId> {
        CpuId::from_entries(&self.0).ok()
    }
}
