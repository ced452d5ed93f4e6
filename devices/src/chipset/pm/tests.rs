use proptest::prelude::*;
use vocabulary::AddressRange;
use vocabulary::pm::COUNT;

use super::*;
use crate::bus::{Bus, BusView, Priority};
use crate::test_support::{Line, TestAlarm, read_u8, read_u16, read_u32};

struct Fixture {
    pm: Arc<PowerManagement>,
    sci: Arc<Line>,
    alarm: Arc<TestAlarm>,
}

fn fixture() -> Fixture {
    let (sci, alarm) = (Arc::new(Line::default()), Arc::new(TestAlarm::default()));
    Fixture { pm: PowerManagement::new(sci.clone(), alarm.clone()), sci, alarm }
}

fn at_0x600(pm: &Arc<PowerManagement>) -> BusView {
    let bus = Bus::new();
    bus.insert(AddressRange::new(0x600, u64::from(COUNT)).unwrap(), Priority::Platform, pm.clone());
    bus.view()
}

/// All registers but the timer and its overflow.
fn registers(pm: &PowerManagement) -> Vec<u8> {
    (0..u64::from(COUNT))
        .filter(|offset| !(8..12).contains(offset))
        .map(|offset| read_u8(pm, offset))
        .collect()
}

#[test]
fn power_on_registers() {
    let Fixture { pm, sci, alarm } = fixture();
    for (offset, value) in
        [(0x00, 0), (0x04, 1), (0x20, 0), (0x24, 0), (0x28, 0), (0x2c, 0), (0x30, 0x20), (0x60, 0)]
    {
        assert_eq!(read_u32(pm.as_ref(), offset), value, "{offset:#x}");
    }
    assert!(!sci.is_high());
    assert_eq!(alarm.calls(), 0);
}

#[test]
fn timer_counts_at_its_frequency_in_24_bits() {
    assert_eq!(ticks_of(0), 0);
    assert_eq!(ticks_of(1_000_000_000), PM_TIMER_HZ);
    assert_eq!(ticks_of(3_600_000_000_000), 3600 * PM_TIMER_HZ);
    for ticks in [1, 2, 3, TICKS_PER_OVERFLOW, 12_345_678_901] {
        let nanos = nanos_until(ticks);
        assert_eq!((ticks_of(nanos), ticks_of(nanos - 1)), (ticks, ticks - 1));
    }

    let Fixture { pm, .. } = fixture();
    let mut view = at_0x600(&pm);
    let mut read = || {
        let mut data = [0; 4];
        view.read(0x608, &mut data);
        u32::from_le_bytes(data)
    };
    let (start, first) = (Instant::now(), read());
    std::thread::sleep(Duration::from_millis(20));
    let (second, most) = (read(), start.elapsed());
    let counted = Duration::from_nanos(nanos_until(u64::from(second - first)));
    assert!(counted >= Duration::from_millis(20) && counted <= most, "{counted:?} of at most {most:?}");

    let late = pm.epoch + Duration::from_secs(5);
    assert_eq!(pm.ticks(late) & TIMER_MASK, 5 * PM_TIMER_HZ - (1 << 24), "wraps after 4.7 s");
}

#[test]
fn sleep_enable_with_s5_powers_off() {
    let Fixture { pm, .. } = fixture();
    let mut view = at_0x600(&pm);
    assert_eq!(view.write(0x604, &[0x01, 0x00]), Action::None);
    assert_eq!(view.write(0x604, &[0x00, 0x24]), Action::None, "SLP_TYP 1 does not exist");
    assert_eq!(read_u16(pm.as_ref(), 4), 0x0401, "SLP_EN reads as zero, SCI_EN as one");
    assert_eq!(view.write(0x605, &[0x20]), Action::PowerOff, "a byte will do");
    assert_eq!(view.write(0x604, &[0x01, 0x20]), Action::PowerOff);
    assert_eq!(view.write(0x604, &[0x01, 0x20, 0, 0]), Action::PowerOff);
}

