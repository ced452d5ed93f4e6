//! Guests of a few instructions, which misbehave in one way each.
//!
//! They are EFI applications, and kernels that start without firmware (see [`crate::efi_app`]): the machine is set up when
//! they start.
//! Each says on COM1 that it runs, without which a test could take a guest that never started for one that
//! is wedged.

pub mod hyperv;
pub mod msr;

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

/// Says which disk it was started from and fails (EFI_NOT_FOUND), so that firmware goes on to the next one in its order.
pub fn passes(disk: &str) -> Vec<u8> {
    let mut code = say(&format!("STARTED-FROM {disk}\r\n"));
    code.extend([0x48, 0xb8, 0x0e, 0, 0, 0, 0, 0, 0, 0x80]); // mov rax, 0x8000_0000_0000_000e
    code.push(0xc3); // ret
    crate::efi_app::build(&code)
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

/// A flat image like [`echo_image`]'s that counts periodic interrupts: of the real-time clock at 64 Hz, and of the PIT at 100 Hz
/// (its divisor is 11932). It says `>`, then answers each `c` with a space and a count in eight hexadecimal digits for the first, the
/// same for the second, and an end of line. After `b` it takes no interrupts, until `g`.
pub fn tick_counter_image() -> Vec<u8> {
    let code = [
        0xfa, 0xfc, // cli; cld
        0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e,
        0xd0, // xor ax, ax; mov ds, ax; mov es, ax; mov ss, ax
        0xbc, 0x00, 0x70, // mov sp, 0x7000
        // Interrupts need code that real mode can reach: all of it is copied to 0x8000.
        0xbe, 0x00, 0xff, 0xbf, 0x00, 0x80, 0xb9, 0x78,
        0x00, // mov si, 0xff00; mov di, 0x8000; mov cx, 120
        0x2e, 0xf3, 0xa5, // rep movsw es:[di], cs:[si]
        0xea, 0x1e, 0x80, 0x00, 0x00, // jmp 0:0x801e, the next instruction
        0xc7, 0x06, 0x20, 0x00, 0xb9, 0x80, // vector 8 is `pit`
        0xc7, 0x06, 0xc0, 0x01, 0xa3, 0x80, // vector 0x70 is `rtc`
        // IA32_APIC_BASE without EN: the local APIC is not in the way of the 8259s.
        0xb1, 0x1b, 0x0f, 0x32, 0x80, 0xe4, 0xf7, 0x0f, 0x30, // mov cl, 0x1b; rdmsr; and ah, 0xf7; wrmsr
        0xbe, 0xc5, 0x80, 0xb9, 0x12, 0x00, 0x31, 0xd2, // mov si, table; mov cx, 18; xor dx, dx
        0xad, 0x88, 0xc2, 0x88, 0xe0, 0xee, 0xe2,
        0xf8, // next: lodsw; mov dl, al; mov al, ah; out dx, al; loop next
        0xe4, 0x71, // in al, 0x71: register C
        0xb0, b'>', 0xe8, 0x54, 0x00, // mov al, '>'; call put
        0xfb, // sti
        0x9c, 0x58, 0xf6, 0xc4, 0x02, // turn: pushf; pop ax; test ah, 2 (IF)
        0x74, 0x01, 0xf4, // jz poll; hlt
        0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, // poll: mov dx, 0x3fd (LSR); in al, dx; test al, 1
        0x74, 0xf0, // jz turn
        0xb2, 0xf8, 0xec, // mov dl, 0xf8; in al, dx
        0x3c, b'b', 0x74, 0x1b, 0x3c, b'g', 0x74, 0x1a, // cmp al, 'b'; je off; cmp al, 'g'; je on
        0x66, 0x8b, 0x1e, 0x00, 0x05, 0xe8, 0x15, 0x00, // mov ebx, [0x500]; call number
        0x66, 0x8b, 0x1e, 0x04, 0x05, 0xe8, 0x0d, 0x00, // mov ebx, [0x504]; call number
        0xb0, b'\n', 0xe8, 0x23, 0x00, 0xeb, 0xce, // mov al, '\n'; call put; jmp turn
        0xfa, 0xeb, 0xcb, // off: cli; jmp turn
        0xfb, 0xeb, 0xc8, // on: sti; jmp turn
        0xb0, b' ', 0xe8, 0x16, 0x00, 0xb9, 0x08, 0x00, // number: mov al, ' '; call put; mov cx, 8
        0x66, 0xc1, 0xc3, 0x04, 0x88, 0xd8, 0x24, 0x0f, // digit: rol ebx, 4; mov al, bl; and al, 15
        0x3c, 0x0a, 0x1c, 0x69, 0x2f, // cmp al, 10; sbb al, 0x69; das
        0xe8, 0x03, 0x00, 0xe2, 0xee, 0xc3, // call put; loop digit; ret
        0xba, 0xf8, 0x03, 0xee, 0xc3, // put: mov dx, 0x3f8; out dx, al; ret
        0x50, 0xb0, 0x0c, 0xe6, 0x70, 0xe4, 0x71, // rtc: push ax; register C
        0xa8, 0x40, 0x74, 0x05, 0x66, 0xff, 0x06, 0x00,
        0x05, // test al, 0x40; jz none; inc dword [0x500]
        0xb0, 0x20, 0xe6, 0xa0, 0xeb, 0x08, // none: mov al, 0x20; out 0xa0, al; jmp eoi
        0x50, 0x66, 0xff, 0x06, 0x04, 0x05, 0xb0, 0x20, // pit: push ax; inc dword [0x504]; mov al, 0x20
        0xe6, 0x20, 0x58, 0xcf, // eoi: out 0x20, al; pop ax; iret
        // table: ports and what is written there. The interrupt controllers, of which inputs 0 and 8 are open;
        0x20, 0x11, 0x21, 0x08, 0x21, 0x04, 0x21, 0x01, 0xa0, 0x11, 0xa1, 0x70, 0xa1, 0x02, 0xa1, 0x01, 0x21,
        0xfa, 0xa1, 0xfe, 0x43, 0x34, 0x40, 0x9c, 0x40,
        0x2e, // the PIT's counter 0, as a rate generator;
        0x70, 0x0a, 0x71, 0x2a, 0x70, 0x0b, 0x71, 0x42, 0x70,
        0x0c, // the clock's registers A, B, and C for reading.
    ];
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
