//! Every message word by word, as in `messages.txt`: a title, the file, a line `---`, the message.
//!
//! `UPDATE_GOLDEN=1 cargo test -p vmm` writes the messages anew, to be read before they are committed.

use std::fmt::Write as _;
use std::path::Path;

use super::parse;

/// One case of `messages.txt`.
struct Case {
    title: String,
    file: String,
    message: String,
}

fn cases(text: &str) -> Vec<Case> {
    text.split("\n=== ")
        .skip(1)
        .map(|block| {
            let (title, rest) = block.split_once('\n').unwrap();
            let (file, message) = rest.split_once("\n---\n").unwrap_or((rest.trim_end_matches('\n'), ""));
            Case { title: title.into(), file: file.into(), message: message.trim_end_matches('\n').into() }
        })
        .collect()
}

#[test]
fn messages_are_as_written() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/messages.txt");
    let text = std::fs::read_to_string(&path).unwrap();
    let cases = cases(&text);
    assert!(cases.len() > 60, "only {} cases", cases.len());
    let mut actual = text.split("\n=== ").next().unwrap().to_owned();
    let mut wrong = Vec::new();
    for case in cases {
        let message = match parse(&case.file) {
            Ok(_) => panic!("{}: the file is right", case.title),
            Err(problems) => problems.to_string(),
        };
        write!(actual, "\n=== {}\n{}\n---\n{message}\n", case.title, case.file).unwrap();
        if message != case.message {
            wrong.push(format!("{}:\nexpected\n{}\nbut got\n{message}\n", case.title, case.message));
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, actual).unwrap();
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
