//! What `host setup --dry-run` shows on each distribution.

use super::fixture::{DISTRIBUTIONS, FakeHands, Fixture};
use crate::setup::report;

#[test]
fn each_distribution_is_set_up_its_own_way() {
    for distribution in &DISTRIBUTIONS {
        let fixture = Fixture::new(distribution.name);
        let shown = report::plan(&fixture.root(), &fixture.plan());
        let path = format!("{}/src/setup/tests/golden/{}.txt", env!("CARGO_MANIFEST_DIR"), distribution.name);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &shown).unwrap();
        }
        let wanted = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(shown, wanted, "{path}: UPDATE_GOLDEN=1 cargo test -p vmm --lib setup writes it");
    }
}

/// What is shown is what is done: each file, with its contents and permissions, and each command in this order.
#[test]
fn what_is_shown_is_done() {
    for distribution in DISTRIBUTIONS.iter().filter(|distribution| distribution.name != "nixos") {
        let fixture = Fixture::new(distribution.name);
        let (plan, before) = (fixture.plan(), fixture.tree());
        let hands = FakeHands::default();
        fixture.set_up(&hands, &plan).unwrap();
        let after = fixture.tree();
        let made: Vec<_> = after
            .iter()
            .filter(|(path, found)| before.get(*path) != Some(found) && !found.1.is_empty())
            .map(|(path, _)| path.as_str())
            .filter(|path| !path.starts_with("var/lib/optimus-vmm-host/") && *path != "boot/image")
            .collect();
        let mut planned: Vec<_> = plan.files.iter().map(|file| file.path.as_str()).collect();
        planned.sort_unstable();
        assert_eq!(made, planned, "{}", distribution.name);
        for file in &plan.files {
            let (mode, bytes) = &after[&file.path];
            assert_eq!(
                (mode & 0o7777, bytes.as_slice()),
                (file.content.mode, file.content.bytes()),
                "{}",
                file.path
            );
        }
        let commands: Vec<_> = plan.commands.iter().map(|command| command.run.join(" ")).collect();
        assert_eq!(*hands.ran.borrow(), commands, "{}", distribution.name);
    }
}

/// On NixOS nothing is written, by anyone.
#[test]
fn nixos_has_nothing_to_write() {
    let plan = Fixture::new("nixos").plan();
    assert!(plan.files.is_empty() && plan.commands.is_empty(), "{plan:?}");
    let lines = plan.nixos.unwrap();
    for line in
        ["vfio-pci.ids=10de:1c8d,10de:0fb9", "\"intel_iommu=on\"", "softdep nvidia pre: vfio-pci", "memlock"]
    {
        assert!(lines.contains(line), "{line}: {lines}");
    }
}
