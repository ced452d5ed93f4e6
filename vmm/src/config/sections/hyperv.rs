//! `[cpu.hyperv]`: what the guest may use of Hyper-V's interface.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vocabulary::scalar::{Complaint, wrong_kind};
use vocabulary::{Enlightenment, Enlightenments, Scalar, inline_schema};

use Enlightenment::{
    Avic, Crash, Frequencies, Ipi, Relaxed, Reset, Runtime, Spinlocks, Stimer, StimerDirect, Synic, Time,
    TlbFlush, Vapic, VpIndex,
};

use crate::finding::{Resolver, Section};

/// What the guest may use of Hyper-V's interface, which Windows knows: each key is an enlightenment. With `os = "windows"` they are
/// on as far as they help on this host; `preset = "optimus"` has `relaxed`, `vapic`, `spinlocks`, `vpindex` and `time`; else they are off
/// unless they are written. An enlightenment that is written must be one that KVM offers; another that it does not offer is left out,
/// which `plan` and the log say. See docs/windows.md.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HypervSection {
    /// The guest does not watch for processors that seem to hang: they may only have to wait for the host's.
    #[schemars(extend("x-default" = "with Windows"))]
    pub relaxed: Option<bool>,
    /// Registers of the APIC as MSRs, and the end of an interrupt without leaving the guest.
    #[schemars(extend("x-default" = "with Windows"))]
    pub vapic: Option<bool>,
    /// How often a processor tries to get a spinlock before it tells the hypervisor that it waits, or `false`: it never does.
    #[schemars(extend("x-default" = "8191 with Windows"))]
    pub spinlocks: Option<SpinlockRetries>,
    /// Each processor's number as an MSR.
    #[schemars(extend("x-default" = "with Windows"))]
    pub vpindex: Option<bool>,
    /// The time for which a processor has run as an MSR.
    #[schemars(extend("x-default" = "with Windows"))]
    pub runtime: Option<bool>,
    /// A clock that is read without leaving the guest, where the host's own is the TSC. Needs `vpindex`, without which Windows 11 does
    /// not use it.
    #[schemars(extend("x-default" = "with Windows"))]
    pub time: Option<bool>,
    /// The frequencies of TSC and APIC as MSRs: the guest need not measure them.
    #[schemars(extend("x-default" = "with Windows"))]
    pub frequencies: Option<bool>,
    /// A reset of the machine by an MSR. Windows resets it by ACPI otherwise.
    #[schemars(extend("x-default" = "`false`"))]
    pub reset: Option<bool>,
    /// The synthetic interrupt controller. Needs `vpindex`.
    #[schemars(extend("x-default" = "with Windows"))]
    pub synic: Option<bool>,
    /// Synthetic timers: Windows leaves the real-time clock alone, and the host's processors sleep while it has nothing to do. Needs
    /// `synic` and `time`.
    #[schemars(extend("x-default" = "with Windows"))]
    pub stimer: Option<bool>,
    /// Timers that interrupt a processor without a message in memory. Needs `stimer`.
    #[schemars(extend("x-default" = "with Windows"))]
    pub stimer_direct: Option<bool>,
    /// A processor flushes the TLB of others by one call of the hypervisor, also while they do not run. Needs `vpindex`.
    #[schemars(extend("x-default" = "with Windows and several processors"))]
    pub tlbflush: Option<bool>,
    /// A processor interrupts many others by one call of the hypervisor. Needs `vpindex`.
    #[schemars(extend("x-default" = "with Windows and several processors, unless the host's send interrupts to each other in guests themselves (IPI virtualization, AVIC)"))]
    pub ipi: Option<bool>,
    /// The guest uses its APIC as on hardware and ends interrupts itself: for hosts whose processors virtualize the APIC (APICv,
    /// AVIC), which is switched off else.
    #[schemars(extend("x-default" = "with Windows, where KVM uses APICv or AVIC"))]
    pub avic: Option<bool>,
    /// Registers in which the guest's system says why it crashes.
    #[schemars(extend("x-default" = "with Windows"))]
    pub crash: Option<bool>,
}

/// How often to try to get a spinlock, or never to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Scalar", into = "Scalar")]
pub enum SpinlockRetries {
    /// The guest does not tell.
    Off,
    /// So often.
    Times(u32),
}

impl SpinlockRetries {
    /// The name of its format.
    pub const FORMAT: &str = "spinlock-retries";
    /// What it is, in words.
    pub const EXPECTED: &str = "false, or a whole number from 4095 to 1048575";
    /// What libvirt's users and others have been writing.
    const USUAL: u32 = 8191;
    /// libvirt's least, and KVM's own proposal. More than a million is for ever.
    const RANGE: std::ops::RangeInclusive<u32> = 4095..=0xf_ffff;
}

impl TryFrom<Scalar> for SpinlockRetries {
    type Error = Complaint;

    fn try_from(value: Scalar) -> Result<Self, Complaint> {
        let times = |number: &i64| u32::try_from(*number).ok().filter(|times| Self::RANGE.contains(times));
        match &value {
            Scalar::Bool(false) => Ok(Self::Off),
            Scalar::Bool(true) => Err(format!("say how often: write {}, as is usual", Self::USUAL)),
            Scalar::Integer(number) => match times(number) {
                Some(times) => Ok(Self::Times(times)),
                None => Err(wrong_kind(Self::EXPECTED, &value)),
            },
            Scalar::Text(_) => Err(wrong_kind(Self::EXPECTED, &value)),
        }
    }
}

