//! x
use super::samples;
use crate::*;
#[test]
fn dump() {
    for (which, platform) in samples::all() {
        let dir = format!("/tmp/acpidump/{}", which.replace(' ', "_"));
        std::fs::create_dir_all(&dir).unwrap();
        for t in build(&platform).unwrap().individual() {
            std::fs::write(format!("{dir}/{}.dat", String::from_utf8_lossy(&t.signature)), t.bytes).unwrap();
        }
    }
}
