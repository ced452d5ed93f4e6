//! The power management block: ports that lie where firmware puts them (PMBASE; ICH9 datasheet, 13.8.3).

/// The first port under OVMF (edk2 OvmfPkg/Include/IndustryStandard/Q35MchIch9.h).
pub const OVMF_BASE: u16 = 0x600;
/// Ports of the block, TCO registers included.
pub const COUNT: u8 = 0x80;

/// Offset of PM1_STS and PM1_EN, two bytes each.
pub const PM1_EVENT: u8 = 0x00;
/// Offset of PM1_CNT, two bytes and two reserved ones.
pub const PM1_CONTROL: u8 = 0x04;
/// Offset of PM1_TMR, four bytes.
pub const PM_TIMER: u8 = 0x08;
/// Offset of GPE0_STS and GPE0_EN, eight bytes each.
pub const GPE0: u8 = 0x20;

/// SLP_TYP of PM1_CNT that `_S5` names: soft off.
pub const SLP_TYP_S5: u8 = 0;