impl From<SpinlockRetries> for Scalar {
    fn from(retries: SpinlockRetries) -> Self {
        match retries {
            SpinlockRetries::Off => Self::Bool(false),
            SpinlockRetries::Times(times) => Self::Integer(times.into()),
        }
    }
}

inline_schema!(SpinlockRetries, {
    "format": Self::FORMAT,
    "anyOf": [
        { "const": false },
        { "type": "integer", "minimum": 4095, "maximum": 0xf_ffff },
    ],
});

/// The enlightenments that the guest is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hyperv {
    /// Those that are on.
    pub on: Enlightenments,
    /// Those whose keys are written, on or off: the host changes nothing about them.
    pub written: Enlightenments,
    /// Attempts at a spinlock, if [`Spinlocks`] is on.
    pub retries: u32,
}

/// What Windows makes good use of. The host decides on [`Avic`] and [`Ipi`].
const WINDOWS: Enlightenments = Enlightenments::of(&[
    Relaxed,
    Vapic,
    Spinlocks,
    VpIndex,
    Runtime,
    Time,
    Frequencies,
    Synic,
    Stimer,
    StimerDirect,
    TlbFlush,
    Ipi,
    Avic,
    Crash,
]);

/// What is of use only with several processors.
const SEVERAL: Enlightenments = Enlightenments::of(&[TlbFlush, Ipi]);

/// The set with which Windows 10 ran on an Optimus laptop's GPU, and what Windows 11 needs to use the clock in it.
const OPTIMUS: Enlightenments = Enlightenments::of(&[Relaxed, Vapic, Spinlocks, VpIndex, Time]);

/// What those enlightenments that are not written follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HypervDefault {
    /// They are off.
    None,
    /// Windows, with so many processors.
    Windows(u32),
    /// `preset = "optimus"`.
    Optimus,
}

impl HypervDefault {
    fn enlightenments(self) -> Enlightenments {
        match self {
            Self::None => Enlightenments::NONE,
            Self::Windows(1) => WINDOWS.without(SEVERAL),
            Self::Windows(_) => WINDOWS,
            Self::Optimus => OPTIMUS,
        }
    }
}

impl HypervSection {
    /// What is written of each.
    fn keys(&self) -> [(Enlightenment, Option<bool>); 15] {
        let spinlocks = self.spinlocks.map(|retries| retries != SpinlockRetries::Off);
        [
            (Relaxed, self.relaxed),
            (Vapic, self.vapic),
            (Spinlocks, spinlocks),
            (VpIndex, self.vpindex),
            (Runtime, self.runtime),
            (Time, self.time),
            (Frequencies, self.frequencies),
            (Reset, self.reset),
            (Synic, self.synic),
            (Stimer, self.stimer),
            (StimerDirect, self.stimer_direct),
            (TlbFlush, self.tlbflush),
            (Ipi, self.ipi),
            (Avic, self.avic),
            (Crash, self.crash),
        ]
    }
}

impl Resolver {
    /// The enlightenments. `hypervisor`: the guest finds one at all.
    pub(super) fn hyperv(
        &mut self,
        section: &HypervSection,
        default: HypervDefault,
        hypervisor: bool,
    ) -> Hyperv {
        let keys = section.keys();
        let that_are = |wanted: bool| -> Enlightenments {
            keys.iter().filter(|(_, value)| *value == Some(wanted)).map(|(one, _)| *one).collect()
        };
        let (on, off) = (that_are(true), that_are(false));
        let retries = match section.spinlocks {
            Some(SpinlockRetries::Times(times)) => times,
            _ => SpinlockRetries::USUAL,
        };
        let resolved = |enlightenments| Hyperv { on: enlightenments, written: on.or(off), retries };
        if !hypervisor {
            for one in on.iter() {
                let line = self.line_of(Section::Cpu.key("hypervisor"));
                let message = format!("`hypervisor = false`{line} leaves no hypervisor to offer anything");
                self.problem_with_help(
                    Section::CpuHyperv.key(one.name()),
                    message,
                    "leave one of the two out",
                );
            }
            return resolved(Enlightenments::NONE);
        }
        let wanted = default.enlightenments().without(off).or(on);
        let usable = wanted.usable();
        for one in on.without(usable).iter() {
            self.lacks(one, wanted, off);
        }
        resolved(usable)
    }

    /// An enlightenment that is written needs one that is off.
    fn lacks(&mut self, one: Enlightenment, wanted: Enlightenments, off: Enlightenments) {
        // From one to the next, down to the one that is off.
        let next =
            |one: Enlightenment| one.needs().iter().find(|need| !wanted.usable().contains(**need)).copied();
        let mut message = format!("`{one}` ");
        let mut missing = one;
        while let Some(need) = next(missing).filter(|_| wanted.contains(missing)) {
            message += &format!("{}needs `{need}`", if missing == one { "" } else { ", which " });
            missing = need;
        }
        let key = Section::CpuHyperv.key(missing.name());
        let (state, help) = if off.contains(missing) {
            (format!(", which is switched off{}", self.line_of(key)), "leave one of the two out".into())
        } else {
            (", which is off".into(), format!("write `{missing} = true`, too"))
        };
        self.problem_with_help(Section::CpuHyperv.key(one.name()), message + &state, help);
    }
}
