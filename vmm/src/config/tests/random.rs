//! No text makes the parser or the printer of its messages panic.

use proptest::prelude::*;

use super::parse;

/// A line of something like a configuration.
fn line() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "name",
        "uuid",
        "machine",
        "memory",
        "hugepages",
        "rtc",
        "rtc_tickpolicy",
        "on_crash",
        "grace",
        "cpu",
        "topology",
        "sockets",
        "cores",
        "threads",
        "count",
        "hyperv",
        "stimer",
        "spinlocks",
        "firmware",
        "code",
        "vars",
        "smbios",
        "chassis_type",
        "disk",
        "path",
        "format",
        "serial",
        "boot_index",
        "address",
        "rng",
        "usb",
        "root_port",
        "fw_cfg",
        "string",
        "file",
        "debugcon",
        "output",
        "kernel",
        "image",
        "initrd",
        "cmdline",
        "dgpu",
        "igpu",
        "mdev",
        "parent",
        "resolution",
        "vfio",
        "host",
        "guest",
        "vendor",
        "subsystem",
        "rom",
        "battery",
        "mode",
        "acpi",
        "acpi.table",
        "display",
        "vnc",
        "password_file",
        "ä",
        "x\t",
    ]);
    let value = prop_oneof![
        any::<i64>().prop_map(|number| number.to_string()),
        (0_u32..300).prop_map(|number| number.to_string()),
        "\"[a-zA-Z0-9:./ ~äß-]{0,12}\"",
        "\"[0-9]{1,22} ?[KMGTkmgt]?i?B?\"",
        "\"[0-9a-f]{1,4}:[0-9a-f]{1,2}\\.[0-9a-f]\"",
        "\"(unix:|[0-9.]{0,9}|localhost|\\[::1\\]):[0-9]{0,5}\"",
        "\"(SUBSYS_)?[0-9a-fA-F]{0,9}:?[0-9a-f]{0,5}\"",
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("{ sockets = 4000000000, cores = 255, threads = 3 }".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        "[ -~]{0,20}",
    ];
    prop_oneof![
        word.clone().prop_map(|word| format!("[{word}]")),
        word.clone().prop_map(|word| format!("[[{word}]]")),
        (word.clone(), value).prop_map(|(word, value)| format!("{word} = {value}")),
        (word.clone(), word).prop_map(|(a, b)| format!("{a}.{b} = 1")),
        "\\PC{0,30}",
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = parse(&text).map_err(|problems| problems.to_string());
    }

    #[test]
    fn any_lines_are_read_or_refused(lines in prop::collection::vec(line(), 0..12), end in "\r?\n") {
        if let Err(problems) = parse(&lines.join(&end)) {
            for problem in problems.iter() {
                let text = problem.to_string();
                prop_assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            }
        }
    }
}
