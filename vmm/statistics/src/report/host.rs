//! What a result depends on, beside what is measured.

use serde::{Deserialize, Serialize};

/// The host, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Name and release of the kernel.
    pub kernel: Option<String>,
    /// The processor's name.
    pub cpu: Option<String>,
    /// How many CPUs are online.
    pub cpus: Option<u32>,
    /// The revision of the processor's microcode.
    pub microcode: Option<String>,
    /// KVM's module and what of its hardware help is switched on.
    pub kvm: Option<String>,
    /// The IOMMU, and whether it translates.
    pub iommu: Option<String>,
    /// The governor of the CPUs' frequency.
    pub governor: Option<String>,
    /// What the processor is told to prefer, between speed and saving (EPP).
    pub preference: Option<String>,
    /// `mains` or `battery`.
    pub power: Option<String>,
    /// The clock that the kernel reads.
    pub clocksource: Option<String>,
    /// Whether the TSC is invariant, and its frequency.
    pub tsc: Option<String>,
    /// What the kernel does against weaknesses of the processor.
    pub mitigations: Option<String>,
    /// Transparent huge pages, and pages set aside.
    pub huge_pages: Option<String>,
    /// Whether devices' interrupts reach a guest without the host.
    pub posted_interrupts: Option<String>,
    /// The load averages when the run began.
    pub load: Option<String>,
}

/// The machine that was measured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// MiB of memory.
    pub memory_mib: u64,
    /// The number of vCPUs.
    pub vcpus: u32,
    /// The host's address of the device that was measured, and its IDs.
    #[serde(default)]
    pub device: Option<String>,
}

impl Host {
    /// All that is a text, with the word for it.
    pub(crate) fn texts(&self) -> [(&'static str, &Option<String>); 14] {
        [
            ("kernel", &self.kernel),
            ("processor", &self.cpu),
            ("microcode", &self.microcode),
            ("KVM", &self.kvm),
            ("IOMMU", &self.iommu),
            ("governor", &self.governor),
            ("energy preference", &self.preference),
            ("power", &self.power),
            ("clock source", &self.clocksource),
            ("TSC", &self.tsc),
            ("mitigations", &self.mitigations),
            ("huge pages", &self.huge_pages),
            ("posted interrupts", &self.posted_interrupts),
            ("load", &self.load),
        ]
    }

    /// What is known of both hosts and differs, as `governor: powersave, before performance`. The load always does, and is left out.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let number = |cpus: Option<u32>| cpus.map(|cpus| cpus.to_string());
        let (cpus, cpus_before) = (number(self.cpus), number(before.cpus));
        let others = self
            .texts()
            .into_iter()
            .zip(before.texts())
            .map(|((name, now), (_, before))| (name, now, before));
        others
            .chain([("CPUs", &cpus, &cpus_before)])
            .filter(|(name, ..)| *name != "load")
            .filter_map(|(name, now, before)| {
                let (now, before) = (now.as_ref()?, before.as_ref()?);
                (now != before).then(|| format!("{name}: {now}, before {before}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_both_and_differs() {
        let before = Host {
            kernel: Some("Linux 6.12".into()),
            governor: Some("performance".into()),
            load: Some("0.1".into()),
            cpus: Some(8),
            ..Host::default()
        };
        let now = Host {
            governor: Some("powersave".into()),
            power: Some("battery".into()),
            load: Some("9.1".into()),
            cpus: Some(4),
            ..before.clone()
        };
        assert_eq!(
            now.differences(&before),
            ["governor: powersave, before performance", "CPUs: 4, before 8"]
        );
        assert!(now.differences(&now).is_empty());
    }
}
