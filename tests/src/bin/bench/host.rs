//! What a result depends on: versions, kernel, processor, date.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Describes this host, and both programs.
pub(crate) fn describe(ours: &str, qemu: &str, qemu_program: &str) -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let info = read("/proc/cpuinfo");
    let cpu = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let modules = ["kvm_intel", "kvm_amd", "kvm_pvm"];
    let kvm = modules.into_iter().find(|module| Path::new("/sys/module").join(module).exists());
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    json!({
        "optimus_vmm": ours,
        "qemu": qemu,
        "qemu_program": qemu_program,
        "kernel": format!("Linux {}", read("/proc/sys/kernel/osrelease")),
        "kvm": kvm.unwrap_or("unknown"),
        "cpu": cpu,
        "cpus": info.matches("\nprocessor").count() + usize::from(info.starts_with("processor")),
        "load": read("/proc/loadavg"),
        "in_lab": std::env::var_os("OPTIMUS_IN_LAB").is_some(),
        "date": date(seconds),
        "unix_seconds": seconds,
    })
}

/// A day since 1970 in the proleptic Gregorian calendar, as YYYY-MM-DD.
fn date(seconds: u64) -> String {
    // Days are counted from 1 March of year 0, so that a leap day ends a year; 400 years have 146097 days.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{:04}-{month:02}-{day:02}", era * 400 + year + u64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_of_note() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(951_868_800), "2000-03-01");
        assert_eq!(date(1_735_603_200), "2024-12-31");
        assert_eq!(date(1_795_334_400), "2026-11-22");
    }
}
