//! CPUID for people and programs: tables as `cpuid -r` writes and reads them, and what two tables differ in.

use std::fmt::Write as _;

use serde::Serialize;
use vocabulary::cpuid::{CpuidBit, Register, has_names};

use super::table::{Table, register};

/// The answers of one CPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownCpu {
    /// Its number.
    pub cpu: usize,
    /// Its answers, in the order of leaves.
    pub leaves: Vec<ShownLeaf>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShownLeaf {
    /// EAX of the question.
    pub leaf: u32,
    /// ECX of the question.
    pub index: u32,
    /// EAX of the answer.
    pub eax: u32,
    /// EBX of the answer.
    pub ebx: u32,
    /// ECX of the answer.
    pub ecx: u32,
    /// EDX of the answer.
    pub edx: u32,
}

impl ShownCpu {
    /// Of the CPU with this number.
    pub fn new(cpu: usize, table: &Table) -> Self {
        let leaves = table.entries().iter().map(|entry| ShownLeaf {
            leaf: entry.function,
            index: entry.index,
            eax: entry.eax,
            ebx: entry.ebx,
            ecx: entry.ecx,
            edx: entry.edx,
        });
        Self { cpu, leaves: leaves.collect() }
    }

    /// As `cpuid -r` writes it.
    pub fn text(&self) -> String {
        let mut out = format!("CPU {}:\n", self.cpu);
        for ShownLeaf { leaf, index, eax, ebx, ecx, edx } in &self.leaves {
            // Writing to a string cannot fail.
            let _ = writeln!(
                out,
                "   {leaf:#010x} {index:#04x}: eax={eax:#010x} ebx={ebx:#010x} ecx={ecx:#010x} edx={edx:#010x}"
            );
        }
        out
    }
}

/// A register that two tables have different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// EAX of the question.
    pub leaf: u32,
    /// ECX of the question.
    pub index: u32,
    /// Which.
    pub register: String,
    /// The host's; zeros if its table does not have the leaf.
    pub host: u32,
    /// The guest's; zeros if its table does not have the leaf.
    pub guest: u32,
    /// What the host has and the guest has not: names of bits, or places where there is none. Empty for a register that holds
    /// numbers.
    pub hidden: Vec<String>,
    /// What the guest has and the host has not.
    pub added: Vec<String>,
}

/// What the guest's table has different.
pub fn differences(host: &Table, guest: &Table) -> Vec<Difference> {
    let mut keys: Vec<(u32, u32)> =
        host.entries().iter().chain(guest.entries()).map(|entry| (entry.function, entry.index)).collect();
    keys.sort_unstable();
    keys.dedup();
    let pairs = keys.into_iter().flat_map(|key| Register::ALL.map(|which| (key, which)));
    pairs
        .filter_map(|((leaf, index), which)| {
            let value = |table: &Table| table.get(leaf, index).map_or(0, |entry| register(entry, which));
            let (host, guest) = (value(host), value(guest));
            let bits = |set: u32| -> Vec<String> {
                let bits = (0..32u8).filter(|bit| has_names(leaf, index, which) && set & 1 << bit != 0);
                bits.map(|bit| CpuidBit { leaf, index, register: which, bit })
                    .map(|bit| bit.name().map_or_else(|| bit.to_string(), str::to_owned))
                    .collect()
            };
            (host != guest).then(|| Difference {
                leaf,
                index,
                register: which.to_string(),
                host,
                guest,
                hidden: bits(host & !guest),
                added: bits(guest & !host),
            })
        })
        .collect()
}

/// Differences as lines of text.
pub fn differences_text(differences: &[Difference]) -> String {
    let mut out = String::from("leaf       sub  register  host      guest\n");
    for Difference { leaf, index, register, host, guest, hidden, added } in differences {
        let hidden = hidden.iter().map(|name| format!(" -{name}"));
        let names: String = hidden.chain(added.iter().map(|name| format!(" +{name}"))).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{leaf:#010x} {index:#04x} {register:<9} {host:08x}  {guest:08x} {names}");
    }
    out
}
