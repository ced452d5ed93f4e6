//! What is taken over from the host's own SMBIOS.

use std::io::ErrorKind;
use std::path::Path;

use super::super::report::report;
use crate::config;
use crate::finding::{Finding, Findings};
use crate::host::{HostFacts, HostIdentity};
use crate::plan::{MachinePlan, plan};

const FIRMWARE: &str = "[firmware]\ncode = \"c.fd\"\nvars = \"v.fd\"\nvars_template = \"t.fd\"\n";
const MODEL: &str = "[smbios]\nmirror_host = true\n";
const SERIALS: &str = "[smbios]\nmirror_serials = true\n";

/// A laptop of public dumps, its serial numbers made up.
const LAPTOP: [(&str, &str); 20] = [
    ("bios_date", "05/18/2017"),
    ("bios_vendor", "LENOVO"),
    ("bios_version", "4KCN28WW"),
    ("board_asset_tag", "NO Asset Tag"),
    ("board_name", "LNVNB161216"),
    ("board_serial", "PF0ABCDE"),
    ("board_vendor", "LENOVO"),
    ("board_version", "SDK0L77769 WIN"),
    ("chassis_asset_tag", "NO Asset Tag"),
    ("chassis_serial", "PF0ABCDF"),
    ("chassis_type", "10"),
    ("chassis_vendor", "LENOVO"),
    ("chassis_version", "RESCUER R720-15IKBN"),
    ("product_family", "IDEAPAD"),
    ("product_name", "80WW"),
    ("product_serial", "PF0ABCDG"),
    ("product_sku", "LENOVO_MT_80WW_BU_idea_FM_RESCUER R720-15IKBN"),
    ("product_uuid", "4c4c4544-0042-4410-8056-b4c04f565331"),
    ("product_version", "RESCUER R720-15IKBN"),
    ("sys_vendor", "LENOVO"),
];

fn is_serial(file: &str) -> bool {
    file.ends_with("_serial") || file.ends_with("_uuid")
}

