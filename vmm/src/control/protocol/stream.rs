//! A stream of bytes taken apart into the JSON values in it, whatever lines and pieces it comes in, as QEMU's JSON lexer and
//! streamer do it ("QMP Protocol Specification", qobject/json-lexer.c): values end where their brackets do, strings may have
//! single quotes, and what is no JSON is told once and skipped up to the next place that a message may begin at. A byte
//! 0xFE or 0xFF brings a reader that lost its way back to the beginning of a message.
//!
//! Only the outlines of values are looked at; whether a value is well-formed inside, its reader finds out.

/// Longest value, in bytes.
pub(crate) const LONGEST: usize = 64 << 10;
/// Brackets that may be open at a time: as many as the reader of the values follows.
const DEEPEST: usize = 100;

/// Bytes that have arrived, and the value that is being put together from them.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    waiting: Vec<u8>,
    /// How many of them are in `value`, or dropped.
    taken: usize,
    value: Vec<u8>,
    state: State,
    /// Braces that are open, less those closed.
    braces: isize,
    /// The same of brackets.
    brackets: isize,
}

/// Something of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The text of a value, with all strings in double quotes.
    Whole(Vec<u8>),
    /// This byte cannot be where it is.
    Stray(u8),
    /// A value has more than [`LONGEST`] bytes.
    TooLong,
    /// A value has more than [`DEEPEST`] brackets in each other.
    TooDeep,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Between tokens.
    #[default]
    Between,
    /// Within a number or a word.
    Word,
    /// Within a string with these quotes.
    Text(u8),
    /// Behind a backslash in such a string.
    Escape(u8),
    /// Something was wrong: to the next structural character or end of a line.
    Recover,
    /// A value was too long: to the end of the line.
    Skip,
}

/// What a byte leads to.
enum Step {
    /// Nothing yet.
    On,
    /// The value is complete with this byte.
    Done,
    /// The value is complete without it.
    DoneBefore,
    /// It is looked at again from the beginning of a message.
    Again,
    Wrong(Message),
}

impl Stream {
    /// Takes in what was received. The caller receives no more while [`Self::is_full`].
    pub(crate) fn give(&mut self, bytes: &[u8]) {
        self.waiting.drain(..self.taken.min(self.waiting.len()));
        self.taken = 0;
        self.waiting.extend_from_slice(bytes);
    }

    /// Whether messages must be taken before more is received.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting.len().saturating_sub(self.taken) > LONGEST
    }

    /// The next message that has arrived whole.
    pub(crate) fn next(&mut self) -> Option<Message> {
        while let Some(&byte) = self.waiting.get(self.taken) {
            let step = self.step(byte);
            if !matches!(step, Step::DoneBefore | Step::Again) {
                self.taken += 1;
            }
            match step {
                Step::On | Step::Again => {}
                Step::Done | Step::DoneBefore => {
                    let value = std::mem::take(&mut self.value);
                    self.begin(State::Between);
                    return Some(Message::Whole(value));
                }
                Step::Wrong(message) => {
                    self.begin(if message == Message::TooLong { State::Skip } else { State::Recover });
                    return Some(message);
                }
            }
        }
        self.waiting.clear();
        self.taken = 0;
        None
    }

    /// Whether [`Self::next`] may have one.
    pub(crate) fn has_more(&self) -> bool {
        self.taken < self.waiting.len()
    }

    /// All that arrived behind the last message.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let rest = self.waiting.get(self.taken..).unwrap_or_default().to_vec();
        *self = Self::default();
        rest
    }

    fn begin(&mut self, state: State) {
        self.value.clear();
        (self.state, self.braces, self.brackets) = (state, 0, 0);
    }

    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::Skip | State::Recover => {
                let control = (byte < b' ' && byte != b'\t') || byte >= 0xfe;
                if control || (self.state == State::Recover && b"{}[]:,".contains(&byte)) {
                    self.begin(State::Between);
                    // A structural character may begin the next message, and so may what is behind the others.
                    return if b"{}[]:,".contains(&byte) { Step::Again } else { Step::On };
                }
                Step::On
            }
            State::Text(quote) => self.text(byte, quote),
            State::Escape(quote) => self.escaped(byte, quote),
            State::Word if is_word(byte) => self.push(byte),
            State::Word => {
                self.state = State::Between;
                if self.is_closed() { Step::DoneBefore } else { self.between(byte) }
            }
            State::Between => self.between(byte),
        }
    }

    fn between(&mut self, byte: u8) -> Step {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => {
                // Between values they mean nothing, and within one only that a token ends.
                return if self.value.is_empty() { Step::On } else { self.push(b' ') };
            }
            b'"' | b'\'' => {
                self.state = State::Text(byte);
                return self.push(b'"');
            }
            b'{' => self.braces += 1,
            b'}' => self.braces -= 1,
            b'[' => self.brackets += 1,
            b']' => self.brackets -= 1,
            b':' | b',' => {}
            _ if is_word(byte) => {
                self.state = State::Word;
                return self.push(byte);
            }
            _ => return Step::Wrong(Message::Stray(byte)),
        }
        if self.braces.saturating_add(self.brackets) > DEEPEST as isize {
            return Step::Wrong(Message::TooDeep);
        }
        match self.push(byte) {
            Step::On if self.is_closed() => Step::Done,
            step => step,
        }
    }

    fn text(&mut self, byte: u8, quote: u8) -> Step {
        match byte {
            b'\\' => {
                self.state = State::Escape(quote);
                Step::On
            }
            _ if byte == quote => {
                self.state = State::Between;
                match self.push(b'"') {
                    Step::On if self.is_closed() => Step::Done,
                    step => step,
                }
            }
            b'"' => self.push_all(b"\\\""),
            0..=0x1f | 0xfe.. => Step::Wrong(Message::Stray(byte)),
            _ => self.push(byte),
        }
    }

    fn escaped(&mut self, byte: u8, quote: u8) -> Step {
        self.state = State::Text(quote);
        match byte {
            b'\'' => self.push(b'\''),
            0..=0x1f | 0xfe.. => Step::Wrong(Message::Stray(byte)),
            _ => self.push_all(&[b'\\', byte]),
        }
    }

    /// Whether no bracket is open, or more were closed than opened: then it is for the reader to complain.
    fn is_closed(&self) -> bool {
        (self.braces <= 0 && self.brackets <= 0) || self.braces < 0 || self.brackets < 0
    }

    fn push(&mut self, byte: u8) -> Step {
        self.push_all(&[byte])
    }

    fn push_all(&mut self, bytes: &[u8]) -> Step {
        if self.value.len() + bytes.len() > LONGEST {
            return Step::Wrong(Message::TooLong);
        }
        self.value.extend_from_slice(bytes);
        Step::On
    }
}

