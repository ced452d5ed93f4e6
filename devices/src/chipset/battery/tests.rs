//! The mirrored battery through its registers and events.

use proptest::prelude::*;
use vocabulary::ports::BATTERY;

use super::*;
use crate::test_support::{Line, TestAlarm, read_u8, read_u32};

struct Fixture {
    battery: Arc<MirroredBattery>,
    pm: Arc<PowerManagement>,
    sci: Arc<Line>,
}

const FULL: BatteryState = BatteryState {
    unit: Unit::Charge,
    discharging: false,
    charging: false,
    critical: false,
    rate: Some(0),
    remaining: Some(5000),
    voltage: Some(12_000),
    design: Some(6000),
    last_full: Some(5000),
    design_voltage: Some(11_400),
    cycles: None,
};

const PLUGGED_IN: PowerState = PowerState { adapter: true, battery: Some(FULL) };

/// With the event enabled, as an operating system does.
fn fixture(state: &PowerState) -> Fixture {
    let sci = Arc::new(Line::default());
    let pm = PowerManagement::new(sci.clone(), Arc::new(TestAlarm::default()));
    let enable = 0x28 + u64::from(GPE / 8);
    assert_eq!(pm.write(enable, &[1 << (GPE % 8)]), Action::None);
    Fixture { battery: MirroredBattery::new(state, pm.clone()), pm, sci }
}

impl Fixture {
    fn register(&self, register: Register) -> u32 {
        read_u32(self.battery.as_ref(), register as u64 * 4)
    }

    /// Whether the guest was interrupted; acknowledges it, as an operating system does before it runs the method.
    fn interrupted(&self) -> bool {
        let high = self.sci.is_high();
        assert_eq!(self.pm.write(0x20 + u64::from(GPE / 8), &[1 << (GPE % 8)]), Action::None);
        assert!(!self.sci.is_high());
        high
    }
}

#[test]
fn registers_show_the_state() {
    let fixture = fixture(&PLUGGED_IN);
    let expected = [3, 1, 0, 0, 5000, 12_000, 6000, 5000, 11_400, 600, 300, 60, UNKNOWN, 0];
    let shown: Vec<u32> =
        (0..expected.len() as u64).map(|at| read_u32(fixture.battery.as_ref(), at * 4)).collect();
    assert_eq!(shown, expected);
    assert_eq!(read_u8(fixture.battery.as_ref(), 0x11), 0x13, "a byte of 5000");
    assert_eq!(read_u32(fixture.battery.as_ref(), 0x38), 0, "behind the last register");
    assert!(!fixture.interrupted());

    let discharging = BatteryState { discharging: true, critical: true, unit: Unit::Energy, ..FULL };
    fixture.battery.update(&PowerState { adapter: false, battery: Some(discharging) });
    assert_eq!(fixture.register(Register::Flags), FLAG_BATTERY);
    assert_eq!(fixture.register(Register::State), STATE_DISCHARGING | STATE_CRITICAL);
    assert_eq!(fixture.register(Register::Unit), 0);
}

#[test]
fn what_matters_interrupts_once() {
    let gone = PowerState { battery: None, ..PLUGGED_IN };
    let with = |battery: BatteryState| PowerState { battery: Some(battery), ..PLUGGED_IN };
    for (state, events) in [
        (PLUGGED_IN, 0),
        (with(BatteryState { voltage: Some(11_999), rate: Some(7), ..FULL }), 0),
        (with(BatteryState { remaining: None, ..FULL }), EVENT_STATUS),
        (with(BatteryState { remaining: Some(4999), ..FULL }), EVENT_STATUS),
        (with(BatteryState { charging: true, ..FULL }), EVENT_STATUS),
        (with(BatteryState { cycles: Some(1), ..FULL }), EVENT_INFO),
        (with(BatteryState { last_full: Some(4000), ..FULL }), EVENT_INFO | EVENT_STATUS),
        (PowerState { adapter: false, ..PLUGGED_IN }, EVENT_ADAPTER),
        (gone, EVENT_INFO | EVENT_STATUS),
    ] {
        let fixture = fixture(&PLUGGED_IN);
        fixture.battery.update(&state);
        assert_eq!(fixture.interrupted(), events != 0, "{state:?}");
        fixture.battery.update(&state);
        assert!(!fixture.interrupted(), "twice: {state:?}");
        assert_eq!(fixture.register(Register::Events), events, "{state:?}");
        assert_eq!(fixture.register(Register::Events), 0, "reading clears");
    }
}

#[test]
fn the_charge_is_told_by_the_percent() {
    let fixture = fixture(&PLUGGED_IN);
    let mut told = 0;
    for remaining in (4000..5000).rev() {
        let battery = Some(BatteryState { remaining: Some(remaining), ..FULL });
        fixture.battery.update(&PowerState { battery, ..PLUGGED_IN });
        told += u32::from(fixture.interrupted());
    }
    assert_eq!(told, 20, "from 100 to 80 percent");
}

#[test]
fn events_wait_until_they_are_read() {
    let fixture = fixture(&PLUGGED_IN);
    fixture.battery.update(&PowerState { adapter: false, ..PLUGGED_IN });
    fixture.battery.update(&PowerState { adapter: false, battery: None });
    assert_eq!(fixture.register(Register::Events), EVENT_INFO | EVENT_STATUS | EVENT_ADAPTER);

    fixture.battery.update(&PLUGGED_IN);
    fixture.battery.reset();
    assert_eq!(fixture.register(Register::Events), 0);
    assert_eq!(fixture.register(Register::Flags), 3, "the host's battery does not know of the reset");
}

#[test]
fn the_guest_changes_nothing() {
    let fixture = fixture(&PLUGGED_IN);
    for offset in 0..BATTERY.range().len() {
        assert_eq!(fixture.battery.write(offset, &[0xaa; 4]), Action::None);
    }
    assert_eq!(fixture.register(Register::Flags), 3);
    assert_eq!(fixture.register(Register::Remaining), 5000);
}

proptest! {
    #[test]
    fn any_access_and_any_state(
        offset in 0..BATTERY.range().len(),
        len in 0usize..9,
        values in any::<[Option<u32>; 7]>(),
        flags in any::<[bool; 4]>(),
    ) {
        let [rate, remaining, voltage, design, last_full, design_voltage, cycles] = values;
        let [discharging, charging, critical, adapter] = flags;
        let battery = BatteryState {
            unit: Unit::Energy, discharging, charging, critical, rate, remaining, voltage, design, last_full,
            design_voltage, cycles,
        };
        let fixture = fixture(&PowerState::default());
        fixture.battery.update(&PowerState { adapter, battery: Some(battery) });
        let mut data = vec![0x5a; len];
        fixture.battery.read(offset, &mut data);
        for (byte, at) in data.iter().zip(offset..) {
            // Events may be cleared by now.
            if at < Register::Events as u64 * 4 {
                prop_assert_eq!(*byte, read_u8(fixture.battery.as_ref(), at));
            }
        }
    }
}
