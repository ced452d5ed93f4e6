//! By which methods a PCI function can be reset, as its configuration space says (PCI Express base specification 6.0
//! §6.6.2, §7.5.3.3; PCI bus power management 1.2 §3.2.4; conventional PCI Advanced Features ECN).

/// Status register, bit 4: there is a capability list.
const STATUS: usize = 0x06;
const CAPABILITY_LIST: u16 = 1 << 4;
const CAPABILITIES: usize = 0x34;
const POWER_MANAGEMENT: u8 = 0x01;
const EXPRESS: u8 = 0x10;
const ADVANCED_FEATURES: u8 = 0x13;

/// A function's methods of reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ResetMethods {
    /// Function-level reset, of PCI Express or Advanced Features.
    pub(super) function_level: bool,
    /// The way from D3hot to D0 resets it.
    pub(super) power: bool,
    /// Where its PMCSR is.
    pub(super) pmcsr: Option<u16>,
}

fn byte(config: &[u8], at: usize) -> u8 {
    config.get(at).copied().unwrap_or_default()
}

fn word(config: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([byte(config, at), byte(config, at.saturating_add(1))])
}

impl ResetMethods {
    /// Of a function with this configuration space.
    pub(super) fn of(config: &[u8]) -> Self {
        let mut methods = Self::default();
        if word(config, STATUS) & CAPABILITY_LIST == 0 {
            return methods;
        }
        let mut at = byte(config, CAPABILITIES) & !3;
        // No more capabilities than these fit; a list that turns back ends here.
        for _ in 0..48 {
            if at < 0x40 {
                break;
            }
            let capability = usize::from(at);
            match byte(config, capability) {
                POWER_MANAGEMENT => {
                    let pmcsr = capability + 4;
                    methods.pmcsr = u16::try_from(pmcsr).ok();
                    // No_Soft_Reset.
                    methods.power = word(config, pmcsr) & (1 << 3) == 0;
                }
                // Device Capabilities bit 28.
                EXPRESS => methods.function_level |= word(config, capability + 6) & (1 << 12) != 0,
                // Transactions Pending and Function Level Reset.
                ADVANCED_FEATURES => methods.function_level |= byte(config, capability + 3) & 3 == 3,
                _ => {}
            }
            at = byte(config, capability + 1) & !3;
        }
        methods
    }

    /// Whether a reset of the function by the kernel is better than one of its bus: it is one by power management only if
    /// there is nothing else, and that resets little.
    pub(super) fn prefers_function(self) -> bool {
        self.function_level || !self.power
    }
}
