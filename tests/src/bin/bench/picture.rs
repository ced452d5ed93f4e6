//! A bare-metal program that shows a picture of 1920 × 1080 by `etc/ramfb` and changes it on a schedule, with the processor
//! halted in between: no guest can idle more, so what is used beside it is the monitor's.
//!
//! It tells each change by a letter on COM1, right after it.

use crate::payload;

/// Sent when the picture is shown.
pub(crate) const SHOWN: u8 = b'S';
/// Sent after each change.
pub(crate) const DRAWN: u8 = b'D';
/// Columns and rows of the picture.
pub(crate) const SIZE: (u16, u16) = (1920, 1080);
/// Where the changes of 64 × 64 pixels are, in columns and rows.
const PLACE: (u16, u16) = (256, 320);
/// The last pixel that they paint.
pub(crate) const LAST: (u16, u16) = (PLACE.0 + 63, PLACE.1 + 63);

/// What the schedule has of colours: change N, counted from 1, paints everything that it changes in this colour plus N.
pub(crate) const COLOUR: u32 = 0x40_0000;

/// A change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Milliseconds after the change before it, at most 200,000.
    pub(crate) after: u32,
    /// The whole picture, or else 64 × 64 pixels.
    pub(crate) whole: bool,
}

/// Ticks of the local APIC's timer in a millisecond, as KVM has it: 1 GHz, divided by 128.
const TICKS: f64 = 1e6 / 128.0;

/// Where the program lies in memory and how far before the end of the image.
const CODE: u32 = 0xffff_f000;
const CODE_LEN: usize = 0x1000;
/// What it reads lies behind it, in the same page.
const HANDLER_AT: usize = 0x2f0;
const NAME_AT: usize = 0x300;
const CONFIG_AT: usize = 0x310;
const TABLE_AT: usize = 0x330;
const SCHEDULE_AT: usize = 0x400;
/// Most changes that there is room for, with an end.
const MOST: usize = (CODE_LEN - SCHEDULE_AT - 0x100) / 4 - 1;

/// An image of `size` bytes, 8 KiB at least, that takes the firmware's place.
pub(crate) fn image(size: usize, schedule: &[Change]) -> Vec<u8> {
    let mut entry = vec![0xfa]; // cli
    entry.extend(payload::enter_protected_mode(entry.len()));
    entry.push(0xb8); // mov eax, CODE
    entry.extend(CODE.to_le_bytes());
    entry.extend([0xff, 0xe0]); // jmp eax
    let mut image = payload::image(size, &entry, &payload::TO_START);
    let start = size.saturating_sub(CODE_LEN);
    let parts = [
        (0, PROGRAM.concat()),
        // mov dword [0xfee000b0], 0 (end of interrupt); iret
        (HANDLER_AT, vec![0xc7, 0x05, 0xb0, 0x00, 0xe0, 0xfe, 0, 0, 0, 0, 0xcf]),
        (NAME_AT, b"etc/ramfb\0".to_vec()),
        (CONFIG_AT, config()),
        // For lidt: 0x22 descriptors of 8 bytes, of which only 0x20 is made.
        (TABLE_AT, [&[0x0f, 0x01][..], &0x6000_u32.to_le_bytes()].concat()),
        (SCHEDULE_AT, table(schedule)),
    ];
    for (at, bytes) in parts {
        for (place, byte) in image.iter_mut().skip(start + at).zip(bytes) {
            *place = byte;
        }
    }
    image
}

