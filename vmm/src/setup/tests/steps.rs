//! Setups, undos and what is in their way.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::fixture::{FakeHands, Fixture, SOON};
use crate::cli::{BindWhen, HostSetupArgs};
use crate::setup::apply::Done;
use crate::setup::plan::{DRACUT, GRUB_FOLDER, LIMITS, MODPROBE, UDEV};
use crate::setup::undo::undo;
use crate::setup::{SetupError, holding, plan_of, report};

const RECORD: &str = "var/lib/optimus-vmm-host/record.json";

fn status(fixture: &Fixture) -> (u8, String) {
    let status = holding::read(&fixture.root()).unwrap();
    (status.exit(), status.text())
}

#[test]
fn a_second_setup_changes_nothing() {
    let fixture = Fixture::new("debian");
    assert_eq!(
        fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap(),
        Done::Changed { files: 6, commands: 2 }
    );
    let (tree, hands) = (fixture.tree(), FakeHands::default());
    assert_eq!(fixture.set_up(&hands, &fixture.plan()).unwrap(), Done::Nothing);
    assert!(hands.ran.borrow().is_empty());
    assert_eq!(fixture.tree(), tree);
    assert_eq!(status(&fixture).0, 0);
}

/// After the reboot nothing shows any more why it was set up so: the IOMMU is on, and vfio-pci has the GPU.
#[test]
fn after_the_reboot_everything_is_set_up_already() {
    let fixture = Fixture::new("debian");
    fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
    fixture.file("sys/kernel/iommu_groups/0/name", "");
    fixture.file("proc/cmdline", "root=/dev/sda1 quiet intel_iommu=on\n");
    for address in ["0000:01:00.0", "0000:01:00.1"] {
        fixture.link(&format!("sys/bus/pci/devices/{address}/driver"), "/sys/bus/pci/drivers/vfio-pci");
    }
    // A screen at the GPU would have kept it from being bound at first.
    fixture.file("sys/bus/pci/devices/0000:01:00.0/boot_vga", "1\n");
    assert_eq!(fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap(), Done::Nothing);
    let (exit, text) = status(&fixture);
    assert_eq!(exit, 0);
    assert!(text.contains("intel_iommu=on on the kernel's command line: in effect"), "{text}");
    assert!(text.contains("0000:01:00.0: at boot or by hand"), "{text}");
}

#[test]
fn what_was_there_before_comes_back() {
    let fixture = Fixture::new("debian");
    // No text, and permissions of its own.
    let path = fixture.root().path(LIMITS);
    fs::write(&path, b"former \xff\xfe").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fixture.tree();
    let shown = report::plan(&fixture.root(), &fixture.plan());
    assert!(shown.contains("is replaced; its former contents are kept"), "{shown}");
    fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
    assert_ne!(fixture.tree(), before);
    let hands = FakeHands::default();
    let undone = fixture.undo(&hands).unwrap();
    // The image is the only thing that the commands of this fixture make of it.
    let now = fixture.tree();
    for (path, found) in before.iter().filter(|(path, _)| *path != "boot/image") {
        assert_eq!(now.get(path), Some(found), "{path}");
    }
    assert_eq!(undone.restored, [LIMITS]);
    assert_eq!(undone.removed.len(), 5);
    assert_eq!(undone.commands, ["update-initramfs -u -k all", "update-grub"]);
    let text = report::undone(&undone);
    assert!(
        text.contains(&format!("as before: /{LIMITS}\n"))
            && text.contains(&format!("removed: /{MODPROBE}\n")),
        "{text}"
    );
}

#[test]
fn without_a_setup_there_is_nothing_to_undo() {
    let fixture = Fixture::new("debian");
    let before = fixture.tree();
    let undone = fixture.undo(&FakeHands::default()).unwrap();
    assert!(report::undone(&undone).contains("nothing was set up"));
    assert_eq!(fixture.tree(), before);
    assert_eq!(status(&fixture).0, 0);
}

#[test]
fn files_that_somebody_changed_are_not_touched() {
    for change in ["text", "mode"] {
        let fixture = Fixture::new("debian");
        let before = fixture.tree();
        fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
        match change {
            "text" => fixture.file(MODPROBE, "options vfio-pci ids=1234:5678\n"),
            _ => {
                fs::set_permissions(fixture.root().path(MODPROBE), fs::Permissions::from_mode(0o600)).unwrap()
            }
        }
        let changed = fixture.tree();
        let error = fixture.undo(&FakeHands::default()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(MODPROBE) && text.contains("--keep-changed"), "{text}");
        assert_eq!(error.status(), 3);
        let error = fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap_err();
        assert!(error.to_string().contains("--keep-changed"), "{error}");
        assert_eq!(fixture.tree(), changed, "{change}");
        let (exit, text) = status(&fixture);
        assert!(exit == 1 && text.contains(&format!("/{MODPROBE}: CHANGED")), "{text}");

        // The way out: it stays, and all else goes.
        let undone = undo(&fixture.root(), &FakeHands::default(), true, SOON, &mut |_| {}).unwrap();
        assert_eq!(undone.kept, [MODPROBE]);
        let text = report::undone(&undone);
        assert!(text.contains("the rest of what") && !text.contains("everything"), "{text}");
        let mut now = fixture.tree();
        assert!(now.remove(MODPROBE).is_some());
        now.remove("boot/image");
        let mut wanted = before;
        wanted.remove("boot/image");
        assert_eq!(now, wanted);
    }
}

