//! What suits a host: how much of its memory and of its cores a guest gets, and what is likely to run in it. Pure functions.

use std::path::Path;

use vocabulary::ByteSize;

use crate::cli::GuestOs;

/// The most memory that is given unasked, in MiB: games and programs hardly use more, and all of it is taken from the host.
const MOST_MEMORY: u64 = 16 << 10;
/// What a host of unknown size lends, in MiB.
const USUAL_MEMORY: u64 = 4 << 10;
/// The most cores that are given unasked.
const MOST_CORES: u32 = 8;
/// What a host of unknown processors lends.
const USUAL_CORES: u32 = 2;

/// About half of the host's memory, `total` in bytes: whole GiB where there is enough of it. A kernel
/// shows less than there is built in, by what the processor's GPU and firmware have, so that it is rather rounded up.
pub(super) fn memory(total: Option<u64>) -> ByteSize {
    let Some(total) = total else { return ByteSize::from_mib(USUAL_MEMORY) };
    let half = (total >> 20) / 2;
    let mib = match half {
        0..3584 => half / 256 * 256,
        _ => (half + 768) / 1024 * 1024,
    };
    ByteSize::from_mib(mib.clamp(256, MOST_MEMORY))
}

/// Cores of the guest, of one thread each, for a host with so many `fast` and `slow` ones. One or two fast cores stay with the host,
/// unless it has no more than two.
pub(super) fn cores(host: Option<(u32, u32)>) -> u32 {
    let Some((fast, slow)) = host else { return USUAL_CORES };
    let kept = match fast {
        0..=2 => 0,
        3..=5 => 1,
        _ if slow > 0 => 1,
        _ => 2,
    };
    // A processor may have nothing but cores of the slow kind.
    let fast = if fast == 0 { slow / 2 } else { fast - kept };
    fast.clamp(1, MOST_CORES)
}

/// Words in names of Linux discs.
const LINUX: [&str; 13] = [
    "linux", "debian", "ubuntu", "fedora", "suse", "mint", "nixos", "manjaro", "gentoo", "alpine", "kali",
    "centos", "rocky",
];

/// What is likely to run in the guest: what its installation disc is called, or else Windows with an NVIDIA GPU, for which most take
/// that trouble.
pub(super) fn os(iso: Option<&Path>, nvidia: bool) -> GuestOs {
    let name = iso.and_then(Path::file_name).map(|name| name.to_string_lossy().to_ascii_lowercase());
    let name = name.unwrap_or_default();
    if name.starts_with("win") || name.contains("windows") {
        GuestOs::Windows
    } else if LINUX.iter().any(|word| name.contains(word)) {
        GuestOs::Linux
    } else if iso.is_none() && nvidia {
        GuestOs::Windows
    } else {
        GuestOs::Other
    }
}

/// Size of a new disk. Windows 11 asks for 64 GiB.
pub(super) fn disk_size(os: GuestOs) -> ByteSize {
    ByteSize::from_mib(match os {
        GuestOs::Windows => 80 << 10,
        GuestOs::Linux | GuestOs::Other => 32 << 10,
    })
}

/// The type of virtual GPU to make, of those that GVT-g offers: of `i915-GVTg_V5_4` four share the GPU, which leaves the host enough of
/// it and has 1920x1200 pixels; else the largest.
pub(super) fn virtual_gpu(types: &[String]) -> Option<&str> {
    let plain =
        |kind: &&String| kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let share = |kind: &&String| kind.rsplit('_').next().and_then(|number| number.parse::<u32>().ok());
    let known = || types.iter().filter(plain).filter(|kind| share(kind).is_some());
    let fourth = known().find(|kind| share(kind) == Some(4));
    fourth.or_else(|| known().min_by_key(share)).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn about_half_of_the_memory() {
        for (mib, lent) in [
            (400, "256M"),
            (1024, "512M"),
            (2900, "1280M"),
            (3900, "1792M"),
            (7168, "4G"),
            (7782, "4G"),
            (15769, "8G"),
            (23800, "12G"),
            (31738, "16G"),
            (64000, "16G"),
        ] {
            assert_eq!(memory(Some(mib << 20)).to_string(), lent, "{mib} MiB");
        }
        assert_eq!(memory(None).to_string(), "4G");
    }

    #[test]
    fn most_of_the_cores() {
        for (host, lent) in [
            (Some((1, 0)), 1),
            (Some((2, 0)), 2),
            (Some((4, 0)), 3),
            (Some((6, 0)), 4),
            (Some((8, 0)), 6),
            (Some((16, 0)), 8),
            (Some((2, 8)), 2),
            (Some((6, 8)), 5),
            (Some((8, 16)), 7),
            (Some((0, 4)), 2),
            (None, 2),
        ] {
            assert_eq!(cores(host), lent, "{host:?}");
        }
    }

    proptest! {
        /// The host keeps two fifths of its memory, or all but the least that a machine can have; and a core, if it has three.
        #[test]
        fn the_host_keeps_enough(mib in 1_u64..1 << 24, fast in 0_u32..300, slow in 0_u32..300) {
            let lent = memory(Some(mib << 20));
            prop_assert!(lent.bytes() >> 20 == 256 || (mib - (lent.bytes() >> 20)) * 5 >= mib * 2);
            prop_assert!(lent.is_multiple_of(ByteSize::from_mib(256)));
            let lent = cores(Some((fast, slow)));
            prop_assert!((1..=8).contains(&lent) && lent <= (fast + slow).max(1));
            prop_assert!(fast < 3 || lent < fast);
        }
    }

    #[test]
    fn systems_by_their_discs() {
        for (iso, nvidia, expected) in [
            (Some("/iso/Win11_24H2_English_x64.iso"), false, GuestOs::Windows),
            (Some("en-us_windows_10.iso"), false, GuestOs::Windows),
            (Some("ubuntu-24.04-desktop-amd64.iso"), true, GuestOs::Linux),
            (Some("archlinux-x86_64.iso"), false, GuestOs::Linux),
            (Some("/windows/FreeBSD-14.iso"), true, GuestOs::Other),
            (None, true, GuestOs::Windows),
            (None, false, GuestOs::Other),
        ] {
            assert_eq!(os(iso.map(Path::new), nvidia), expected, "{iso:?}");
        }
    }

    #[test]
    fn a_quarter_of_the_gpu() {
        let types = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        for (offered, expected) in [
            (
                &["i915-GVTg_V5_1", "i915-GVTg_V5_2", "i915-GVTg_V5_4", "i915-GVTg_V5_8"][..],
                Some("i915-GVTg_V5_4"),
            ),
            (&["i915-GVTg_V4_8", "i915-GVTg_V4_2"], Some("i915-GVTg_V4_2")),
            (&["x_4\n[kernel]", "other"], None),
            (&[], None),
        ] {
            assert_eq!(virtual_gpu(&types(offered)), expected);
        }
    }
}