/// The host as root sees it, as far as it is looked at.
fn host(files: &[(&'static str, &str)], (model, serials): (bool, bool)) -> HostIdentity {
    let files = files.iter().filter(|(file, _)| if is_serial(file) { serials } else { model });
    HostIdentity { values: files.map(|(file, value)| (*file, Ok((*value).to_owned()))).collect() }
}

fn planned(text: &str, identity: Option<HostIdentity>) -> Result<MachinePlan, Findings> {
    let config = config::parse(text, Path::new("/vm/test.toml")).unwrap();
    plan(config, &HostFacts { identity, ..HostFacts::default() })
}

fn on_laptop(text: &str) -> MachinePlan {
    let wanted = (text.contains("mirror_host"), text.contains("mirror_serials"));
    planned(text, Some(host(&LAPTOP, wanted))).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The values by key, and whether they are the plan's.
fn keys(plan: &MachinePlan) -> Vec<&'static str> {
    let written = toml::Value::try_from(&plan.smbios).unwrap();
    for mirrored in plan.mirrored.iter().filter(|mirrored| mirrored.key != "uuid") {
        let value = match mirrored.key {
            "chassis_type" => "notebook",
            _ => &mirrored.value,
        };
        assert_eq!(written.get(mirrored.key).and_then(toml::Value::as_str), Some(value), "{}", mirrored.key);
    }
    plan.mirrored.iter().map(|mirrored| mirrored.key).collect()
}

#[test]
fn the_model_is_taken_over_and_shown() {
    let plan = on_laptop(&format!("{MODEL}{FIRMWARE}"));
    assert_eq!(keys(&plan).len(), 16, "{:?}", plan.mirrored);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert!(plan.smbios.chassis_type.is_portable() && plan.smbios.describes_bios());
    assert_eq!((plan.smbios.serial.as_str(), plan.smbios.board_serial.as_str()), ("", ""));
    let report = report(&plan, &[]);
    let text = report.text();
    assert!(
        text.contains("\nSMBIOS, as the host's\n  manufacturer = \"LENOVO\"\n  product = \"80WW\"\n"),
        "{text}"
    );
    assert!(report.json().unwrap().contains("\"key\": \"chassis_type\""));
}

#[test]
fn serial_numbers_are_taken_over_on_request() {
    let plan = on_laptop(&format!("{SERIALS}{FIRMWARE}"));
    assert_eq!(keys(&plan), ["serial", "chassis_serial", "board_serial", "uuid"]);
    assert_eq!(plan.uuid.to_string(), "4c4c4544-0042-4410-8056-b4c04f565331");
    assert_eq!(plan.smbios.manufacturer, "optimus-vmm");
    let both = on_laptop(&format!("{SERIALS}mirror_host = true\n{FIRMWARE}"));
    assert_eq!(keys(&both).len(), 20);
}

#[test]
fn what_is_written_wins() {
    let uuid = "uuid = \"00112233-4455-6677-8899-aabbccddeeff\"\n";
    let written =
        "mirror_host = true\nproduct = \"P\"\nversion = \"\"\nchassis_type = \"tablet\"\nserial = \"S\"\n";
    let plan = on_laptop(&format!("{uuid}{SERIALS}{written}{FIRMWARE}"));
    let keys = keys(&plan);
    for key in ["product", "version", "chassis_type", "serial", "uuid"] {
        assert!(!keys.contains(&key), "{key}");
    }
    assert_eq!(keys.len(), 15);
    assert_eq!(plan.uuid.to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    let smbios = &plan.smbios;
    assert_eq!((smbios.product.as_str(), smbios.version.as_str()), ("P", ""));
    assert_eq!((smbios.chassis_type.name(), smbios.serial.as_str()), ("tablet", "S"));
    // A GPU makes a notebook of the machine, but the host is what it is.
    let desktop = host(&[("chassis_type", "3")], (true, false));
    let gpu = format!("{MODEL}{FIRMWARE}[dgpu]\nhost = \"01:00.0\"\n");
    assert_eq!(planned(&gpu, Some(desktop)).unwrap().smbios.chassis_type.name(), "desktop");
}

#[test]
fn nothing_is_taken_over_unasked() {
    for (text, identity) in
        [(FIRMWARE.to_owned(), None), (format!("{MODEL}mirror_serials = true\n{FIRMWARE}"), None)]
    {
        let plan = planned(&text, identity).unwrap();
        assert!(plan.mirrored.is_empty() && plan.smbios.product == "Q35");
        assert!(!report(&plan, &[]).text().contains("as the host's"));
    }
}

#[test]
fn a_host_without_identity_is_told_with_the_line() {
    for (section, key) in [(MODEL, "mirror_host"), (SERIALS, "mirror_serials")] {
        let problems = planned(&format!("{section}{FIRMWARE}"), Some(HostIdentity::default())).unwrap_err();
        let text = problems.to_string();
        for part in ["nothing in /sys/class/dmi/id", "/vm/test.toml:2:", &format!("leave `{key}` out")] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(problems.are_about_host());
    }
}

#[test]
fn serial_numbers_need_root_unless_they_are_written() {
    let user = |text: &str| {
        let mut identity = host(&LAPTOP, (true, true));
        let serials = identity.values.iter_mut().filter(|(file, _)| is_serial(file));
        serials.for_each(|(_, value)| *value = Err(ErrorKind::PermissionDenied));
        planned(text, Some(identity))
    };
    let problems = user(&format!("{SERIALS}serial = \"S\"\n{FIRMWARE}")).unwrap_err();
    let text = problems.to_string();
    for part in
        ["only root", "/vm/test.toml:2:", "write `chassis_serial`, `board_serial`, `uuid` yourself", "sudo"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(problems.are_about_host());
    let all = "uuid = \"00112233-4455-6677-8899-aabbccddeeff\"\n";
    let keys = "serial = \"S\"\nchassis_serial = \"C\"\nboard_serial = \"B\"\n";
    let plan = user(&format!("{all}{SERIALS}{keys}mirror_host = true\n{FIRMWARE}")).unwrap();
    assert_eq!(plan.smbios.product, "80WW");
}

#[test]
fn the_hosts_values_are_distrusted() {
    let long = "x".repeat(256);
    for (file, value, why) in [
        ("product_name", "La\u{1b}[2Jptop", "U+001B"),
        ("sys_vendor", "Fabricant\u{e9}", "printable ASCII"),
        ("board_name", long.as_str(), "256 bytes"),
        ("bios_date", "2017-05-18", "MM/DD/YYYY"),
        ("chassis_type", "0", "no chassis type"),
        ("chassis_type", "37", "no chassis type"),
        ("chassis_type", "99999999999999999999", "no number"),
        ("product_uuid", "ffffffff-ffff-ffff-ffff-ffffffffffff", "no UUID"),
        ("product_uuid", "?", "UUID"),
    ] {
        let text = format!("{MODEL}mirror_serials = true\n{FIRMWARE}");
        let plan = planned(&text, Some(host(&[(file, value)], (true, true)))).unwrap();
        let warnings: Vec<String> = plan.warnings.iter().map(Finding::to_string).collect();
        let [warning] = &warnings[..] else { panic!("{file}: {warnings:?}") };
        assert!(warning.contains(&format!("the host's {file} is not taken over")), "{warning}");
        assert!(warning.contains(why) && warning.contains("/vm/test.toml:2:"), "{why}: {warning}");
        assert!(!warning.contains('\u{1b}'), "{warning}");
        assert!(plan.mirrored.is_empty());
        assert_eq!((plan.smbios.product.as_str(), plan.smbios.chassis_type.number()), ("Q35", 1));
    }
    let unreadable = [("product_name", Err(ErrorKind::TimedOut)), ("product_sku", Ok(String::new()))];
    let identity = HostIdentity { values: unreadable.into() };
    let plan = planned(&format!("{MODEL}{FIRMWARE}"), Some(identity)).unwrap();
    assert_eq!((plan.warnings.len(), plan.mirrored.len()), (1, 0), "an empty value is none");
}
