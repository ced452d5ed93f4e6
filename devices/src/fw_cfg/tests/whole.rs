//! A machine without firmware reads and writes files itself, beside the guest.

use super::*;

#[test]
fn whole_files_are_read_and_written_beside_the_guest() {
    let seen = Arc::new(Seen::default());
    let count = Arc::clone(&seen);
    let device = FwCfgBuilder::new()
        .file("opt/fixed", b"contents".to_vec())
        .writable("opt/written", 4, Arc::clone(&seen) as _)
        .lazy(
            &[("opt/lazy", 6)],
            Box::new(move || {
                count.made.fetch_add(1, Ordering::Relaxed);
                Ok(vec![b"made".to_vec()])
            }),
        )
        .observer(Arc::clone(&seen) as _)
        .build(GuestRam::from_ranges(&[(GuestAddress(0), 4096)]).unwrap())
        .unwrap();
    let file = |name| device.file(name).map(Result::unwrap);
    let next = || {
        let mut byte = [0];
        device.read(DATA_OFFSET, &mut byte);
        byte
    };
    // The guest is in the middle of the signature, and stays there.
    assert_eq!(next(), *b"Q");
    assert_eq!(file("opt/fixed").as_deref(), Some(&b"contents"[..]));
    assert_eq!(file("opt/lazy").as_deref(), Some(&b"made\0\0"[..]));
    assert_eq!(file("opt/lazy").as_deref(), Some(&b"made\0\0"[..]));
    assert_eq!(file("opt/none"), None);
    assert_eq!(next(), *b"E");
    assert_eq!(seen.made.load(Ordering::Relaxed), 1);
    assert!(seen.selected.lock().unwrap().is_empty(), "the guest has selected nothing");

    assert!(device.write_file("opt/written", 1, b"ab"));
    assert_eq!(*seen.written.lock().unwrap(), [b"\0ab\0"]);
    assert_eq!(file("opt/written").as_deref(), Some(&b"\0ab\0"[..]));
    for (name, offset) in [("opt/written", 3), ("opt/written", u32::MAX), ("opt/fixed", 0), ("opt/none", 0)] {
        assert!(!device.write_file(name, offset, b"xy"), "{name} at {offset}");
    }
    device.reset();
    assert_eq!(file("opt/written").as_deref(), Some(&[0; 4][..]));
    assert_eq!(file("opt/lazy").as_deref(), Some(&b"made\0\0"[..]));
    assert_eq!(seen.made.load(Ordering::Relaxed), 2, "made anew after a reset");
}
