//! The `[machine]` section: memory, clock, and what ends the machine.
//!
//! The names and meanings of `on_poweroff`, `on_reboot` and `on_crash` are those of libvirt's domain XML
//! ("Events configuration").

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::printable::shorten;
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{ByteSize, Hugepages, Scalar, VfioBackend, inline_schema};

use super::control::ControlSpec;
use crate::finding::Resolver;
use crate::finding::Section;

/// The least memory on which OVMF and the guests of the test suite run.
const MEMORY_MIN: ByteSize = ByteSize::from_mib(256);
/// More than the 46 bits of address that OVMF's page tables and Linux's phys_bits commonly leave.
const MEMORY_MAX: ByteSize = ByteSize::from_mib(16 << 20);
/// Guest memory is mapped, and reported to the firmware, in units that huge pages divide.
const MEMORY_STEP: ByteSize = ByteSize::from_mib(2);

/// The machine as a whole: its memory, its clock and its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// The guest's memory: from 256M, in steps of 2M. Units are powers of 1024; a plain number counts bytes.
    pub memory: ByteSize,
    /// Back the memory with pages of this size from the host's hugetlbfs pool: `false`, `"2M"` or `"1G"`.
    pub hugepages: Hugepages,
    /// Back the memory with a memfd that other processes can map (vhost-user and the like).
    pub shared: bool,
    /// What the real-time clock shows. Windows expects `"localtime"`, which is the default if `os` in `[cpu]` says so; everything else
    /// expects `"utc"`.
    pub rtc: Rtc,
    /// A periodic interrupt of the real-time clock that is due before the guest has looked at the one before, after a pause or on a
    /// busy host: `"merge"` makes one of the two, as a PC does; `"catchup"` gives it later, for old guests that count them to keep
    /// time, such as Windows before 8. What is missing beyond ten minutes is given up. The names are libvirt's.
    pub rtc_tickpolicy: RtcTickPolicy,
    /// When the guest powers itself off: `"destroy"` ends the process, `"restart"` boots again, `"preserve"`
    /// keeps the stopped machine until a signal ends the process.
    pub on_poweroff: Action,
    /// When the guest resets itself: `"restart"`, `"destroy"` or `"preserve"`, as for `on_poweroff`.
    pub on_reboot: Action,
    /// When the guest crashes (triple fault, or a panic it reports): `"destroy"`, `"restart"` or
    /// `"preserve"`, as for `on_poweroff`. A guest that reports it by Hyper-V's crash registers, as Windows does, may write a dump
    /// before: until it resets, powers off or halts, for two minutes at most.
    pub on_crash: Action,
    /// Seconds a guest has to power itself off after SIGINT, SIGTERM or a met expectation pressed its power
    /// button. 0 ends it at once.
    #[schemars(range(max = 3600))]
    pub grace: u32,
    /// Offer the pvpanic device (`QEMU0001` in ACPI), by which a guest's kernel reports its panic. With `hypervisor = false` in
    /// `[cpu]` the default is `false`.
    pub pvpanic: bool,
    /// Describe fw_cfg in ACPI (`QEMU0002`, hidden), by which Linux finds it and its `[[fw_cfg]]` items. Firmware needs no
    /// description, but SSDTs that read a video BIOS through fw_cfg can. With `hypervisor = false` in `[cpu]` the default is
    /// `false`, unless there are `[[fw_cfg]]` or `[[acpi.table]]` sections.
    pub fw_cfg_device: bool,
    /// How the kernel lends passed-through devices: `"iommufd"` (`/dev/iommu`), `"group"` (`/dev/vfio/vfio`), or `"auto"`:
    /// groups where the host has them, which can also open devices' memory to each other, and iommufd otherwise.
    pub vfio_backend: VfioBackend,
    /// The socket by which `optimus-vmm ctl` controls the machine: `"auto"` and `"on"` put it into a private folder under the
    /// machine's name, where `"on"` refuses to run without it; `"unix:PATH"` elsewhere; `"off"` nowhere. See docs/control.md.
    pub control: ControlSpec,
    /// Seconds the firmware waits for a key that opens its boot menu.
    #[schemars(range(max = 60))]
    pub boot_menu: u32,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory: ByteSize::from_mib(1024),
            hugepages: Hugepages::Off,
            shared: false,
            rtc: Rtc::Utc,
            rtc_tickpolicy: RtcTickPolicy::Merge,
            on_poweroff: Action::Destroy,
            on_reboot: Action::Restart,
            on_crash: Action::Destroy,
            grace: 30,
            pvpanic: true,
            fw_cfg_device: true,
            vfio_backend: VfioBackend::Auto,
            control: ControlSpec::Auto,
            boot_menu: 0,
        }
    }
}

impl Machine {
    /// Has whatever the guest comes to end the process, and a signal too, at once.
    pub fn end_with_guest(&mut self) {
        self.on_poweroff = Action::Destroy;
        self.on_reboot = Action::Destroy;
        self.on_crash = Action::Destroy;
        self.grace = 0;
    }

