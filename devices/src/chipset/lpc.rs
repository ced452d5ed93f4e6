//! stub
/// stub
pub fn gsi_of(_d: u8, _p: u8) -> u8 {
    16
}
