//! Guests that use Hyper-V's interface, without asking whether it is there. Numbers are those of Microsoft's Hypervisor Top
//! Level Functional Specification.

use super::{program, say};

const GUEST_OS_ID: u32 = 0x4000_0000;
const RESET: u32 = 0x4000_0003;
const REFERENCE_TSC: u32 = 0x4000_0021;
const SCONTROL: u32 = 0x4000_0080;
const SIEFP: u32 = 0x4000_0082;
const SIMP: u32 = 0x4000_0083;
const SINT: u32 = 0x4000_0090;
const STIMER_CONFIG: u32 = 0x4000_00b0;
const STIMER_COUNT: u32 = 0x4000_00b1;
const CRASH_P0: u32 = 0x4000_0100;
const CRASH_CTL: u32 = 0x4000_0105;

/// Windows 10.0, build 22621.
const WINDOWS: u64 = 0x0001_040a_0000_585d;

/// Where timers write their messages, and the page of the clock.
const MESSAGES: u32 = 0x0200_0000;
const CLOCK: u32 = 0x0200_1000;
/// In a register of a page.
const ENABLE: u64 = 1;
/// A vector that is not delivered.
const MASKED: u64 = 1 << 16;

/// `mov ecx, INDEX; mov eax, LOW; mov edx, HIGH; wrmsr`.
fn wrmsr(index: u32, value: u64) -> Vec<u8> {
    let mut code = Vec::new();
    // The lower half, and the upper one.
    for (load, value) in [(0xb9, index), (0xb8, value as u32), (0xba, (value >> 32) as u32)] {
        code.push(load);
        code.extend(value.to_le_bytes());
    }
    code.extend([0x0f, 0x30]);
    code
}

/// How a guest goes on after it has reported its crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It resets the machine, as Windows does.
    Reset,
    /// It halts for good.
    Halt,
    /// It runs for ever.
    Spin,
}

/// Reports a crash with these parameters, as Windows does; says `DUMP-WRITTEN` then, and goes on as it is told.
pub fn crash(parameters: [u64; 5], after: After) -> Vec<u8> {
    let mut code = vec![0xfa]; // cli
    code.extend(wrmsr(GUEST_OS_ID, WINDOWS));
    for (index, parameter) in (CRASH_P0..CRASH_CTL).zip(parameters) {
        code.extend(wrmsr(index, parameter));
    }
    code.extend(wrmsr(CRASH_CTL, 1 << 63));
    code.extend(say("DUMP-WRITTEN\r\n"));
    match after {
        After::Reset => code.extend([0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee]), // mov dx, 0xcf9; mov al, 6; out dx, al
        After::Halt => code.push(0xf4),                                          // hlt
        After::Spin => {}
    }
    code.extend([0xeb, 0xfe]); // jmp $
    program(&code)
}

/// Looks whether anything of a former boot is left of timers, vectors, pages and the clock, in registers or as a message in
/// memory, and says `BOOT-CLEAN` or `BOOT-DIRTY`. Then it switches all of it on, waits for the first message, and resets the
/// machine by the register for that.
pub fn resets_with_timers() -> Vec<u8> {
    let mut code = vec![0xfa, 0xfc]; // cli; cld
    let mut to_dirty = Vec::new();
    let mut dirty_unless_equal = |code: &mut Vec<u8>| {
        code.extend([0x0f, 0x85, 0, 0, 0, 0]); // jne dirty
        to_dirty.push(code.len());
    };
    let at_first = [(REFERENCE_TSC, 0), (SIEFP, 0), (SIMP, 0), (SCONTROL, ENABLE)];
    let vectors = (0..16).map(|n| (SINT + n, MASKED));
    let timers = (0..8).map(|n| (STIMER_CONFIG + n, 0));
    for (index, value) in at_first.into_iter().chain(vectors).chain(timers) {
        code.push(0xb9); // mov ecx, INDEX
        code.extend(index.to_le_bytes());
        code.extend([0x0f, 0x32, 0x3d]); // rdmsr; cmp eax, LOW
        code.extend((value as u32).to_le_bytes());
        dirty_unless_equal(&mut code);
        code.extend([0x85, 0xd2]); // test edx, edx
        dirty_unless_equal(&mut code);
    }
    // Two pages of zeros, which nothing may write for a while.
    let pages = |code: &mut Vec<u8>, each: [u8; 2]| {
        code.push(0xbf); // mov edi, MESSAGES
        code.extend(MESSAGES.to_le_bytes());
        code.push(0xb9); // mov ecx, 2048
        code.extend(2048_u32.to_le_bytes());
        code.extend([0x31, 0xc0]); // xor eax, eax
        code.extend(each);
    };
    pages(&mut code, [0xf3, 0xab]); // rep stosd
    code.push(0xb9); // mov ecx, 2000
    code.extend(2000_u32.to_le_bytes());
    code.extend([0xe6, 0x80, 0xe2, 0xfc]); // again: out 0x80, al; loop again
    pages(&mut code, [0xf3, 0xaf]); // repe scasd
    dirty_unless_equal(&mut code);
    code.extend(say("BOOT-CLEAN\r\n"));
    code.extend([0xeb, 0x00]);
    let over = code.len();
    let dirty = code.len();
    let said = say("BOOT-DIRTY\r\n");
    if let (Some(distance), Ok(length)) = (code.get_mut(over - 1), u8::try_from(said.len())) {
        *distance = length;
    }
    code.extend(said);
    for place in to_dirty {
        let distance = u32::try_from(dirty - place).unwrap_or_default().to_le_bytes();
        if let Some(field) = code.get_mut(place - 4..place) {
            field.copy_from_slice(&distance);
        }
    }
    for (index, value) in [
        (GUEST_OS_ID, WINDOWS),
        (REFERENCE_TSC, u64::from(CLOCK) | ENABLE),
        (SCONTROL, ENABLE),
        (SIEFP, u64::from(CLOCK + 0x1000) | ENABLE),
        (SIMP, u64::from(MESSAGES) | ENABLE),
    ] {
        code.extend(wrmsr(index, value));
    }
    (0..16).for_each(|n| code.extend(wrmsr(SINT + n, u64::from(0x40 + n))));
    for n in 0..4 {
        // Every millisecond, enabled, periodic, a message for the vector 2 and those after it.
        code.extend(wrmsr(STIMER_COUNT + 2 * n, 10_000));
        code.extend(wrmsr(STIMER_CONFIG + 2 * n, 3 | u64::from(n + 2) << 16));
    }
    code.push(0xbf); // mov edi, MESSAGES + 2 * 256
    code.extend((MESSAGES + 2 * 256).to_le_bytes());
    code.extend([0xe6, 0x80, 0x83, 0x3f, 0x00, 0x74, 0xf9]); // wait: out 0x80, al; cmp dword [rdi], 0; je wait
    code.extend(say("TIMERS-ARMED\r\n"));
    code.extend(wrmsr(RESET, 1));
    code.extend([0xeb, 0xfe]); // jmp $
    program(&code)
}
