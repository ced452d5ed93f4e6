//! A client of the control socket. Each line is sent at once, and without its end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::testing::Conversation;

fuzz_target!(|data: &[u8]| {
    let Ok(mut conversation) = Conversation::new() else { return };
    for piece in data.split(|byte| *byte == b'\n') {
        let heard = conversation.say(piece);
        // Of the console nothing is understood, and nothing comes.
        assert!(heard.is_empty() || heard.ends_with(b"\n"));
        for line in heard.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let answer: serde_json::Value = match serde_json::from_slice(line) {
                Ok(answer) => answer,
                Err(error) => panic!("{error}: {}", String::from_utf8_lossy(line)),
            };
            assert!(answer.get("return").is_some() != answer["error"]["desc"].is_string(), "{answer}");
        }
        if conversation.is_console() {
            break;
        }
    }
});
