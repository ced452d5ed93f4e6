//! `vbios find`: the search for video ROMs in archives, BIOS updates and flash dumps.
#![no_main]

use std::time::Duration;

use firmware::option_rom::check;
use firmware::unpack::{Limits, Opened, Surroundings, Tool, survey};
use libfuzzer_sys::fuzz_target;

/// A machine without the programs that some containers need.
struct Bare;

impl Surroundings for Bare {
    fn looking_at(&mut self, _: &str, _: usize) {}

    fn open_with(&mut self, _: Tool, _: &[u8], _: usize) -> Result<Opened, String> {
        Err("there is no such program".into())
    }
}

fuzz_target!(|data: &[u8]| {
    // Less than what users get, so that what grows beyond them is noticed soon.
    let limits =
        Limits { depth: 8, unpacked: 64 << 20, memory: 16 << 20, things: 2000, time: Duration::from_secs(5) };
    let survey = survey(data, "input", &limits, &mut Bare);
    for found in &survey.roms {
        assert!(check(&found.image, None).is_ok(), "{} is said to be intact", found.place);
    }
});
