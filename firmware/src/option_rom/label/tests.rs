//! Tests of versions and names.

use super::super::testing::{ImageBuilder, muxless, put_bit, with_gop};
use super::super::{Label, parse};

fn label(bytes: &[u8]) -> Label {
    parse(bytes).unwrap().label(bytes)
}

fn is(version: &str, board: &str) -> Label {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Label { version: text(version), board: text(board) }
}

#[test]
fn nvidias_table_has_version_and_board() {
    let mut rom = muxless(0x10de, 0x1c8d);
    assert_eq!(label(&rom), Label::default());
    put_bit(&mut rom, 0x3000, [0x86, 0x04, 0x2a, 0x00], 0x26, "GP107 Board - 2510");
    assert_eq!(label(&rom), is("86.04.2a.00.26", "GP107 Board - 2510"));
    // In front of the ROM, too.
    assert_eq!(label(&[vec![0; 0x400], rom.clone()].concat()), is("86.04.2a.00.26", "GP107 Board - 2510"));
    // The older token, and the sign-on message of version 1 in place of the product's name.
    rom[0x200 + 18] = b'B';
    rom[0x200 + 25] = 1;
    assert_eq!(label(&rom), is("86.04.2a.00.26", ""));
    rom[0x250..0x253].copy_from_slice(&[0x70, 0x02, 5]);
    assert_eq!(label(&rom), is("86.04.2a.00.26", "GP107"));
}

#[test]
fn pointers_behind_the_bios_image_leave_out_the_efi_image() {
    let images = [
        ImageBuilder::legacy(0x10de, 0x1c8d, 8).npde(false, 1, 8),
        ImageBuilder::efi(0x10de, 0x1c8d, 4).last().npde(false, 1, 4),
        ImageBuilder::private(0x10de, 0x1c8d, 4).last(),
    ];
    let mut rom: Vec<u8> = images.iter().flat_map(ImageBuilder::build).collect();
    put_bit(&mut rom, 0x1000, [0x94, 0x02, 0x42, 0x00], 0x6c, "first");
    rom[0x250 + 15..0x250 + 17].copy_from_slice(&0x1100u16.to_le_bytes());
    rom[0x1900..0x1907].copy_from_slice(b"behind\0");
    assert_eq!(label(&rom), is("94.02.42.00.6c", "behind"));
}

#[test]
fn strings_of_strangers_are_made_fit_for_a_terminal() {
    for (text, shown) in
        [("a\x1b[31mb", "a"), ("\x07", ""), ("  GP107  \r\n", "GP107"), (&"x".repeat(63), &"x".repeat(63))]
    {
        let mut rom = with_gop(0x10de, 0x1c8d);
        put_bit(&mut rom, 0x2000, [1, 2, 3, 4], 5, text);
        assert_eq!(label(&rom), is("01.02.03.04.05", shown));
    }
    // Pointers out of the ROM, and a table of impossible size.
    let mut rom = with_gop(0x10de, 0x1c8d);
    put_bit(&mut rom, 0x2000, [1, 2, 3, 4], 5, "GP107");
    rom[0x250 + 15..0x250 + 17].fill(0xff);
    rom[0x200 + 22..0x200 + 24].fill(0xff);
    assert_eq!(label(&rom), Label::default());
    rom[0x200 + 9] = 0;
    assert_eq!(label(&rom), Label::default());
}

/// A BIOS image with the strings of an ATOM BIOS.
fn atom(count: u8, strings: &[u8]) -> Vec<u8> {
    let mut rom = ImageBuilder::legacy(0x1002, 0x67df, 8).last().build();
    // The structures are at 0x40 to 0xc0.
    rom[0x18..0x1a].copy_from_slice(&0x300u16.to_le_bytes());
    rom.copy_within(0x40..0x60, 0x300);
    rom[0x40..0x80].fill(0);
    rom[0x48..0x4a].copy_from_slice(&0x200u16.to_le_bytes());
    rom[0x204..0x208].copy_from_slice(b"ATOM");
    rom[0x2f] = count;
    rom[0x6e..0x70].copy_from_slice(&0x400u16.to_le_bytes());
    rom[0x400..0x400 + strings.len()].copy_from_slice(strings);
    rom[0x280..0x280 + 38].copy_from_slice(b"ATOMBIOSBK-AMD VER016.001.001.000.010\0");
    rom
}

#[test]
fn an_atom_bios_has_part_number_and_model() {
    let strings = b"113-C9403200-U02\0POLARIS10\0PCI_EXPRESS\0GDDR5\0\r\nC940 Polaris10 XT 8GB\r\n\0";
    assert_eq!(label(&atom(4, strings)), is("016.001.001.000.010", "113-C9403200-U02 C940 Polaris10 XT 8GB"));
    let mut old = atom(0, b"");
    old[0x80..0x8b].copy_from_slice(b"113-ABCDEF\0");
    assert_eq!(label(&old), is("016.001.001.000.010", "113-ABCDEF"));
    let mut none = atom(4, strings);
    none[0x204] = b'X';
    assert_eq!(label(&none), Label::default());
    assert_eq!(label(&ImageBuilder::legacy(0x8086, 0x5916, 4).last().build()), Label::default());
}
