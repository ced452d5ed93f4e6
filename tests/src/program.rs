//! Guests of a few instructions, which misbehave in one way each.
//!
//! They are EFI applications, and kernels that start without firmware (see [`crate::efi_app`]): the machine is set up when
//! they start.
//! Each says on COM1 that it runs, without which a test could take a guest that never started for one that
//! is wedged.

pub mod hyperv;

/// `mov dx, 0x3f8`, then `mov al, C; out dx, al` for each character.
fn say(text: &str) -> Vec<u8> {
    let mut code = vec![0x66, 0xba, 0xf8, 0x03];
    for byte in text.bytes() {
        code.extend([0xb0, byte, 0xee]);
    }
    code
}

fn program(code: &[u8]) -> Vec<u8> {
    let mut all = say("APPLICATION-UP\r\n");
    all.extend(code);
    crate::efi_app::build(&all)
}

/// Spins with interrupts off: `cli; jmp $`.
pub fn spin() -> Vec<u8> {
    program(&[0xfa, 0xeb, 0xfe])
}

/// Halts with interrupts off, from which nothing but an NMI leads out: `cli; again: hlt; jmp again`.
pub fn halt() -> Vec<u8> {
    program(&[0xfa, 0xf4, 0xeb, 0xfd])
}

/// Powers the machine off: S5 (SLP_TYP 0, SLP_EN) into PM1_CNT, where OVMF puts the chipset's PM block, and so a
/// machine without firmware.
pub fn power_off() -> Vec<u8> {
    // mov dx, 0x604; mov ax, 0x2000; out dx, ax; jmp $
    program(&[0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x20, 0x66, 0xef, 0xeb, 0xfe])
}

/// A triple fault: an interrupt table of no entries is loaded, then an exception raised. It needs a stack, as the firmware
/// gives one.
pub fn triple_fault() -> Vec<u8> {
    program(&[
        0xfa, // cli
        0x6a, 0x00, // push 0
        0x6a, 0x00, // push 0
        0x0f, 0x01, 0x1c, 0x24, // lidt [rsp]
        0x0f, 0x0b, // ud2
    ])
}

/// Writes nonsense to ports and to memory, `rounds` times, and says `FUZZ-DONE` at the end.
///
/// Random ports except those that end the machine by design (resets, PM1 control, and the serial port, by
/// which it reports); random addresses from PCIEXBAR's lowest place up to the local APIC, read and written.
pub fn fuzz(seed: u64, rounds: u32) -> Vec<u8> {
    let mut code = vec![0xfa, 0x48, 0xbb]; // cli; mov rbx, seed
    code.extend((seed | 1).to_le_bytes());
    code.push(0xb9); // mov ecx, rounds
    code.extend(rounds.to_le_bytes());
    let top = code.len();
    // xorshift64 in rbx
    code.extend([
        0x48, 0x89, 0xd8, 0x48, 0xc1, 0xe0, 0x0d, 0x48, 0x31,
        0xc3, // mov rax,rbx; shl rax,13; xor rbx,rax
        0x48, 0x89, 0xd8, 0x48, 0xc1, 0xe8, 0x07, 0x48, 0x31,
        0xc3, // mov rax,rbx; shr rax,7; xor rbx,rax
        0x48, 0x89, 0xd8, 0x48, 0xc1, 0xe0, 0x11, 0x48, 0x31,
        0xc3, // mov rax,rbx; shl rax,17; xor rbx,rax
        0x89, 0xda, // mov edx, ebx
        0x0f, 0xb7, 0xd2, // movzx edx, dx
    ]);
    // Forbidden ports jump to the memory half.
    let mut to_memory = Vec::new();
    let mut skip_if_equal = |code: &mut Vec<u8>, port: u32, mask: u8| {
        // mov eax, edx; and al, mask; cmp eax, port; je memory
        code.extend([0x89, 0xd0, 0x24, mask, 0x3d]);
        code.extend(port.to_le_bytes());
        code.extend([0x0f, 0x84, 0, 0, 0, 0]);
        to_memory.push(code.len());
    };
    skip_if_equal(&mut code, 0xcf8, 0xf8); // CF8 to CFF: reset, and CFC after PMBASE was chosen
    skip_if_equal(&mut code, 0x60, 0xf8); // 60 to 67: keyboard controller's reset
    skip_if_equal(&mut code, 0x90, 0xfc); // 90 to 93: fast A20 and reset
    skip_if_equal(&mut code, 0x3f8, 0xf8); // COM1
    skip_if_equal(&mut code, 0x600, 0x80); // the PM block
    skip_if_equal(&mut code, 0x505, 0xff); // pvpanic
    skip_if_equal(&mut code, 0xb2, 0xfe); // APM control
    // mov rax, rbx; shr rax, 24; out dx, al; out dx, ax; out dx, eax; in eax, dx; in al, dx
    code.extend([0x48, 0x89, 0xd8, 0x48, 0xc1, 0xe8, 0x18, 0xee, 0x66, 0xef, 0xef, 0xed, 0xec]);
    let memory = code.len();
    for place in to_memory {
        let distance = u32::try_from(memory - place).unwrap_or_default().to_le_bytes();
        if let Some(field) = code.get_mut(place - 4..place) {
            field.copy_from_slice(&distance);
        }
    }
    code.extend([
        0x48, 0x89, 0xda, // mov rdx, rbx
        0x48, 0xc1, 0xea, 0x10, // shr rdx, 16
        0x81, 0xe2, 0xfc, 0xff, 0xff, 0x0f, // and edx, 0x0ffffffc
        0x81, 0xca, 0x00, 0x00, 0x00, 0xc0, // or edx, 0xc0000000: above RAM, below ECAM and the APICs
        0x89, 0x1a, // mov [rdx], ebx
        0x8b, 0x02, // mov eax, [rdx]
        0x48, 0x8b, 0x02, // mov rax, [rdx]
        0x88, 0x1a, // mov [rdx], bl
    ]);
    // dec ecx; jnz top
    code.extend([0xff, 0xc9, 0x0f, 0x85]);
    let distance = i64::try_from(top).unwrap_or_default() - i64::try_from(code.len() + 4).unwrap_or_default();
    code.extend(i32::try_from(distance).unwrap_or_default().to_le_bytes());
    code.extend(say("FUZZ-DONE\r\n"));
    code.extend([0xeb, 0xfe]);
    program(&code)
}

