//! `[[usb_device]]`: what sections mean, what `plan` says of them, and what is refused before the start.

use std::path::Path;

use super::UsbHost;
use crate::config;
use crate::device::{Spec, Usb};
use crate::host::HostFacts;
use crate::host::usb::{HostUsb, HostUsbDevice};
use crate::plan::report::report;
use crate::plan::{MachinePlan, plan};
use crate::usb::testing::{device, receiver};

fn planned_on(text: &str, usb: Option<HostUsb>) -> Result<MachinePlan, String> {
    let text = format!("[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n{text}");
    let config = config::parse(&text, Path::new("/vm/test.toml")).map_err(|error| error.to_string())?;
    assert_eq!(config.wants_usb_devices(), text.contains("[[usb_device]]"));
    plan(config, &HostFacts { usb, ..HostFacts::default() }).map_err(|error| error.to_string())
}

fn planned(text: &str) -> Result<MachinePlan, String> {
    planned_on(text, None)
}

#[test]
fn sections_bring_the_controller() {
    let plan = planned("[[usb_device]]\nid = \"046D:c52b\"\n[[usb_device]]\nport = \"1-4.2\"\nserial = \"x\"\noptional = true\n").unwrap();
    let host = plan.devices.one::<UsbHost>().unwrap();
    assert_eq!(host.describe(), "USB devices of the host: 046d:c52b, with the serial number x at port 1-4.2");
    assert_eq!(
        host.wanted.iter().map(|it| (it.name.as_str(), it.optional)).collect::<Vec<_>>(),
        [("usb_device[0]", false), ("usb_device[1]", true)]
    );
    let usb = plan.devices.one::<Usb>().unwrap();
    assert!(usb.mouse && usb.tablet && !usb.keyboard);
    // It comes first: they are plugged into it.
    assert!(plan.devices.number_of::<Usb>() < plan.devices.number_of::<UsbHost>());
    // Nothing else has to be at it.
    assert!(planned("[usb]\ntablet = false\nmouse = false\n[[usb_device]]\nport = \"1-1\"\n").is_ok());
    // A machine with a controller can have some by command.
    assert!(planned("[display]\n").unwrap().devices.one::<UsbHost>().unwrap().wanted.is_empty());
    assert!(planned("").unwrap().devices.one::<UsbHost>().is_none());
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (text, words) in [
        ("[[usb_device]]\n", "names no device"),
        ("[[usb_device]]\noptional = true\n", "names no device"),
        ("[[usb_device]]\nid = \"046d\"\n", "such as \"046d:c52b\""),
        ("[[usb_device]]\nport = \"usb1\"\n", "such as \"1-4.2\""),
        ("[[usb_device]]\nserial = \"\"\n", "empty serial number"),
        (
            "[[usb_device]]\nid = \"046d:c52b\"\n[[usb_device]]\nid = \"046D:C52B\"\n",
            "another section (line 5) names the same device",
        ),
        ("[usb]\nenabled = false\n[[usb_device]]\nport = \"1-1\"\n", "need a USB controller"),
    ] {
        let error = planned(text).unwrap_err();
        assert!(error.contains(words), "{error}");
    }
}

fn usb(devices: &[HostUsbDevice], keyboards: &[Option<&str>]) -> Option<HostUsb> {
    let keyboards = keyboards.iter().map(|port| port.map(|port| port.parse().unwrap())).collect();
    Some(HostUsb { devices: devices.to_vec(), keyboards })
}

#[test]
fn the_plan_says_what_each_section_means_and_who_has_it() {
    let text = "[[usb_device]]\nid = \"046d:c52b\"\n[[usb_device]]\nport = \"1-9\"\noptional = true\n\
                [[usb_device]]\nid = \"1:1\"\n[[usb_device]]\nport = \"1-6\"\n";
    let devices = [
        receiver(),
        device("1-5", "1:1", None, ""),
        device("1-6", "2:2", Some("x"), ""),
        device("1-7", "1:1", None, ""),
    ];
    let plan = planned_on(text, usb(&devices, &[])).unwrap();
    let shown = report(&plan, &[]);
    assert!(
        shown.text().contains(
            "\nUSB devices of the host\n  \
             usb_device[0]  046d:c52b: 046d:c52b at port 1-4 (Thing); the host's usbhid loses it\n  \
             usb_device[1]  at port 1-9: not plugged in; the guest has it when it comes\n  \
             usb_device[2]  0001:0001: one of several, at ports 1-5, 1-7\n  \
             usb_device[3]  at port 1-6: 0002:0002 at port 1-6 (Thing); no driver of the host has it\n"
        ),
        "{}",
        shown.text()
    );
    let json: serde_json::Value = serde_json::from_str(&shown.json().unwrap()).unwrap();
    assert_eq!(json["usb"][0]["found"][0]["drivers"], serde_json::json!(["usbhid"]));
    assert_eq!(json["usb"][1]["found"], serde_json::json!([]));
    // Where nobody has looked, nothing is said of the host.
    let unasked = report(&planned(text).unwrap(), &[]);
    assert!(unasked.text().contains("usb_device[0]  046d:c52b: whichever the host has\n"));
    assert!(!report(&planned("").unwrap(), &[]).text().contains("USB devices"));
}

#[test]
fn the_only_keyboard_and_lost_voices_are_warned_of() {
    let warned = |text: &str, usb| {
        let plan = planned_on(text, usb).unwrap();
        let warnings =
            plan.warnings.iter().map(ToString::to_string).filter(|warning| warning.contains("046d:c52b"));
        warnings.collect::<Vec<_>>().join("\n")
    };
    let text = "[[usb_device]]\nid = \"046d:c52b\"\n";
    let only = warned(text, usb(&[receiver()], &[Some("1-4")]));
    assert!(
        only.contains("the host has no other keyboard") && only.contains("[[evdev]]") && only.contains("6:6"),
        "{only}"
    );
    assert_eq!(warned(text, usb(&[receiver()], &[Some("1-4"), None])), "");
    assert_eq!(warned(text, usb(&[receiver()], &[Some("1-4"), Some("1-5")])), "");
    assert_eq!(warned(text, usb(&[receiver()], &[])), "");
    let mut bluetooth = receiver();
    bluetooth.interfaces[0].class = [0xe0, 1, 1];
    bluetooth.interfaces[0].isochronous = true;
    let voice = warned(text, usb(&[bluetooth], &[]));
    assert!(voice.contains("no voice") && voice.contains("isochronous"), "{voice}");
}
