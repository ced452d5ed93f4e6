//! The OpRegion, from the blob to the address that the firmware tells.

use super::install::install;
use super::samples;
use crate::*;

fn with(opregion: Vec<u8>, platform: Platform) -> Platform {
    Platform { opregion: Some(opregion.into()), ..platform }
}

#[test]
fn it_stays_in_memory_below_4_gib_and_its_address_is_told() {
    for (size, platform) in
        [(8192, samples::smallest()), (8192, samples::optimus()), (10_000, samples::laptop())]
    {
        let opregion = samples::opregion(size);
        let set = build(&with(opregion.clone(), platform.clone())).unwrap();
        let installed = install(&set).unwrap();
        assert!(installed.kept.contains(OPREGION_FILE));
        let blob = &installed.blobs[OPREGION_FILE];
        let address = u64::from_le_bytes(installed.written[OPREGION_ADDRESS_FILE][..].try_into().unwrap());
        assert!(address.is_multiple_of(4096) && address + size as u64 <= 1 << 32, "{address:#x}");
        let start = usize::try_from(address - blob.base).unwrap();
        assert_eq!(&blob.bytes[start..start + size], &opregion);
        assert!(blob.bytes.len().is_multiple_of(4096), "nothing else shares its last page");
        // Tables and the video BIOS are as without it.
        let without = build(&platform).unwrap();
        assert_eq!((&set.tables, &set.vrom, &set.rsdp), (&without.tables, &without.vrom, &without.rsdp));
    }
}

#[test]
fn sizes_hold_for_a_set_that_is_built_again() {
    let platform = with(samples::opregion(8192), samples::smallest());
    let announced = build(&platform).unwrap().sizes();
    assert_eq!(announced.opregion, 12288);
    let ecam = Some(Ecam { base: 0xB000_0000, buses: 256 });
    let set = build(&Platform { ecam, ..platform }).unwrap().fit(announced).unwrap();
    assert_eq!(set.sizes(), announced);
    assert!(set.fit(Sizes { opregion: 0, ..announced }).is_err());
    assert_eq!(build(&samples::optimus()).unwrap().sizes().opregion, 0);
}

#[test]
fn impossible_sizes_are_refused() {
    for size in [0, MAX_OPREGION + 1] {
        let error = build(&with(samples::opregion(size), samples::smallest())).unwrap_err();
        assert_eq!(error, Error::OpRegionSize(size));
    }
}
