//! The keys of a terminal console that are not for the guest.
//!
//! They follow Ctrl-A, as in screen(1) and in QEMU: X ends the machine at once, P presses its power button,
//! H shows these keys, and Ctrl-A again sends one Ctrl-A. Before any other key Ctrl-A is sent as it is.

/// What [`Keys`] shows for H.
pub(super) const HELP: &str = "\r\n\
    Ctrl-A X       end the machine at once\r\n\
    Ctrl-A P       press the power button\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n\
    Ctrl-A H       show these keys\r\n";

const CTRL_A: u8 = 1;

/// What the user asks of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// End the machine at once.
    Quit,
    /// Press the power button.
    PowerButton,
    /// Show the keys. The console does this itself.
    Help,
}

/// Separates a stream of keys.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    escaped: bool,
}

impl Keys {
    /// Appends to `guest` what of `typed` is for the guest. Returns the others.
    pub(crate) fn separate(&mut self, typed: &[u8], guest: &mut Vec<u8>) -> Vec<Key> {
        let mut found = Vec::new();
        for &byte in typed {
            if !std::mem::take(&mut self.escaped) {
                match byte {
                    CTRL_A => self.escaped = true,
                    _ => guest.push(byte),
                }
                continue;
            }
            match byte {
                b'x' | b'X' => found.push(Key::Quit),
                b'p' | b'P' => found.push(Key::PowerButton),
                b'h' | b'H' | b'?' => found.push(Key::Help),
                CTRL_A => guest.push(CTRL_A),
                other => guest.extend([CTRL_A, other]),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn separate(typed: &[&[u8]]) -> (Vec<u8>, Vec<Key>) {
        let (mut keys, mut guest, mut found) = (Keys::default(), Vec::new(), Vec::new());
        for typed in typed {
            found.extend(keys.separate(typed, &mut guest));
        }
        (guest, found)
    }

    #[test]
    fn only_ctrl_a_is_special() {
        let all: Vec<u8> = (0..=u8::MAX).filter(|byte| *byte != CTRL_A).collect();
        assert_eq!(separate(&[&all]), (all.clone(), vec![]));
    }

    #[test]
    fn keys_are_found_across_reads() {
        assert_eq!(separate(&[b"ab\x01", b"xcd"]), (b"abcd".to_vec(), vec![Key::Quit]));
        assert_eq!(separate(&[b"\x01p\x01?\x01H"]), (vec![], vec![Key::PowerButton, Key::Help, Key::Help]));
        assert_eq!(separate(&[b"\x01\x01x"]), (b"\x01x".to_vec(), vec![]));
        assert_eq!(separate(&[b"\x01e"]), (b"\x01e".to_vec(), vec![]));
    }
}