    /// The time between the power button and the end of the machine.
    pub fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace.into())
    }
}

/// What the real-time clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Rtc {
    /// Coordinated universal time.
    Utc,
    /// The host's local time.
    Localtime,
}

/// What becomes of periodic interrupts of the real-time clock that come too late: values of libvirt's attribute `tickpolicy`
/// ("Time keeping").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum RtcTickPolicy {
    /// They are one with the next.
    Merge,
    /// They follow at a higher rate.
    Catchup,
}

impl RtcTickPolicy {
    pub const FORMAT: &str = "rtc-tick-policy";
    pub const EXPECTED: &str = "\"merge\" or \"catchup\"";
}

impl TryFrom<Scalar> for RtcTickPolicy {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        let Scalar::Text(text) = &value else { return Err(wrong_kind(Self::EXPECTED, &value)) };
        match text.as_str() {
            "merge" => Ok(Self::Merge),
            "catchup" => Ok(Self::Catchup),
            // What libvirt calls "delay" for this clock is QEMU's driftfix=none, which merges.
            "delay" | "discard" => Err(format!(
                "\"{text}\" is another of libvirt's policies, which this clock does not have: write {}; \"merge\" is what \
                 libvirt's \"delay\" does with this clock",
                Self::EXPECTED
            )),
            other => Err(format!("\"{}\" is no policy for ticks: write {}", shorten(other), Self::EXPECTED)),
        }
    }
}

impl From<RtcTickPolicy> for Scalar {
    fn from(policy: RtcTickPolicy) -> Self {
        let text = match policy {
            RtcTickPolicy::Merge => "merge",
            RtcTickPolicy::Catchup => "catchup",
        };
        Self::Text(text.into())
    }
}

inline_schema!(RtcTickPolicy, {
    "type": "string",
    "format": Self::FORMAT,
    "enum": ["merge", "catchup"],
});

/// What follows the end of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum Action {
    /// End the process.
    Destroy,
    /// Reset the machine and boot again in the same process.
    Restart,
    /// Keep the machine as it stopped until a signal ends the process.
    Preserve,
}

impl Action {
    pub const FORMAT: &str = "lifecycle-action";
    pub const EXPECTED: &str = "\"destroy\", \"restart\" or \"preserve\"";
}

impl TryFrom<Scalar> for Action {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        let Scalar::Text(text) = &value else { return Err(wrong_kind(Self::EXPECTED, &value)) };
        match text.as_str() {
            "destroy" => Ok(Self::Destroy),
            "restart" => Ok(Self::Restart),
            "preserve" => Ok(Self::Preserve),
            "coredump-destroy" | "coredump-restart" => Err(format!(
                "\"{text}\" is libvirt's, and guest memory dumps are not written here: write {}",
                Self::EXPECTED
            )),
            "rename-restart" => Err(format!(
                "\"{text}\" is libvirt's, and a running machine cannot change its name here: write {}",
                Self::EXPECTED
            )),
            other => Err(format!("\"{}\" is no action: write {}", shorten(other), Self::EXPECTED)),
        }
    }
}

impl From<Action> for Scalar {
    fn from(action: Action) -> Self {
        let text = match action {
            Action::Destroy => "destroy",
            Action::Restart => "restart",
            Action::Preserve => "preserve",
        };
        Self::Text(text.into())
    }
}

inline_schema!(Action, {
    "type": "string",
    "format": Self::FORMAT,
    "enum": ["destroy", "restart", "preserve"],
});

impl Resolver {
    /// The amount of memory.
    pub fn check_memory(&mut self, machine: &Machine) {
        let memory = machine.memory;
        let (key, bytes) = (Section::Machine.key("memory"), memory.bytes());
        if memory < MEMORY_MIN {
            let help = match bytes {
                1..=64 => format!("a plain number counts bytes: write \"{bytes}G\" or \"{bytes}M\""),
                _ => format!("write at least \"{MEMORY_MIN}\""),
            };
            let shown = if bytes < 1024 { format!("{bytes} bytes") } else { memory.to_string() };
            let message = format!("{shown} of memory is less than the {MEMORY_MIN} that OVMF needs");
            self.problem_with_help(key, message, help);
        } else if memory > MEMORY_MAX {
            self.problem(key, format!("{memory} of memory is more than the {MEMORY_MAX} that are supported"));
        } else if let Some(page) = machine.hugepages.page_size().filter(|page| !memory.is_multiple_of(*page))
        {
            let message = format!("{memory} of memory is not a multiple of the huge pages' {page}");
            self.problem(key, message);
        } else if !memory.is_multiple_of(MEMORY_STEP) {
            self.problem(key, format!("{memory} of memory is not a multiple of {MEMORY_STEP}"));
        }
    }
}
