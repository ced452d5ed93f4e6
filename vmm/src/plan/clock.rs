//! What is to be said of the host's clock.

use crate::finding::Finding;
use crate::host::HostFacts;

/// Clocksources by which KVM lets guests read the time without its help (Linux arch/x86/kvm/x86.c, `gtod_is_based_on_tsc`).
const GOOD: [&str; 2] = ["tsc", "hyperv_clocksource_tsc_page"];

/// On a host that reads the time from elsewhere, guests are slow.
pub(super) fn warning(facts: &HostFacts) -> Option<Finding> {
    let clocksource = facts.clocksource.as_deref().filter(|name| !GOOD.contains(name))?;
    let message = format!(
        "the host's kernel reads the time from {clocksource}, not from the TSC: then KVM gives guests no clock that they can read \
         by themselves, and each look at the time can cost them microseconds"
    );
    let help = "`journalctl -k --grep=tsc` says why it left the TSC: often the firmware (look for an update), or a suspend (start \
                the host anew); `cat /sys/devices/system/clocksource/clocksource0/available_clocksource` says what there is";
    Some(Finding::of_host(message).with_help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clocks_that_are_not_the_tsc_are_told() {
        for (clocksource, told) in [
            (None, false),
            (Some("tsc"), false),
            (Some("hyperv_clocksource_tsc_page"), false),
            (Some("hpet"), true),
            (Some("acpi_pm"), true),
            (Some("kvm-clock"), true),
        ] {
            let facts = HostFacts { clocksource: clocksource.map(str::to_owned), ..HostFacts::default() };
            let warning = warning(&facts).map(|warning| warning.to_string());
            assert_eq!(warning.is_some(), told, "{clocksource:?}");
            assert!(
                warning.is_none_or(|text| text.contains(clocksource.unwrap()) && text.contains("help: "))
            );
        }
    }
}
