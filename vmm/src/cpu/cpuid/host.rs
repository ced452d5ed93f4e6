//! The host's CPUID: what KVM can show of it, and what the processor says itself.
//!
//! Both are answers of the CPU that is asked, and those of a hybrid processor differ. A guest's vCPUs are all of one kind,
//! so a P core is asked, unless it is known where they will run.

use std::arch::x86_64::__cpuid_count;
use std::fs;
use std::path::Path;
use std::thread;

use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, Kvm};
use vocabulary::CpuList;

use super::Supported;
use super::hyperv::Offer;
use super::table::{Table, field};
use crate::affinity;

/// The CPUs of the P cores, which only hybrid processors have (Linux `Documentation/ABI/testing/sysfs-devices-cpu`).
const P_CORES: &str = "/sys/devices/cpu_core/cpus";

/// The CPU to ask: the first P core of those that this process may use, or the first of any kind.
fn cpu_to_ask(p_cores: Option<&str>, allowed: &CpuList) -> Option<u32> {
    let p_cores = p_cores.and_then(CpuList::from_kernel).unwrap_or_default();
    p_cores.within(allowed).first().or_else(|| allowed.first())
}

/// Does something on the CPU that is to be asked, `on` this one if it is known, or, if the kernel does not let it, on any.
fn there<T: Send>(on: Option<u32>, ask: impl FnOnce() -> T + Send) -> T {
    let cpu = on.or_else(|| {
        let p_cores = fs::read_to_string(P_CORES).ok();
        cpu_to_ask(p_cores.as_deref(), &affinity::current().ok()?)
    });
    thread::scope(|scope| {
        // A thread of its own: this one's affinity stays.
        let asking = scope.spawn(|| {
            if let Some(cpu) = cpu
                && let Err(error) = affinity::bind(&CpuList::of(cpu))
            {
                tracing::debug!("cannot move to CPU {cpu} to read its CPUID: {error}");
            }
            ask()
        });
        match asking.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Asks KVM.
///
/// # Errors
/// Whatever KVM_GET_SUPPORTED_CPUID and its counterpart for Hyper-V's interface say.
pub(super) fn supported(kvm: &Kvm, on: Option<u32>) -> Result<Supported, kvm_ioctls::Error> {
    let ask = || (kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES), brand());
    // Where all CPUs are of one kind they differ in their own numbers only, which no guest gets to see.
    let any = on.is_none() && !Path::new(P_CORES).exists();
    let (entries, brand) = if any { ask() } else { there(on, ask) };
    let mut table = Table::new(entries?.as_slice().to_vec());
    // KVM may leave the brand string empty.
    for host in brand {
        table.edit(host.function, 0, |shown| {
            (shown.eax, shown.ebx, shown.ecx, shown.edx) = (host.eax, host.ebx, host.ecx, host.edx);
        });
    }
    let tsc_deadline = kvm.check_extension(Cap::TscDeadlineTimer);
    Ok(Supported::new(table, tsc_deadline, Offer::query(kvm)?))
}

/// The leaves with the processor's name, where it has them.
fn brand() -> Vec<kvm_cpuid_entry2> {
    let highest = __cpuid_count(0x8000_0000, 0).eax;
    (0x8000_0002..=0x8000_0004).filter(|leaf| *leaf <= highest).map(|leaf| ask(leaf, 0)).collect()
}

/// What the host's processor says, `on` this CPU if that matters.
pub fn processor(on: Option<u32>) -> Table {
    there(on, read)
}

/// More sub-leaves than any leaf has.
const MOST_SUB_LEAVES: u32 = 64;

fn ask(leaf: u32, index: u32) -> kvm_cpuid_entry2 {
    let answer = __cpuid_count(leaf, index);
    kvm_cpuid_entry2 {
        function: leaf,
        index,
        eax: answer.eax,
        ebx: answer.ebx,
        ecx: answer.ecx,
        edx: answer.edx,
        ..Default::default()
    }
}

/// Which sub-leaves a leaf has, by the rules of the SDM for each.
fn sub_leaves(leaf: u32) -> Vec<kvm_cpuid_entry2> {
    let first = ask(leaf, 0);
    let listed = |last: u32| (0..=last.min(MOST_SUB_LEAVES)).map(move |index| ask(leaf, index)).collect();
    let until = |end: fn(&kvm_cpuid_entry2) -> bool| {
        (0..MOST_SUB_LEAVES).map(move |index| ask(leaf, index)).take_while(|entry| !end(entry)).collect()
    };
    match leaf {
        0x4 | 0x8000_001d => until(|entry| field(entry.eax, 4, 0) == 0),
        0xb | 0x1f | 0x8000_0026 => until(|entry| field(entry.ecx, 15, 8) == 0),
        0x7 | 0x14 | 0x17 | 0x18 | 0x1d | 0x20 | 0x24 => listed(first.eax),
        0xd => {
            let all = (0..MOST_SUB_LEAVES).map(|index| ask(leaf, index));
            all.filter(|entry| entry.index < 2 || entry.eax != 0).collect()
        }
        0xf | 0x12 => listed(1),
        0x10 => listed(3),
        _ => vec![first],
    }
}

fn read() -> Table {
    let range = |base: u32, most: u32| {
        let last = ask(base, 0).eax;
        // Where there is none, processors answer as they like.
        (last >= base && last - base <= most).then_some(base..=last).into_iter().flatten()
    };
    let hypervisor = ask(1, 0).ecx & 1 << 31 != 0;
    let beneath = hypervisor.then(|| range(0x4000_0000, 0xff)).into_iter().flatten();
    Table::new(range(0, 0xff).chain(beneath).chain(range(0x8000_0000, 0xff)).flat_map(sub_leaves).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_processor_is_asked_on_a_p_core() {
        let allowed = "0-1,6-7".parse().unwrap();
        assert_eq!(cpu_to_ask(None, &allowed), Some(0));
        assert_eq!(cpu_to_ask(Some("4-7\n"), &allowed), Some(6), "E cores first, and some of the P cores");
        assert_eq!(cpu_to_ask(Some("2-3,5"), &allowed), Some(0), "not allowed on any");
        assert_eq!(cpu_to_ask(Some("2-"), &allowed), Some(0), "no list");
    }

    #[test]
    fn the_cpu_that_is_named_is_asked() {
        let allowed = affinity::current().unwrap();
        let last = allowed.iter().last();
        assert_eq!(there(last, || affinity::current().unwrap()).first(), last);
        assert_eq!(affinity::current().unwrap(), allowed, "this thread stays where it is");
    }

    #[test]
    fn this_processor_answers() {
        let table = processor(None);
        assert!(table.get(0, 0).is_some_and(|leaf| leaf.eax >= 1));
        assert!(table.get(1, 0).is_some() && table.get(0x8000_0000, 0).is_some());
        assert!(table.entries().len() < KVM_MAX_CPUID_ENTRIES);
    }
}
