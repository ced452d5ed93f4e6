//! VNC clients: whatever they send and however they read, beside a screen that changes. The bytes are a script of
//! `vmm::testing::converse`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| vmm::testing::converse(data));
