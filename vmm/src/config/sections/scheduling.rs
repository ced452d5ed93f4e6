//! `pin` and `halt_poll_ns` of `[cpu]`: where and how the host's scheduler runs vCPUs.

use serde::{Deserialize, Serialize};
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{CpuList, Scalar, inline_schema};

use super::super::Cpu;
use super::cpu::CpuSection;
use crate::finding::{Resolver, Section};

/// `pin` as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PinSection {
    /// `"auto"`.
    Word(String),
    /// For each vCPU its CPUs.
    Lists(Vec<CpusSection>),
}

impl PinSection {
    pub const FORMAT: &str = "vcpu-pinning";
    pub const EXPECTED: &str = "\"auto\" or a list of the host's CPUs for each vCPU, such as [[2], [3]]";
    const AUTO: &str = "auto";

    /// Checks a value that is not a list.
    pub fn check(value: &Scalar) -> Result<(), Complaint> {
        match value {
            Scalar::Text(text) if text == Self::AUTO => Ok(()),
            other => Err(wrong_kind(Self::EXPECTED, other)),
        }
    }
}

inline_schema!(PinSection, {
    "type": ["string", "array"],
    "format": Self::FORMAT,
    "pattern": "^auto$",
    "items": {
        "type": ["integer", "string", "array"],
        "format": CpuList::FORMAT,
        "minimum": 0,
        "maximum": CpuList::LAST,
        "pattern": "^\\s*[0-9]+\\s*(-\\s*[0-9]+\\s*)?(,\\s*[0-9]+\\s*(-\\s*[0-9]+\\s*)?)*$",
        "items": { "type": "integer", "minimum": 0, "maximum": CpuList::LAST },
    },
});

/// The CPUs of one vCPU as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CpusSection {
    /// One by one.
    Numbers(Vec<u32>),
    /// A number, or text in the kernel's notation.
    Scalar(Scalar),
}

/// Which of the host's CPUs vCPUs run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// On cores that are chosen by the host's topology.
    Auto,
    /// On these, as many as there are vCPUs, and none of them empty.
    Cpus(Vec<CpuList>),
}

/// Where and how vCPUs run on the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// Where; `None` leaves it to the host's scheduler.
    pub pin: Option<Pin>,
    /// How long KVM looks for an interrupt before a halted vCPU gives its CPU away, in nanoseconds; `None` is the host's way.
    pub halt_poll_ns: Option<u32>,
}

impl Resolver {
    /// Where and how the vCPUs of `cpu` run.
    pub fn scheduling(&mut self, section: &CpuSection, cpu: Cpu) -> Scheduling {
        let halt_poll_ns = section.halt_poll_ns;
        let pin = section.pin.as_ref().and_then(|pin| match pin {
            PinSection::Word(_) => Some(Pin::Auto),
            PinSection::Lists(lists) => self.pin_lists(lists, cpu).map(Pin::Cpus),
        });
        Scheduling { pin, halt_poll_ns }
    }

    fn pin_lists(&mut self, lists: &[CpusSection], cpu: Cpu) -> Option<Vec<CpuList>> {
        let key = Section::Cpu.key("pin");
        let wanted = cpu.count() as usize;
        if lists.len() != wanted {
            let has =
                |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            let message = format!("`pin` has {} for {}", has(lists.len(), "list"), has(wanted, "vCPU"));
            let help = "write the host's CPUs of each vCPU, in the order of the vCPUs, or `pin = \"auto\"`";
            self.problem_with_help(key, message, help);
            return None;
        }
        let mut cpus = Vec::with_capacity(lists.len());
        for (index, list) in lists.iter().enumerate() {
            let list = match list {
                CpusSection::Numbers(numbers) => numbers.iter().copied().collect(),
                // The shape check has refused what is no list.
                CpusSection::Scalar(scalar) => CpuList::try_from(scalar.clone()).unwrap_or_default(),
            };
            if list.is_empty() {
                let message = format!("vCPU {index} has no CPU of the host to run on");
                self.problem_with_help(key, message, "write one CPU at least, as in [[2], [3]]");
                return None;
            }
            cpus.push(list);
        }
        Some(cpus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_auto_is_a_word() {
        assert_eq!(PinSection::check(&Scalar::Text("auto".into())), Ok(()));
        for wrong in
            [Scalar::Text("Auto".into()), Scalar::Text("4-7".into()), Scalar::Integer(4), Scalar::Bool(true)]
        {
            assert!(PinSection::check(&wrong).is_err_and(|why| why.starts_with("this must be \"auto\" or ")));
        }
    }
}