/// The other way out.
#[test]
fn a_file_that_is_removed_by_hand_is_taken_back_already() {
    let fixture = Fixture::new("debian");
    let before = fixture.tree();
    fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
    fs::remove_file(fixture.root().path(UDEV)).unwrap();
    let (exit, text) = status(&fixture);
    assert!(exit == 1 && text.contains(&format!("/{UDEV}: GONE")), "{text}");
    fixture.undo(&FakeHands::default()).unwrap();
    assert_eq!(fixture.tree(), before);
}

#[test]
fn what_is_no_longer_wanted_is_taken_back() {
    let fixture = Fixture::new("fedora");
    let before = fixture.tree();
    fixture.set_up(&FakeHands::default(), &fixture.plan_for(BindWhen::Boot)).unwrap();
    assert!(fixture.root().has(MODPROBE) && fixture.root().has(DRACUT));
    let (plan, second) = (fixture.plan_for(BindWhen::Run), FakeHands::default());
    assert_eq!(plan.taken_back, [MODPROBE, DRACUT]);
    let shown = report::plan(&fixture.root(), &plan);
    assert!(shown.contains(&format!("/{MODPROBE} is taken back")), "{shown}");
    assert!(shown.contains("run, to take back: dracut --force --regenerate-all"), "{shown}");
    fixture.set_up(&second, &plan).unwrap();
    assert!(!fixture.root().has(MODPROBE) && !fixture.root().has(DRACUT));
    // The image that the host boots has vfio-pci no more.
    assert_eq!(*second.ran.borrow(), ["dracut --force --regenerate-all"]);
    assert_eq!(
        fixture.set_up(&FakeHands::default(), &fixture.plan_for(BindWhen::Run)).unwrap(),
        Done::Nothing
    );
    let hands = FakeHands::default();
    fixture.undo(&hands).unwrap();
    // The image was made with vfio-pci, and is made anew.
    assert_eq!(
        *hands.ran.borrow(),
        ["grubby --update-kernel=ALL --remove-args=intel_iommu=on", "dracut --force --regenerate-all"]
    );
    assert_eq!(fixture.tree(), before);
}

/// Words that a tool of the distribution has set are taken back by it, and set again, also when that was cut short.
#[test]
fn words_that_are_no_longer_wanted_are_taken_back() {
    const SET: &str = "grubby --update-kernel=ALL --args=intel_iommu=on";
    const TAKEN: &str = "grubby --update-kernel=ALL --remove-args=intel_iommu=on";
    let ran = |fixture: &Fixture, plan: &_| {
        let hands = FakeHands::default();
        fixture.set_up(&hands, plan).unwrap();
        hands.ran.into_inner()
    };
    for after in 0..10 {
        let fixture = Fixture::new("fedora");
        let before = fixture.tree();
        let with = fixture.plan();
        let mut without = with.clone();
        without.commands.retain(|command| command.run.join(" ") != SET);
        without.parameters.clear();
        assert!(ran(&fixture, &with).iter().any(|command| command == SET));
        assert_eq!(ran(&fixture, &without), [TAKEN]);
        assert!(ran(&fixture, &without).is_empty());
        assert_eq!(ran(&fixture, &with), [SET]);
        let failing = FakeHands { fails: Some("--remove-args"), ..FakeHands::default() };
        fixture.set_up(&failing, &without).unwrap_err();
        fixture.set_up(&FakeHands::dying(after, false), &with).unwrap_err();
        let hands = FakeHands::default();
        fixture.undo(&hands).unwrap();
        assert!(hands.ran.borrow().iter().any(|command| command == TAKEN), "killed after {after} operations");
        assert_eq!(fixture.tree(), before);
    }
}