/// A flat image for `kind = "raw"` in [firmware], which needs no other firmware and runs at once. It says `>`, then sends
/// back each byte from COM1 plus one. Some milliseconds after its power button was pressed, longer than two signals of
/// timeout(1) are apart, it powers itself off.
pub fn echo_image() -> Vec<u8> {
    let code = [
        0xfa, // cli
        // PMBASE (register 0x40 of 00:1f.0) becomes 0x600, and ACPI_CNTL (0x44) enables it.
        0x66, 0xb8, 0x40, 0xf8, 0x00, 0x80, // mov eax, 0x8000f840
        0xba, 0xf8, 0x0c, // mov dx, 0xcf8
        0x66, 0xef, // out dx, eax
        0x66, 0xb8, 0x01, 0x06, 0x00, 0x00, // mov eax, 0x601
        0xb2, 0xfc, // mov dl, 0xfc
        0x66, 0xef, // out dx, eax
        0x66, 0xb8, 0x44, 0xf8, 0x00, 0x80, // mov eax, 0x8000f844
        0xb2, 0xf8, // mov dl, 0xf8
        0x66, 0xef, // out dx, eax
        0xb0, 0x80, // mov al, 0x80
        0xb2, 0xfc, // mov dl, 0xfc
        0xee, // out dx, al
        0xba, 0xf8, 0x03, // mov dx, 0x3f8
        0xb0, b'>', // mov al, '>'
        0xee, // out dx, al
        0xba, 0xfd, 0x03, // turn: mov dx, 0x3fd (LSR)
        0xec, // in al, dx
        0xa8, 0x01, // test al, 1
        0x74, 0x06, // jz button
        0xb2, 0xf8, // mov dl, 0xf8
        0xec, // in al, dx
        0xfe, 0xc0, // inc al
        0xee, // out dx, al
        0xba, 0x00, 0x06, // button: mov dx, 0x600 (PM1_STS)
        0xed, // in ax, dx
        0xf6, 0xc4, 0x01, // test ah, 1 (PWRBTN_STS)
        0x74, 0xe9, // jz turn
        0xb9, 0xd0, 0x07, // mov cx, 2000
        0xe6, 0x80, // wait: out 0x80, al
        0xe2, 0xfc, // loop wait
        0xb2, 0x04, // mov dl, 4 (PM1_CNT)
        0xb8, 0x00, 0x20, // mov ax, 0x2000
        0xef, // out dx, ax
        0xf4, // halt: hlt
        0xeb, 0xfd, // jmp halt
    ];
    flat_image(&code)
}

/// Like [`echo_image`], but it says `LAST` in a line and reports at once, by pvpanic, that it crashed.
pub fn last_words_image() -> Vec<u8> {
    let mut code = vec![0xba, 0xf8, 0x03]; // mov dx, 0x3f8
    for byte in b"LAST\n" {
        code.extend([0xb0, *byte, 0xee]); // mov al, byte; out dx, al
    }
    // mov dx, 0x505; mov al, 1; out dx, al; jmp $
    code.extend([0xba, 0x05, 0x05, 0xb0, 0x01, 0xee, 0xeb, 0xfe]);
    flat_image(&code)
}

/// An image that begins with `code`, of 240 bytes at most, in real mode.
fn flat_image(code: &[u8]) -> Vec<u8> {
    const SIZE: usize = 64 << 10;
    let mut image = vec![0x90; SIZE];
    // The reset vector is 16 bytes before the end; the code is in front of it, within the reach of a near jump.
    let (start, reset) = (SIZE - 0x100, SIZE - 0x10);
    for (at, bytes) in [(start, code), (reset, &[0xe9, 0x0d, 0xff])] {
        image.iter_mut().skip(at).zip(bytes).for_each(|(to, byte)| *to = *byte);
    }
    image
}
