//! Journals on disk that are not as they should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::fake::{Fake, gpu_and_audio, revive};
use crate::host::binding::recover::Recovery;

fn journal(fake: &Fake, name: &str, text: &[u8]) {
    fs::create_dir_all(fake.journals()).unwrap();
    fs::write(fake.journals().join(name), text).unwrap();
}

#[test]
fn corrupt_ones_are_told_and_kept_aside() {
    for text in [
        "",
        "{",
        "{\"format\": 1}",
        "{\"format\": 0}",
        "\u{fffd}",
        // A driver's name that would lead elsewhere.
        r#"{"format":1,"machine":"vm","pid":1,"boot":"b007","claims":[],"steps":[{"driver":
           {"address":"0000:01:00.0","former":"../../../etc","former_override":null}}]}"#,
    ] {
        let fake = Fake::new();
        let before = fake.observe();
        journal(&fake, "vm-1.json", text.as_bytes());
        let recovered = fake.manager().recover(&|| false);
        assert!(
            matches!(&recovered[..], [Recovery::Unusable { path, .. }]
            if path.ends_with("vm-1.json.corrupt")),
            "{text}: {recovered:?}"
        );
        assert_eq!(fs::read(fake.journals().join("vm-1.json.corrupt")).unwrap(), text.as_bytes());
        // It is told once, and in nobody's way.
        assert!(fake.manager().recover(&|| false).is_empty());
        fake.manager().bind("vm", &gpu_and_audio()).unwrap().give_back().unwrap();
        assert_eq!(fake.observe(), before);
    }
}

#[test]
fn those_of_newer_versions_are_left_alone() {
    let fake = Fake::new();
    journal(&fake, "vm-1.json", br#"{"format": 7, "anything": []}"#);
    let recovered = fake.manager().recover(&|| false);
    assert!(recovered[0].to_string().contains("a newer optimus-vmm wrote it (format 7)"));
    assert_eq!(fake.journal_names(), ["vm-1.json"]);
}

#[test]
fn replacements_that_were_cut_short_are_removed() {
    let fake = Fake::new();
    journal(&fake, "vm-1.json.tmp", b"{");
    assert!(fake.manager().recover(&|| false).is_empty());
    assert!(fake.journal_names().is_empty());
}

#[test]
fn names_stay_in_the_directory_which_is_ours_alone() {
    let fake = Fake::new();
    let bound = fake.manager().bind("../../ä b", &gpu_and_audio()).unwrap();
    assert_eq!(fake.journal_names(), [format!(".._..___b-{}.json", std::process::id())]);
    assert_eq!(fs::metadata(fake.journals()).unwrap().permissions().mode() & 0o777, 0o700);
    bound.give_back().unwrap();
}

#[test]
fn no_journal_no_change() {
    let fake = Fake::new();
    fs::write(fake.journals(), "in the way").unwrap();
    let error = fake.manager().bind("vm", &gpu_and_audio()).unwrap_err();
    assert!(error.to_string().contains("which records the changes to the host"), "{error}");
    assert!(fake.log().is_empty());
}

/// A sound journal.
fn sound() -> &'static [u8] {
    static SOUND: OnceLock<Vec<u8>> = OnceLock::new();
    SOUND.get_or_init(|| {
        let fake = Fake::new();
        let bound = fake.manager().bind("vm", &gpu_and_audio()).unwrap();
        let text = fs::read(fake.journals().join(fake.journal_names().remove(0))).unwrap();
        bound.give_back().unwrap();
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A journal that somebody has cut or changed neither stops a start nor brings it down.
    #[test]
    fn damaged_ones_do_no_harm(cut in any::<prop::sample::Index>(), with in any::<u8>(), truncate in any::<bool>()) {
        let fake = Fake::new();
        let mut text = sound().to_vec();
        let at = cut.index(text.len());
        if truncate { text.truncate(at) } else { text[at] = with }
        journal(&fake, "vm-1.json", &text);
        let manager = revive(fake.root().parent().unwrap());
        manager.recover(&|| false);
        let leftovers = manager.recover(&|| false);
        prop_assert!(leftovers.iter().all(|it| matches!(it, Recovery::Unusable { .. })), "{:?}", leftovers);
    }
}