#[test]
fn a_command_that_fails_is_told_and_tried_again() {
    let fixture = Fixture::new("debian");
    let before = fixture.tree();
    let failing = || FakeHands { fails: Some("update-initramfs"), ..FakeHands::default() };
    let error = fixture.set_up(&failing(), &fixture.plan()).unwrap_err();
    let text = error.to_string();
    for part in
        ["`update-initramfs -u -k all` failed: exit status: 1", "no space", "host setup` again", "host undo"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let (exit, text) = status(&fixture);
    assert!(exit == 1 && text.contains("a setup was cut short") && text.contains("NOT done"), "{text}");
    let hands = FakeHands::default();
    assert_eq!(fixture.set_up(&hands, &fixture.plan()).unwrap(), Done::Changed { files: 0, commands: 2 });
    let error = fixture.undo(&failing()).unwrap_err().to_string();
    assert!(error.contains("host undo` again"), "{error}");
    assert!(matches!(fixture.set_up(&FakeHands::default(), &fixture.plan()), Err(SetupError::HalfUndone)));
    assert!(status(&fixture).1.contains("an undo was cut short"));
    fixture.undo(&FakeHands::default()).unwrap();
    assert_eq!(fixture.tree(), before);
}

#[test]
fn a_program_that_is_gone_does_not_keep_an_undo() {
    let fixture = Fixture::new("debian-dracut");
    fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
    // A kernel that was removed needs no image.
    fs::remove_dir(fixture.root().path("lib/modules/6.1.0-40-amd64")).unwrap();
    let hands = FakeHands::default();
    fixture.undo(&hands).unwrap();
    assert_eq!(*hands.ran.borrow(), ["dracut --force /boot/initrd.img-6.1.0-41-amd64 6.1.0-41-amd64"]);

    let fixture = Fixture::new("debian");
    fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
    fs::remove_file(fixture.root().path("usr/sbin/update-grub")).unwrap();
    let undone = fixture.undo(&FakeHands::default()).unwrap();
    assert_eq!(undone.lost, ["update-grub"]);
    assert!(report::undone(&undone).contains("yours to mend"));
    assert!(!fixture.root().has(GRUB_FOLDER));
}

#[test]
fn links_are_not_followed() {
    let fixture = Fixture::new("debian");
    fixture.file("elsewhere", "mine\n");
    fixture.link(LIMITS, "/elsewhere");
    let error = fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap_err().to_string();
    assert!(error.contains("symbolic link"), "{error}");
    fs::remove_file(fixture.root().path(LIMITS)).unwrap();
    // One that would lead out of the root.
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir_all(fixture.root().path("etc/security")).unwrap();
    fixture.link("etc/security", outside.path().to_str().unwrap());
    let before = fixture.tree();
    let error = fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap_err().to_string();
    assert!(error.contains("lead out of"), "{error}");
    assert!(fs::read_dir(outside.path()).unwrap().next().is_none());
    assert_eq!(fixture.tree(), before);
}

#[test]
fn groups_must_exist_and_have_names() {
    let fixture = Fixture::new("debian");
    let with = |group: &str, dry_run| {
        plan_of(&fixture.root(), &HostSetupArgs { group: group.into(), dry_run, ..fixture.args() })
    };
    for name in ["", "-x", "a b", "x\"", "x\n"] {
        assert!(matches!(with(name, true), Err(SetupError::GroupName(_))), "{name:?}");
    }
    let error = with("vm", false).unwrap_err().to_string();
    assert!(error.contains("`sudo groupadd --system vm`"), "{error}");
    assert!(with("vm", true).unwrap().notes.iter().any(|note| note.contains("groupadd")));
}

#[test]
fn records_that_are_none_are_told() {
    let fixture = Fixture::new("debian");
    for (text, why) in
        [("{", "EOF"), ("{\"format\": 9}", "a newer optimus-vmm"), ("{\"format\": 1}", "missing field")]
    {
        fixture.file(RECORD, text);
        for error in [
            fixture.undo(&FakeHands::default()).unwrap_err(),
            plan_of(&fixture.root(), &fixture.args()).unwrap_err(),
            holding::read(&fixture.root()).map(|_| ()).unwrap_err(),
        ] {
            assert!(error.to_string().contains(why), "{error}");
        }
        assert_eq!(fixture.text(RECORD), text);
    }
    // A path in it must not lead out of the root.
    fixture.undo(&FakeHands::default()).unwrap_err();
    fs::remove_file(fixture.root().path(RECORD)).unwrap();
    fixture.set_up(&FakeHands::default(), &fixture.plan()).unwrap();
    let text = fixture.text(RECORD).replace(LIMITS, "../outside");
    fixture.file(RECORD, &text);
    let error = fixture.undo(&FakeHands::default()).unwrap_err().to_string();
    assert!(error.contains("no path below the root"), "{error}");
}

/// Its record is root's, and what is lent is for all to see.
#[test]
fn without_root_the_status_tells_what_is_lent() {
    let fixture = Fixture::new("debian");
    fixture.link("sys/bus/pci/devices/0000:01:00.0/driver", "/sys/bus/pci/drivers/vfio-pci");
    let status = holding::with(&fixture.root(), Err(SetupError::Private)).unwrap();
    let (text, json) = (status.text(), status.json());
    assert_eq!(status.exit(), 3);
    assert!(text.contains("`sudo optimus-vmm host status`") && text.contains("0000:01:00.0"), "{text}");
    assert!(json.contains("\"setup\": \"unknown\"") && json.contains("setup_unknown"), "{json}");
}
