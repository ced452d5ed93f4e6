//! What is known of a host: read from below one root directory, and, of this host, also by asking its KVM and what this user may open.
//!
//! Each part is read by one probe. All of it can be sent from the child that reads to the parent that judges.

pub(super) mod gpu;
pub(super) mod iommu;
pub(super) mod machine;
pub(super) mod memory;
pub(super) mod modules;
pub(super) mod processor;
pub(super) mod programs;
pub(super) mod rights;
pub(super) mod system;
pub(super) mod users;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vocabulary::HostPciAddress;

use super::capture;
use crate::host::HostFiles;

pub(super) use gpu::Pci;
pub(super) use iommu::Iommu;
pub(super) use machine::MachineFile;
pub(super) use memory::Memory;
pub(super) use processor::Processor;
pub(super) use programs::Programs;
pub(super) use rights::Rights;
pub(super) use system::System;
pub(super) use users::Users;

/// Which host is read, and for which machine.
#[derive(Debug, Clone, Default)]
pub(super) struct Context {
    /// The root of another host's files; this host where there is none.
    pub(super) sysroot: Option<PathBuf>,
    /// The vm.toml that is to run.
    pub(super) config: Option<PathBuf>,
    /// Where an archive is to be written.
    pub(super) capture: Option<PathBuf>,
    /// The GPU that the vm.toml names.
    pub(super) dgpu: Option<HostPciAddress>,
}

impl Context {
    /// The host's files.
    pub(super) fn files(&self) -> HostFiles {
        self.sysroot.as_ref().map_or_else(HostFiles::default, HostFiles::at)
    }

    /// Whether it is this host that is read.
    pub(super) fn is_live(&self) -> bool {
        self.sysroot.is_none()
    }
}

/// One look at the host, which may hang by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Probe {
    /// The vm.toml, and what `run` would refuse of it.
    Machine,
    /// Model, distribution, kernel, and modules.
    System,
    /// Processor, KVM.
    Processor,
    /// IOMMU and interrupt remapping.
    Iommu,
    /// GPUs, and the IOMMU group of the one to lend.
    Pci,
    /// Who uses that GPU.
    Users,
    /// Memory and limits.
    Memory,
    /// Firmware images and helpers.
    Programs,
    /// What this user may do.
    Rights,
    /// The archive.
    Capture,
}

impl Probe {
    /// Those of a report, the vm.toml's aside.
    pub(super) const OF_HOST: [Self; 8] = [
        Self::System,
        Self::Processor,
        Self::Iommu,
        Self::Pci,
        Self::Users,
        Self::Memory,
        Self::Programs,
        Self::Rights,
    ];

    /// Its name on the child's command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::System => "system",
            Self::Processor => "processor",
            Self::Iommu => "iommu",
            Self::Pci => "pci",
            Self::Users => "users",
            Self::Memory => "memory",
            Self::Programs => "programs",
            Self::Rights => "rights",
            Self::Capture => "capture",
        }
    }

    /// The probe of this name.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let mut all = Self::OF_HOST.into_iter().chain([Self::Machine, Self::Capture]);
        all.find(|probe| probe.name() == name)
    }

    /// Looks. Takes as long as the kernel likes.
    pub(super) fn look(self, context: &Context) -> Part {
        let files = context.files();
        match self {
            Self::Machine => Part::Machine(MachineFile::read(context)),
            Self::System => Part::System(System::read(&files)),
            Self::Processor => Part::Processor(Processor::read(&files, context.is_live())),
            Self::Iommu => Part::Iommu(Iommu::read(&files)),
            Self::Pci => Part::Pci(Pci::read(&files, context.dgpu)),
            Self::Users => Part::Users(Users::read(&files, context.dgpu)),
            Self::Memory => Part::Memory(Memory::read(&files)),
            Self::Programs => Part::Programs(Programs::read(&files)),
            Self::Rights => Part::Rights(Rights::read(context)),
            Self::Capture => Part::Capture(capture::write(context)),
        }
    }
}

/// What one probe has found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    Machine(MachineFile),
    System(System),
    Processor(Processor),
    Iommu(Iommu),
    Pci(Pci),
    Users(Users),
    Memory(Memory),
    Programs(Programs),
    Rights(Rights),
    Capture(Result<usize, String>),
}

/// A probe without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub(super) probe: Probe,
    /// Why, to be read behind a subject.
    pub(super) why: String,
}

/// All that is known. What is missing was not asked, or not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// It is this host, not a copy of another one's files.
    pub(super) live: bool,
    pub(super) machine: Option<MachineFile>,
    pub(super) system: Option<System>,
    pub(super) processor: Option<Processor>,
    pub(super) iommu: Option<Iommu>,
    pub(super) pci: Option<Pci>,
    pub(super) users: Option<Users>,
    pub(super) memory: Option<Memory>,
    pub(super) programs: Option<Programs>,
    pub(super) rights: Option<Rights>,
    pub(super) capture: Option<Result<usize, String>>,
    pub(super) unanswered: Vec<Unanswered>,
}

impl Facts {
    /// All of a host, in this process: for tests, whose files do not hang.
    #[cfg(test)]
    pub(super) fn of(context: &Context) -> Self {
        let mut facts = Self { live: context.is_live(), ..Self::default() };
        let mut context = context.clone();
        if context.config.is_some() {
            facts.add(Probe::Machine.look(&context));
            context.dgpu = facts.machine.as_ref().and_then(|machine| machine.dgpu);
        }
        Probe::OF_HOST.into_iter().for_each(|probe| facts.add(probe.look(&context)));
        facts
    }

    /// Takes in what a probe has found.
    pub(super) fn add(&mut self, part: Part) {
        match part {
            Part::Machine(machine) => self.machine = Some(machine),
            Part::System(system) => self.system = Some(system),
            Part::Processor(processor) => self.processor = Some(processor),
            Part::Iommu(iommu) => self.iommu = Some(iommu),
            Part::Pci(pci) => self.pci = Some(pci),
            Part::Users(users) => self.users = Some(users),
            Part::Memory(memory) => self.memory = Some(memory),
            Part::Programs(programs) => self.programs = Some(programs),
            Part::Rights(rights) => self.rights = Some(rights),
            Part::Capture(capture) => self.capture = Some(capture),
        }
    }

    /// The GPU to lend, if there is one.
    pub(super) fn gpu(&self) -> Option<&gpu::Gpu> {
        self.pci.as_ref()?.gpu.as_ref()
    }

    /// Whether devices are to be lent: always, unless a vm.toml asks for none.
    pub(super) fn lends(&self) -> bool {
        self.machine.as_ref().is_none_or(|machine| machine.lends)
    }

    /// A parameter of the kernel's command line: the value of its last mention.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let words = &self.system.as_ref()?.parameters;
        words.iter().rev().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }
}
