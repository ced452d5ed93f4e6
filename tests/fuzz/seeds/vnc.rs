//! Samples of VNC clients: handshakes of all versions, and sessions with each encoding.

use crate::Outcome;

/// Steps of a script.
const PAINT: &[u8] = &[0xF0, 3, 4, 20, 10, 99];
const RESIZE: &[u8] = &[0xF1, 40, 20];
const BLANK: &[u8] = &[0xF1, 0, 0];
const WAIT: &[u8] = &[0xF2, 0, 9];
const READ: &[u8] = &[0xFF];
const POINT: &[u8] = &[0xF4, 9, 9];

pub(crate) fn samples(put: impl Fn(&str, &[u8]) -> Outcome) -> Outcome {
    for (name, version, choice) in
        [("3.3", "003.003", &b""[..]), ("3.7", "003.007", b"\x01"), ("3.8", "003.008", b"\x01")]
    {
        let begin = format!("RFB {version}\n");
        put(name, &script(0, &[&says(begin.as_bytes()), &says(choice), &says(&[1]), READ]))?;
        let guess = [7; 16];
        let choice = if choice.is_empty() { &b""[..] } else { b"\x02" };
        put(
            &format!("{name}-password"),
            &script(1, &[&says(begin.as_bytes()), &says(choice), &says(&guess), WAIT, READ, WAIT]),
        )?;
    }
    let request = says(&[3, 0, 0, 0, 0, 0, 0, 32, 0, 24]);
    let more = says(&[3, 1, 0, 0, 0, 0, 0, 48, 0, 48]);
    for number in [0_i32, 5, 6, 7, 16] {
        let known = encodings(&[number, -223, -239, -257, -258, -261, -307, -308, -312, -313, -250]);
        put(
            &format!("encoding-{number}"),
            &running(
                0,
                &[
                    &known, &request, READ, PAINT, &more, READ, RESIZE, &more, READ, POINT, &more, READ,
                    BLANK, &more, READ,
                ],
            ),
        )?;
        let narrow = says(&[0, 0, 0, 0, 16, 16, 1, 1, 0, 31, 0, 63, 0, 31, 11, 5, 0, 0, 0, 0]);
        put(
            &format!("encoding-{number}-16"),
            &running(0, &[&narrow, &encodings(&[number]), &request, READ]),
        )?;
        let map = says(&[0, 0, 0, 0, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        put(&format!("encoding-{number}-map"), &running(0, &[&map, &encodings(&[number]), &request, READ]))?;
    }
    let mut keys = Vec::new();
    for (symbol, pressed) in [
        (0xFFE1_u32, 1),
        (0x2F, 1),
        (0x2F, 0),
        (0xFFE1, 0),
        (0xFE03, 1),
        (0x40, 1),
        (0x71, 0),
        (0xFE03, 0),
        (0xFFE3, 1),
        (0xFFEA, 1),
        (0x40, 1),
        (0xFE52, 1),
        (0x5E, 1),
    ] {
        keys.extend(says(&[&[4, pressed, 0, 0][..], &symbol.to_be_bytes()].concat()));
    }
    keys.extend(says(&[255, 0, 0, 1, 0, 0, 0, 0x71, 0, 0, 0, 0x10]));
    keys.extend(says(&[5, 1, 0, 10, 0, 10]));
    for flags in [0, 2, 4, 8, 12] {
        put(&format!("keys-{flags}"), &running(flags, &[&keys, WAIT]))?;
    }
    let others: [&[u8]; 5] = [
        &[6, 0, 0, 0, 0, 0, 0, 5, b'h', b'e', b'l', b'l', b'o'],
        &[150, 1, 0, 0, 0, 0, 0, 32, 0, 24],
        &[248, 0, 0, 0, 128, 0, 0, 1, 4, 1, 2, 3, 4],
        &[251, 0, 3, 32, 2, 88, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 32, 2, 88, 0, 0, 0, 0],
        &[255, 1],
    ];
    let others: Vec<u8> = others.into_iter().flat_map(says).collect();
    put("others", &running(0, &[&encodings(&[7, -312, -313, -308]), &others, READ, PAINT, READ]))
}

/// So many bytes of the client.
fn says(bytes: &[u8]) -> Vec<u8> {
    bytes
        .chunks(0xEF)
        .flat_map(|part| std::iter::once(u8::try_from(part.len()).unwrap_or(0)).chain(part.iter().copied()))
        .collect()
}

fn encodings(numbers: &[i32]) -> Vec<u8> {
    let mut message = vec![2, 0];
    message.extend(u16::try_from(numbers.len()).unwrap_or(0).to_be_bytes());
    numbers.iter().for_each(|number| message.extend(number.to_be_bytes()));
    says(&message)
}

fn script(flags: u8, steps: &[&[u8]]) -> Vec<u8> {
    [&[flags][..], &steps.concat()].concat()
}

/// After the handshake of version 3.8 without a password.
fn running(flags: u8, steps: &[&[u8]]) -> Vec<u8> {
    script(flags, &[&says(b"RFB 003.008\n\x01\x01"), READ, &steps.concat()])
}
