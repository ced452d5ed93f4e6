//! The real-time clock, in the report.

use std::fmt::Write as _;

use serde::Serialize;

use crate::config::{Machine, Rtc, RtcTickPolicy};

/// What the real-time clock shows and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Clock {
    /// UTC, or the host's local time.
    pub rtc: Rtc,
    /// What becomes of its ticks that come too late.
    pub rtc_tickpolicy: RtcTickPolicy,
}

impl From<&Machine> for Clock {
    fn from(machine: &Machine) -> Self {
        Self { rtc: machine.rtc, rtc_tickpolicy: machine.rtc_tickpolicy }
    }
}

impl Clock {
    /// Its line below those of the processors.
    pub(super) fn write(&self, out: &mut String) -> std::fmt::Result {
        let time = match self.rtc {
            Rtc::Utc => "UTC",
            Rtc::Localtime => "local time",
        };
        write!(out, "  the real-time clock shows {time}")?;
        match self.rtc_tickpolicy {
            RtcTickPolicy::Merge => writeln!(out),
            RtcTickPolicy::Catchup => writeln!(out, ", and makes up for missed ticks"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_usual_is_told() {
        for (rtc, rtc_tickpolicy, expected) in [
            (Rtc::Utc, RtcTickPolicy::Merge, "  the real-time clock shows UTC\n"),
            (
                Rtc::Localtime,
                RtcTickPolicy::Catchup,
                "  the real-time clock shows local time, and makes up for missed ticks\n",
            ),
        ] {
            let mut text = String::new();
            let clock = Clock::from(&Machine { rtc, rtc_tickpolicy, ..Machine::default() });
            clock.write(&mut text).unwrap();
            assert_eq!(text, expected);
        }
    }
}
