//! No text makes the parser or the printer of its messages panic, and what is printed is read back.

use proptest::prelude::*;

use super::super::{ByteSize, ConsoleSpec, HostPciAddress, PciAddress, VncAddress};
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
        "on_crash",
        "grace",
        "cpu",
        "topology",
        "sockets",
        "cores",
        "threads",
        "count",
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

    #[test]
    fn sizes_are_read_back(bytes in any::<u64>(), shift in 0_u32..64) {
        let size = ByteSize::from_bytes(bytes >> shift << shift);
        prop_assert_eq!(size.to_string().parse(), Ok(size));
    }

    #[test]
    fn any_text_is_a_size_or_not(text in "\\PC{0,20}|[0-9]{1,30}.{0,3}") {
        let _ = text.parse::<ByteSize>();
        let _ = text.parse::<PciAddress>();
        let _ = text.parse::<ConsoleSpec>();
        let _ = text.parse::<VncAddress>();
    }

    #[test]
    fn addresses_of_vnc_are_read_back(ip in any::<std::net::IpAddr>(), port in 100_u16..) {
        let address = VncAddress::Tcp((ip, port).into());
        prop_assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn addresses_of_the_host_are_read_back(segment: u16, bus: u8, device in 0_u8..32, function in 0_u8..8) {
        let address = HostPciAddress::new(segment, bus, device, function).unwrap();
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        let short = HostPciAddress::new(0, bus, device, function).unwrap();
        prop_assert_eq!(format!("{bus:x}:{device:x}.{function}").parse(), Ok(short));
    }

    #[test]
    fn pci_addresses_are_read_back(bus: u8, device in 0_u8..32, function in 0_u8..8) {
        let address = PciAddress::new(bus, device, function).unwrap();
        prop_assert_eq!(address.to_string().parse(), Ok(address));
        prop_assert_eq!(format!("0000:{address}").parse(), Ok(address));
        prop_assert_eq!(address.to_string().to_uppercase().parse(), Ok(address));
    }
}