/// The content of `etc/ramfb`, big-endian: address, format, flags, columns, rows, bytes from row to row.
fn config() -> Vec<u8> {
    let (width, height) = (u32::from(SIZE.0), u32::from(SIZE.1));
    let mut bytes = 0x0100_0000_u64.to_be_bytes().to_vec();
    for word in [u32::from_le_bytes(*b"XR24"), 0, width, height, width * 4] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

/// Ticks, the highest bit for a whole picture; 0 at the end.
fn table(schedule: &[Change]) -> Vec<u8> {
    let word = |change: &Change| {
        let ticks = (f64::from(change.after.clamp(1, 200_000)) * TICKS) as u32;
        ticks | u32::from(change.whole) << 31
    };
    schedule.iter().take(MOST).map(word).chain([0]).flat_map(u32::to_le_bytes).collect()
}

/// 32-bit code at [`CODE`]. Segments are flat; interrupts are off. Memory it uses: 0x6000 interrupt table, below 0x7000 stack,
/// 0x8000 a directory entry, 0x9000 fw_cfg's DMA (QEMU docs/specs/fw_cfg.rst), 16 MiB the picture.
const PROGRAM: [&[u8]; 17] = [
    // mov eax, ds; mov es, eax; mov ss, eax; mov esp, 0x7000; cld
    &[0x8c, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x70, 0x00, 0x00, 0xfc],
    // Both PICs masked: mov al, 0xff; out 0x21, al; out 0xa1, al
    &[0xb0, 0xff, 0xe6, 0x21, 0xe6, 0xa1],
    // fw_cfg's directory selected: mov edx, 0x510; mov eax, 0x19; out dx, ax; inc edx
    &[0xba, 0x10, 0x05, 0x00, 0x00, 0xb8, 0x19, 0x00, 0x00, 0x00, 0x66, 0xef, 0x42],
    // The number of entries: mov edi, 0x8000; mov ecx, 4; rep insb; mov ebx, [0x8000]; bswap ebx
    &[
        0xbf, 0x00, 0x80, 0x00, 0x00, 0xb9, 4, 0, 0, 0, 0xf3, 0x6c, 0x8b, 0x1d, 0x00, 0x80, 0x00, 0x00, 0x0f,
        0xcb,
    ],
    // next: test ebx, ebx; jz rest; dec ebx
    &[0x85, 0xdb, 0x0f, 0x84, 0x30, 0x01, 0x00, 0x00, 0x4b],
    // An entry: mov edi, 0x8000; mov ecx, 64; rep insb
    &[0xbf, 0x00, 0x80, 0x00, 0x00, 0xb9, 64, 0, 0, 0, 0xf3, 0x6c],
    // Its name: mov esi, NAME; mov edi, 0x8008; mov ecx, 10; repe cmpsb; jne next
    &[0xbe, 0x00, 0xf3, 0xff, 0xff, 0xbf, 0x08, 0x80, 0x00, 0x00, 0xb9, 10, 0, 0, 0, 0xf3, 0xa6, 0x75, 0xd8],
    // A pattern: mov edi, 0x1000000; mov ecx, 1920 * 1080; fill: imul eax, ecx, 0x10305; and eax, 0xffffff; stosd; loop fill
    &[
        0xbf, 0x00, 0x00, 0x00, 0x01, 0xb9, 0x00, 0xa4, 0x1f, 0x00, 0x69, 0xc1, 0x05, 0x03, 0x01, 0x00, 0x25,
        0xff, 0xff, 0xff, 0x00, 0xab, 0xe2, 0xf2,
    ],
    // The configuration to RAM: mov esi, CONFIG; mov edi, 0x9010; mov ecx, 28; rep movsb
    &[0xbe, 0x10, 0xf3, 0xff, 0xff, 0xbf, 0x10, 0x90, 0x00, 0x00, 0xb9, 28, 0, 0, 0, 0xf3, 0xa4],
    // A DMA access, big-endian: the file's selector << 16 | select and write (0x18), 28 bytes, from 0x9010.
    // movzx eax, word [0x8004]; xchg al, ah; shl eax, 16; or eax, 0x18; bswap eax; mov [0x9000], eax
    // mov dword [0x9004], 0x1c000000; mov dword [0x9008], 0; mov dword [0x900c], 0x10900000
    &[
        0x0f, 0xb7, 0x05, 0x04, 0x80, 0x00, 0x00, 0x86, 0xc4, 0xc1, 0xe0, 0x10, 0x83, 0xc8, 0x18, 0x0f, 0xc8,
        0xa3, 0x00, 0x90, 0x00, 0x00, 0xc7, 0x05, 0x04, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x1c, 0xc7, 0x05,
        0x08, 0x90, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xc7, 0x05, 0x0c, 0x90, 0x00, 0x00, 0x00, 0x00, 0x90,
        0x10,
    ],
    // Its address, 0x9000: mov edx, 0x514; xor eax, eax; out dx, eax; mov edx, 0x518; mov eax, 0x900000; out dx, eax
    &[
        0xba, 0x14, 0x05, 0x00, 0x00, 0x31, 0xc0, 0xef, 0xba, 0x18, 0x05, 0x00, 0x00, 0xb8, 0x00, 0x00, 0x90,
        0x00, 0xef,
    ],
    // mov edx, 0x3f8; mov al, SHOWN; out dx, al
    &[0xba, 0xf8, 0x03, 0x00, 0x00, 0xb0, SHOWN, 0xee],
    // The gate of vector 0x20, to HANDLER: mov dword [0x6100], 0x8f2f0; mov dword [0x6104], 0xffff8e00; lidt [TABLE]
    &[
        0xc7, 0x05, 0x00, 0x61, 0x00, 0x00, 0xf0, 0xf2, 0x08, 0x00, 0xc7, 0x05, 0x04, 0x61, 0x00, 0x00, 0x00,
        0x8e, 0xff, 0xff, 0x0f, 0x01, 0x1d, 0x30, 0xf3, 0xff, 0xff,
    ],
    // The local APIC enabled, LINT0 masked, its timer for vector 0x20 once, divided by 128:
    // mov dword [0xfee000f0], 0x1ff; [0xfee00350], 0x10000; [0xfee00320], 0x20; [0xfee003e0], 10
    &[
        0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, 0xc7, 0x05, 0x50, 0x03, 0xe0, 0xfe, 0x00,
        0x00, 0x01, 0x00, 0xc7, 0x05, 0x20, 0x03, 0xe0, 0xfe, 0x20, 0x00, 0x00, 0x00, 0xc7, 0x05, 0xe0, 0x03,
        0xe0, 0xfe, 0x0a, 0x00, 0x00, 0x00,
    ],
    // mov esi, SCHEDULE; xor ebp, ebp
    &[0xbe, 0x00, 0xf4, 0xff, 0xff, 0x31, 0xed],
    // step: lodsd; mov ebx, eax; and eax, 0x7fffffff; jz rest; mov [0xfee00380], eax; sti; hlt; cli
    // inc ebp; mov eax, ebp; or eax, COLOUR; mov edx, 0x3f8; test ebx, ebx; js whole
    &[
        0xad, 0x89, 0xc3, 0x25, 0xff, 0xff, 0xff, 0x7f, 0x74, 0x44, 0xa3, 0x80, 0x03, 0xe0, 0xfe, 0xfb, 0xf4,
        0xfa, 0x45, 0x89, 0xe8, 0x0d, 0x00, 0x00, 0x40, 0x00, 0xba, 0xf8, 0x03, 0x00, 0x00, 0x85, 0xdb, 0x78,
        0x1a,
    ],
    // mov edi, PLACE's address; mov bl, 64; row: mov ecx, 64; rep stosd; add edi, (1920 - 64) * 4; dec bl; jnz row; jmp tell
    // whole: mov edi, 0x1000000; mov ecx, 1920 * 1080; rep stosd
    // tell: mov al, DRAWN; out dx, al; jmp step
    // rest: hlt; jmp rest
    &[
        0xbf, 0x00, 0x84, 0x25, 0x01, 0xb3, 0x40, 0xb9, 0x40, 0x00, 0x00, 0x00, 0xf3, 0xab, 0x81, 0xc7, 0x00,
        0x1d, 0x00, 0x00, 0xfe, 0xcb, 0x75, 0xef, 0xeb, 0x0c, 0xbf, 0x00, 0x00, 0x00, 0x01, 0xb9, 0x00, 0xa4,
        0x1f, 0x00, 0xf3, 0xab, 0xb0, DRAWN, 0xee, 0xeb, 0xb2, 0xf4, 0xeb, 0xfd,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_lie_where_the_program_looks_for_them() {
        let schedule = [Change { after: 128, whole: false }, Change { after: 256, whole: true }];
        let image = image(0x4000, &schedule);
        assert_eq!(image.len(), 0x4000);
        let page = &image[0x3000..];
        // The longest jump, to the halt at the end.
        let program = PROGRAM.concat();
        assert_eq!(program.len(), 0x16e);
        let jump = 0x35;
        assert_eq!(program[jump..jump + 2], [0x0f, 0x84]);
        let distance = usize::from(u16::from_le_bytes([program[jump + 2], program[jump + 3]]));
        assert_eq!(program[jump + 6 + distance..], [0xf4, 0xeb, 0xfd]);
        assert_eq!(page[NAME_AT..NAME_AT + 10], *b"etc/ramfb\0");
        assert_eq!(page[CONFIG_AT + 8..CONFIG_AT + 12], *b"42RX");
        assert_eq!(page[SCHEDULE_AT..SCHEDULE_AT + 4], 1_000_000_u32.to_le_bytes());
        assert_eq!(page[SCHEDULE_AT + 4..SCHEDULE_AT + 8], (2_000_000_u32 | 1 << 31).to_le_bytes());
        assert_eq!(page[SCHEDULE_AT + 8..SCHEDULE_AT + 12], [0; 4]);
        let (x, y) = (u32::from(PLACE.0), u32::from(PLACE.1));
        let place = 0x0100_0000 + (y * u32::from(SIZE.0) + x) * 4;
        assert_eq!(program[0x141..0x145], place.to_le_bytes());
    }
}
