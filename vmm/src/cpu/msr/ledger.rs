//! What guests have done to registers that KVM does not know, counted for `ctl status` and for reports of crashes.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Access;

/// So many accesses are told apart, a register's reads from its writes; a guest that tries all of them fills no memory.
const MOST: usize = 64;

/// A register and what was done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accessed {
    /// The register's number.
    pub index: u32,
    /// The vendor's name, if the table has it.
    pub name: Option<&'static str>,
    /// Which way.
    pub access: Access,
}

impl fmt::Display for Accessed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of MSR {:#x}", self.access.word(), self.index)?;
        self.name.map_or(Ok(()), |name| write!(f, " ({name})"))
    }
}

/// What became of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was answered from the table.
    Answered,
    /// It was ignored, as the user wishes.
    Ignored,
    /// The guest got #GP.
    Refused,
}

impl Fate {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Ignored => "ignored",
            Self::Refused => "refused (#GP)",
        }
    }
}

/// How often something became of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// The access.
    pub accessed: Accessed,
    /// How often it was answered from the table.
    pub answered: u64,
    /// How often it was ignored.
    pub ignored: u64,
    /// How often it was refused. A write can be refused for its value, too.
    pub refused: u64,
}

/// An access that was refused, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The access.
    pub accessed: Accessed,
    /// Nobody knows the register, so that the user can have such accesses ignored.
    pub unknown: bool,
}

/// Where an access was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The access.
    pub refused: Refused,
    /// Which vCPU it was.
    pub vcpu: usize,
    /// Where the instruction is, in the guest's linear addresses.
    pub rip: Option<u64>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by vCPU {}", self.refused.accessed, self.vcpu)?;
        self.rip.map_or(Ok(()), |rip| write!(f, " at RIP {rip:016x}"))
    }
}

#[derive(Debug, Default)]
struct Inner {
    counts: Vec<Count>,
    beyond: u64,
    last: Option<(Refusal, Instant)>,
}

/// The counts of all vCPUs of a machine.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Inner>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an access. Whether it is the first of its kind.
    pub(super) fn count(&self, accessed: Accessed, fate: Fate) -> bool {
        let mut inner = self.lock();
        let known = inner.counts.iter().position(|count| count.accessed == accessed);
        let at = match known {
            Some(at) => at,
            None if inner.counts.len() < MOST => {
                inner.counts.push(Count { accessed, answered: 0, ignored: 0, refused: 0 });
                inner.counts.len() - 1
            }
            None => {
                inner.beyond = inner.beyond.saturating_add(1);
                return false;
            }
        };
        if let Some(count) = inner.counts.get_mut(at) {
            let counter = match fate {
                Fate::Answered => &mut count.answered,
                Fate::Ignored => &mut count.ignored,
                Fate::Refused => &mut count.refused,
            };
            *counter = counter.saturating_add(1);
        }
        known.is_none()
    }

    /// Notes the last access that was refused.
    pub(super) fn refused(&self, refusal: Refusal) {
        self.lock().last = Some((refusal, Instant::now()));
    }

    /// All counts, in the order of the first accesses.
    pub fn counts(&self) -> Vec<Count> {
        self.lock().counts.clone()
    }

    /// How many accesses found no room among the counts.
    pub fn beyond(&self) -> u64 {
        self.lock().beyond
    }

    /// The last access that was refused since the machine was started or reset, and how long ago that is.
    pub fn last_refused(&self) -> Option<(Refusal, Duration)> {
        self.lock().last.map(|(refusal, at)| (refusal, at.elapsed()))
    }

    /// A reset: what was refused before has nothing to do with what comes. The counts go on.
    pub fn reset(&self) {
        self.lock().last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(index: u32) -> Accessed {
        Accessed { index, name: None, access: Access::Read }
    }

    #[test]
    fn each_kind_of_access_is_counted_by_itself() {
        let ledger = Ledger::default();
        let write = Accessed { index: 0x10, name: Some("TSC"), access: Access::Write };
        let first: Vec<bool> = [
            (read(0x10), Fate::Refused),
            (read(0x10), Fate::Refused),
            (write, Fate::Ignored),
            (read(0x11), Fate::Answered),
            (read(0x10), Fate::Ignored),
        ]
        .map(|(accessed, fate)| ledger.count(accessed, fate))
        .into();
        assert_eq!(first, [true, false, true, true, false]);
        let counts = ledger.counts().into_iter();
        let counts: Vec<_> = counts.map(|c| (c.accessed, c.answered, c.ignored, c.refused)).collect();
        assert_eq!(counts, [(read(0x10), 0, 1, 2), (write, 0, 1, 0), (read(0x11), 1, 0, 0)]);
        assert_eq!((ledger.beyond(), write.to_string().as_str()), (0, "write of MSR 0x10 (TSC)"));
    }

    #[test]
    fn a_guest_that_tries_everything_fills_no_memory() {
        let ledger = Ledger::default();
        let new = (0..1000).filter(|index| ledger.count(read(*index), Fate::Refused)).count();
        assert_eq!((new, ledger.counts().len(), ledger.beyond()), (MOST, MOST, 1000 - MOST as u64));
        // Those that have room are still counted.
        ledger.count(read(3), Fate::Refused);
        assert_eq!((ledger.counts()[3].refused, ledger.beyond()), (2, 1000 - MOST as u64));
    }

    #[test]
    fn the_last_refusal_is_kept_until_a_reset() {
        let ledger = Ledger::default();
        assert_eq!(ledger.last_refused(), None);
        for (index, rip) in [(1, None), (0x1a2, Some(0x1000))] {
            let refused = Refused { accessed: read(index), unknown: true };
            ledger.refused(Refusal { refused, vcpu: 2, rip });
        }
        let (refusal, ago) = ledger.last_refused().unwrap();
        assert_eq!(refusal.to_string(), "read of MSR 0x1a2 by vCPU 2 at RIP 0000000000001000");
        assert!(ago < Duration::from_secs(60));
        ledger.count(read(0x1a2), Fate::Refused);
        ledger.reset();
        assert_eq!((ledger.last_refused(), ledger.counts().len()), (None, 1));
    }
}
