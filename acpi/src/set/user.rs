//! Tables of the user's: only what would make the firmware drop the whole set is checked here.

use crate::error::Error;
use crate::fixed::HEADER_SIZE;

/// Tables that there can be one of, or that the firmware makes.
const OURS: [[u8; 4]; 5] = [*b"DSDT", *b"FACP", *b"FACS", *b"RSDT", *b"XSDT"];

pub(super) fn check(index: usize, table: &[u8]) -> Result<(), Error> {
    let bad = |reason: String| Err(Error::UserTable { index, reason });
    let (Some(signature), Some(length)) = (table.first_chunk::<4>(), table.get(4..8)) else {
        return bad("it has no header".to_owned());
    };
    if table.len() < HEADER_SIZE {
        return bad(format!("it has {} bytes, and a header alone has {HEADER_SIZE}", table.len()));
    }
    let length = length.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    if u64::try_from(table.len()) != Ok(length) {
        return bad(format!("its header says {length} bytes, and it has {}", table.len()));
    }
    if !signature.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_') {
        return bad("its signature is not made of A-Z, 0-9 and _".to_owned());
    }
    if OURS.contains(signature) {
        let name: String = signature.iter().map(|byte| char::from(*byte)).collect();
        return bad(format!("the machine has a {name} of its own; put additional AML into an SSDT"));
    }
    Ok(())
}