/// Whether a byte can be in a number or a word.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn messages(chunks: &[&[u8]]) -> Vec<Message> {
        let mut stream = Stream::default();
        let mut found = Vec::new();
        for chunk in chunks {
            stream.give(chunk);
            found.extend(std::iter::from_fn(|| stream.next()));
        }
        found
    }

    fn whole(text: &str) -> Message {
        Message::Whole(text.as_bytes().to_vec())
    }

    #[test]
    fn values_end_where_their_brackets_do() {
        assert_eq!(
            messages(&[b"{}{\"a\"", b":[", b"1]}\r\n\n [{}] {"]),
            [whole("{}"), whole("{\"a\":[1]}"), whole("[{}]")]
        );
        assert_eq!(messages(&[b"3 ", b"\"x\" tr", b"ue\n"]), [whole("3"), whole("\"x\""), whole("true")]);
        assert_eq!(messages(&[b"{\n  \"a\": 1\n}"]), [whole("{   \"a\": 1 }")]);
        assert_eq!(messages(&[br#"{"}":"\"{"}"#]), [whole(r#"{"}":"\"{"}"#)]);
    }

    #[test]
    fn single_quotes_are_quotes() {
        assert_eq!(messages(&[br#"{'a':'"\'\"\n'}"#]), [whole(r#"{"a":"\"'\"\n"}"#)]);
        assert_eq!(messages(&[br#"{"a":"\'"}"#]), [whole(r#"{"a":"'"}"#)]);
    }

    #[test]
    fn brackets_that_were_never_opened_end_a_message() {
        assert_eq!(messages(&[b"}{]{}"]), [whole("}"), whole("{]"), whole("{}")]);
    }

    #[test]
    fn a_stray_byte_is_told_of_once_and_the_next_message_counts() {
        assert_eq!(messages(&[b"{\"a\": ;;;\n{}"]), [Message::Stray(b';'), whole("{}")]);
        assert_eq!(messages(&[b"#!x{}"]), [Message::Stray(b'#'), whole("{}")]);
        assert_eq!(messages(&[b"{\"a\n{}"]), [Message::Stray(b'\n'), whole("{}")]);
    }

    #[test]
    fn an_impossible_byte_begins_anew() {
        assert_eq!(messages(&[b"{\"a\": [[[", b"\xff{}"]), [Message::Stray(0xff), whole("{}")]);
        assert_eq!(messages(&[b"{\"a\": \"x", b"\xff{}"]), [Message::Stray(0xff), whole("{}")]);
        assert_eq!(messages(&[b"{\"a\": \"x\\", b"\xfe{}"]), [Message::Stray(0xfe), whole("{}")]);
    }

    #[test]
    fn too_long_and_too_deep_are_told_of_once() {
        let long = vec![b'x'; LONGEST];
        assert_eq!(messages(&[&long, b"\n"]), [Message::Whole(long.clone())]);
        assert_eq!(messages(&[&long, b"x", &long, b"yz\n{}"]), [Message::TooLong, whole("{}")]);
        assert_eq!(messages(&[&[b'['; DEEPEST + 1], b"\xff{}"]), [Message::TooDeep, whole("{}")]);
        let deepest = [&[b'['; DEEPEST][..], &[b']'; DEEPEST]].concat();
        assert_eq!(messages(&[&deepest]), [Message::Whole(deepest.clone())]);
    }

    proptest! {
        #[test]
        fn chunks_make_no_difference(
            text in prop::collection::vec(
                prop_oneof![prop::sample::select(b"{}[]\"'\\:, \n1a".to_vec()), any::<u8>()],
                0..500,
            ),
            cut in prop::collection::vec(1_usize..50, 1..20),
        ) {
            let mut chunks = Vec::new();
            let (mut rest, mut sizes) = (text.as_slice(), cut.iter().cycle());
            while !rest.is_empty() {
                let (chunk, more) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                chunks.push(chunk);
                rest = more;
            }
            prop_assert_eq!(messages(&chunks), messages(&[&text]));
        }

        #[test]
        fn whatever_json_is_sent_arrives(values in prop::collection::vec(any::<(String, u64, Vec<bool>)>(), 1..20)) {
            let values: Vec<serde_json::Value> =
                values.into_iter().map(|(text, number, list)| serde_json::json!({ text: [number, list] })).collect();
            let sent: String = values.iter().map(ToString::to_string).collect();
            let arrived: Vec<serde_json::Value> = messages(&[sent.as_bytes()])
                .into_iter()
                .map(|message| match message {
                    Message::Whole(text) => serde_json::from_slice(&text).unwrap(),
                    other => panic!("{other:?}"),
                })
                .collect();
            prop_assert_eq!(arrived, values);
        }
    }
}
