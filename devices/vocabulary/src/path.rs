//! Paths of the host, as users write them.

use crate::scalar::Complaint;

/// What is wrong with a path of the host.
pub fn check_path(text: &str) -> Result<(), Complaint> {
    if text.is_empty() {
        return Err("the path is empty".into());
    }
    if text.contains('\0') {
        return Err("the path contains a NUL byte".into());
    }
    if text == "~" || text.starts_with("~/") {
        return Err(
            "`~` is the shell's and is not expanded here: write the whole path or a relative one".into()
        );
    }
    Ok(())
}