#[test]
fn power_button_raises_the_sci_until_acknowledged() {
    let Fixture { pm, sci, .. } = fixture();
    pm.power_button();
    assert!(!sci.is_high(), "not enabled");
    assert_eq!(read_u16(pm.as_ref(), 0), 0x0100);
    let _ = pm.write(2, &[0x00, 0x01]);
    assert!(sci.is_high());
    let _ = pm.write(0, &[0xff, 0x00]);
    assert!(sci.is_high(), "another byte's bits");
    let _ = pm.write(0, &[0x00, 0x01]);
    assert!(!sci.is_high());
    assert_eq!(read_u16(pm.as_ref(), 0), 0);
    pm.power_button();
    assert_eq!((sci.is_high(), sci.edges()), (true, 2));
    pm.reset();
    assert!(!sci.is_high());
}

#[test]
fn general_purpose_events() {
    let Fixture { pm, sci, .. } = fixture();
    for event in 0..64u8 {
        let (at, bit) = (0x20 + u64::from(event / 8), 1 << (event % 8));
        pm.gpe(event);
        assert_eq!(read_u8(pm.as_ref(), at), bit, "event {event}");
        assert!(!sci.is_high());
        let _ = pm.write(at + 8, &[bit]);
        assert!(sci.is_high());
        let _ = pm.write(at, &[bit]);
        assert!(!sci.is_high());
        let _ = pm.write(at + 8, &[0]);
    }
    pm.gpe(64);
    pm.gpe(255);
    assert_eq!(read_u32(pm.as_ref(), 0x20), 0);
}

#[test]
fn timer_overflow_interrupts_when_enabled() {
    let Fixture { pm, sci, alarm } = fixture();
    let _ = pm.write(2, &[0x01, 0x00]);
    let deadline = alarm.deadline().expect("armed");
    let period = Duration::from_nanos(nanos_until(TICKS_PER_OVERFLOW));
    assert!(deadline >= pm.epoch + period && deadline < pm.epoch + period + Duration::from_micros(1));

    pm.expired(deadline - Duration::from_micros(10));
    assert!(!sci.is_high(), "woken early");
    assert_eq!(alarm.deadline().map(|at| at.duration_since(deadline) < Duration::from_micros(1)), Some(true));
    pm.expired(deadline);
    assert!(sci.is_high());
    assert_eq!(alarm.deadline(), None);

    let mut state = pm.lock();
    let ticks = pm.ticks(deadline);
    assert_eq!(state.pm1_status(ticks), TMR);
    let _ = state.write(0, 1, ticks);
    pm.update(&mut state, deadline);
    assert!(!sci.is_high());
    assert!(alarm.deadline().is_some_and(|next| next > deadline));
    drop(state);

    pm.reset();
    assert_eq!(alarm.deadline(), None);
}

proptest! {
    #[test]
    fn any_access_is_survived_and_reset_undoes_all(
        accesses in prop::collection::vec((0..u64::from(COUNT), any::<u64>(), 0usize..4, any::<bool>()), 0..60),
        events in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let Fixture { pm, sci, alarm } = fixture();
        let power_on = registers(&pm);
        let mut view = at_0x600(&pm);
        for (offset, value, size, write) in accesses {
            let mut data = value.to_le_bytes();
            if write {
                let _ = view.write(0x600 + offset, &data[..1 << size]);
            } else {
                view.read(0x600 + offset, &mut data[..1 << size]);
            }
            prop_assert_eq!(read_u8(pm.as_ref(), 4) & 1, 1, "SCI_EN is hard-wired");
        }
        for event in events {
            pm.gpe(event);
        }
        pm.reset();
        prop_assert_eq!(registers(&pm), power_on);
        prop_assert!(!sci.is_high());
        prop_assert_eq!(alarm.deadline(), None);
    }
}
