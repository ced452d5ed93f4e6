//! Enlightenments of Hyper-V's interface: what a guest that knows it, as Windows does, may use of it (Microsoft's Hypervisor
//! Top-Level Functional Specification, "Feature and Interface Discovery"). The names are libvirt's and QEMU's.

use std::fmt;

/// One thing that the interface offers a guest or advises it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Enlightenment {
    /// Advice not to watch for processors that seem to hang.
    Relaxed,
    /// Registers of the APIC as MSRs, and an end of interrupt in memory.
    Vapic,
    /// A hypercall for who waits for a spinlock, and how often to try before.
    Spinlocks,
    /// Each processor's number as an MSR; the base of all that names processors.
    VpIndex,
    /// The time for which a processor has run, as an MSR.
    Runtime,
    /// A reference time, as an MSR and as a page that turns the TSC into it.
    Time,
    /// The frequencies of TSC and APIC as MSRs.
    Frequencies,
    /// A reset of the machine by an MSR.
    Reset,
    /// The synthetic interrupt controller.
    Synic,
    /// Synthetic timers, which send messages.
    Stimer,
    /// Synthetic timers that raise an interrupt instead.
    StimerDirect,
    /// TLB flushes of other processors by hypercall.
    TlbFlush,
    /// Interrupts to other processors by hypercall.
    Ipi,
    /// Advice for processors that virtualize the APIC in hardware (APICv, AVIC): no automatic end of interrupt, which
    /// would switch that off, and the APIC's own registers.
    Avic,
    /// Registers for the report of a crash.
    Crash,
}

use Enlightenment::{
    Avic, Crash, Frequencies, Ipi, Relaxed, Reset, Runtime, Spinlocks, Stimer, StimerDirect, Synic, Time,
    TlbFlush, Vapic, VpIndex,
};

impl Enlightenment {
    /// All of them, each behind those that it needs.
    pub const ALL: [Self; 15] = [
        Relaxed,
        Vapic,
        Spinlocks,
        VpIndex,
        Runtime,
        Time,
        Frequencies,
        Reset,
        Synic,
        Stimer,
        StimerDirect,
        TlbFlush,
        Ipi,
        Avic,
        Crash,
    ];

    /// Its key in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Relaxed => "relaxed",
            Vapic => "vapic",
            Spinlocks => "spinlocks",
            VpIndex => "vpindex",
            Runtime => "runtime",
            Time => "time",
            Frequencies => "frequencies",
            Reset => "reset",
            Synic => "synic",
            Stimer => "stimer",
            StimerDirect => "stimer_direct",
            TlbFlush => "tlbflush",
            Ipi => "ipi",
            Avic => "avic",
            Crash => "crash",
        }
    }

    /// Those without which a guest cannot use it, or does not: Windows 11 takes its time from the page of [`Self::Time`] only
    /// beside [`Self::VpIndex`].
    pub const fn needs(self) -> &'static [Self] {
        match self {
            Time | Synic | TlbFlush | Ipi => &[VpIndex],
            Stimer => &[Synic, Time],
            StimerDirect => &[Stimer],
            _ => &[],
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

impl fmt::Display for Enlightenment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of enlightenments.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Enlightenments(u16);

impl Enlightenments {
    /// None.
    pub const NONE: Self = Self(0);

    /// These.
    pub const fn of(list: &[Enlightenment]) -> Self {
        let (mut bits, mut rest) = (0, list);
        while let [first, others @ ..] = rest {
            bits |= first.bit();
            rest = others;
        }
        Self(bits)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is among them.
    pub const fn contains(self, one: Enlightenment) -> bool {
        self.0 & one.bit() != 0
    }

    /// Those that are in one of the two.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of which all that they need are among them, too.
    #[must_use]
    pub fn usable(self) -> Self {
        let usable = |kept: Self, one: &Enlightenment| {
            let ready = self.contains(*one) && one.needs().iter().all(|need| kept.contains(*need));
            if ready { kept.or(Self(one.bit())) } else { kept }
        };
        Enlightenment::ALL.iter().fold(Self::NONE, usable)
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Enlightenment> {
        Enlightenment::ALL.into_iter().filter(move |one| self.contains(*one))
    }
}

impl FromIterator<Enlightenment> for Enlightenments {
    fn from_iter<I: IntoIterator<Item = Enlightenment>>(list: I) -> Self {
        list.into_iter().fold(Self::NONE, |set, one| set.or(Self(one.bit())))
    }
}

/// The names, with commas between.
impl fmt::Display for Enlightenments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().enumerate().try_for_each(|(index, one)| {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{one}")
        })
    }
}

impl fmt::Debug for Enlightenments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_behind_those_that_it_needs() {
        for (index, one) in Enlightenment::ALL.iter().enumerate() {
            let before = Enlightenment::ALL.get(..index).unwrap();
            assert!(one.needs().iter().all(|need| before.contains(need)), "{one}");
            assert_eq!(Enlightenments::of(&[*one]).iter().collect::<Vec<_>>(), [*one]);
        }
    }

    #[test]
    fn what_lacks_something_is_not_usable() {
        let all: Enlightenments = Enlightenment::ALL.into_iter().collect();
        assert_eq!(all.usable(), all);
        for (missing, gone) in [
            (Relaxed, "relaxed"),
            (VpIndex, "vpindex, time, synic, stimer, stimer_direct, tlbflush, ipi"),
            (Time, "time, stimer, stimer_direct"),
            (Synic, "synic, stimer, stimer_direct"),
            (StimerDirect, "stimer_direct"),
        ] {
            let usable = all.without(Enlightenments::of(&[missing])).usable();
            assert_eq!(all.without(usable).to_string(), gone);
        }
    }
}
