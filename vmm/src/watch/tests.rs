//! The watcher against an oracle that searches every prefix of the text with the `regex` crate.

use proptest::prelude::*;
use regex::bytes::{Regex, RegexBuilder};

use super::*;

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn watch(expected: &[&str], forbidden: &[&str], chunks: &[&[u8]]) -> Verdict {
    let mut watcher = Watcher::new(patterns(expected), patterns(forbidden)).unwrap();
    let observer = watcher.observer();
    for chunk in chunks {
        watcher.feed(chunk);
    }
    observer.verdict()
}

fn pending(next: &str) -> Verdict {
    Verdict::Pending { next: Some(next.into()) }
}

#[test]
fn a_prompt_without_a_newline_is_seen_at_once() {
    assert_eq!(watch(&["login: "], &[], &[b"debian log", b"in: "]), Verdict::AllSeen);
    assert_eq!(watch(&[r"\blogin: "], &[], &[b"debian login: "]), Verdict::AllSeen);
    assert_eq!(watch(&["^# "], &[], &[b"x# \r\n", b"# "]), Verdict::AllSeen);
    assert_eq!(watch(&["^# "], &[], &[b"x# \r\nx# "]), pending("^# "));
}

#[test]
fn what_needs_the_next_byte_waits_for_it_or_for_the_end() {
    assert_eq!(watch(&["ok$"], &[], &[b"ok", b"ay\n"]), pending("ok$"));
    assert_eq!(watch(&["ok$"], &[], &[b"ok"]), pending("ok$"));
    assert_eq!(watch(&["ok$"], &[], &[b"ok", b"\r\n"]), Verdict::AllSeen);
    let mut watcher = Watcher::new(patterns(&["ok$"]), []).unwrap();
    watcher.feed(b"ok");
    watcher.end();
    assert_eq!(watcher.observer().verdict(), Verdict::AllSeen);
}

#[test]
fn a_pause_is_the_end_of_what_is_expected_only() {
    let mut watcher = Watcher::new(patterns(&["^# $", "^done$"]), patterns(&["do$"])).unwrap();
    let observer = watcher.observer();
    watcher.feed(b"\r\n# ");
    assert_eq!(observer.verdict(), pending("^# $"));
    watcher.pause();
    assert_eq!(observer.verdict(), pending("^done$"));
    watcher.feed(b"x\r\ndo");
    watcher.pause();
    assert_eq!(observer.verdict(), pending("^done$"));
    watcher.feed(b"ne");
    watcher.pause();
    watcher.pause();
    assert_eq!(observer.verdict(), Verdict::AllSeen);
}

#[test]
fn the_expected_come_in_order_and_do_not_overlap() {
    assert_eq!(watch(&["a", "b"], &[], &[b"b", b"a"]), pending("b"));
    assert_eq!(watch(&["a", "b"], &[], &[b"ab"]), Verdict::AllSeen);
    assert_eq!(watch(&["aa", "aa"], &[], &[b"aaa"]), pending("aa"));
    assert_eq!(watch(&["aa", "aa"], &[], &[b"aaaa"]), Verdict::AllSeen);
    assert_eq!(watch(&["a$", r"\n", "b"], &[], &[b"a\nb"]), Verdict::AllSeen);
}

#[test]
fn the_forbidden_win_when_they_come_first_or_together() {
    let failed = |pattern: &str, line: &str| Verdict::Failed { pattern: pattern.into(), line: line.into() };
    assert_eq!(
        watch(&["login"], &["panic"], &[b"x\r\nKernel pan", b"ic - login"]),
        failed("panic", "Kernel panic")
    );
    assert_eq!(watch(&["login"], &["panic"], &[b"login panic"]), Verdict::AllSeen);
    assert_eq!(watch(&["ab"], &["b"], &[b"ab"]), failed("b", "ab"));
    assert_eq!(watch(&[], &["b"], &[b"\x1b[2Jb"]), failed("b", "\u{fffd}[2Jb"));
}

#[test]
fn the_observer_is_told_once_it_is_final() {
    let mut watcher = Watcher::new(patterns(&["a", "b"]), []).unwrap();
    let observer = watcher.observer();
    watcher.feed(b"a");
    assert!(observer.decided().read().is_err());
    watcher.feed(b"b");
    assert_eq!(observer.decided().read().unwrap(), 1);
    watcher.feed(b"ab");
    assert!(observer.decided().read().is_err());
}

#[test]
fn a_wrong_pattern_is_shown_with_a_caret() {
    let error = "a(b".parse::<Pattern>().unwrap_err().to_string();
    assert!(error.contains("a(b") && error.contains('^') && error.contains("unclosed group"), "{error}");
    assert!("x*".parse::<Pattern>().unwrap_err().to_string().contains("empty text"));
    assert!("[a&&b]".parse::<Pattern>().unwrap_err().to_string().contains("nothing"));
    assert!("(a{1000}){1000}".parse::<Pattern>().unwrap_err().to_string().contains("compiled"));
}

#[test]
fn text_beyond_ascii_is_found_as_bytes() {
    assert_eq!(watch(&["Größe: ."], &[], &["Grö".as_bytes(), "ße: \u{ff}".as_bytes()]), Verdict::AllSeen);
    assert_eq!(watch(&[r"\xff."], &[], &[b"\xff\xfe"]), Verdict::AllSeen);
}

#[test]
fn more_states_than_the_cache_holds_are_no_loss() {
    // The DFA remembers which of the last 300 bytes were an `a`: every step makes a new state.
    let pattern = "a[ab]{300}c";
    let mut watcher = Watcher::new(patterns(&[pattern]), []).unwrap();
    let mut noise = 1_u32;
    for _ in 0..5_000 {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        watcher.feed(if noise >> 31 == 0 { b"a" } else { b"b" });
    }
    assert_eq!(watcher.observer().verdict(), pending(pattern));
    watcher.feed(b"a");
    watcher.feed(&[b'b'; 300]);
    watcher.feed(b"c");
    assert_eq!(watcher.observer().verdict(), Verdict::AllSeen);
}

/// Where the earliest match ends that begins at `from` or later, decided by brute force.
fn earliest_end(pattern: &str, text: &[u8], from: usize) -> Option<usize> {
    let regex = |pattern: &str| -> Regex {
        RegexBuilder::new(pattern).multi_line(true).crlf(true).unicode(false).build().unwrap()
    };
    if !pattern.ends_with('$') {
        let regex = regex(pattern);
        return (from..=text.len()).find(|&end| regex.is_match_at(&text[..end], from));
    }
    // No prefix may be taken for the whole text. Greedy and lazy matches are all the matches there are
    // from one start, for the patterns of the pool.
    let both = [regex(pattern), regex(&format!("(?U){pattern}"))];
    let ends = |start| both.iter().filter_map(move |regex| regex.find_at(text, start));
    (from..=text.len()).flat_map(ends).map(|found| found.end()).min()
}

fn oracle(expected: &[&str], text: &[u8]) -> Option<usize> {
    let mut from = 0;
    for (met, pattern) in expected.iter().enumerate() {
        match earliest_end(pattern, text, from) {
            Some(end) => from = end,
            None => return Some(met),
        }
    }
    None
}

const POOL: [&str; 9] = ["a", "ab", "a+b", "^b", "b$", "a.*c", "(?:ab|c)a", r"\r\n", "[^a]b$"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]
    #[test]
    fn cutting_the_output_differently_changes_nothing(
        text in prop::collection::vec(prop::sample::select(b"abc\r\n".to_vec()), 0..40),
        cuts in prop::collection::vec(0_usize..8, 0..40),
        expected in prop::collection::vec(prop::sample::select(POOL.to_vec()), 0..4),
        forbidden in prop::collection::vec(prop::sample::select(POOL.to_vec()), 0..3),
    ) {
        let run = |sizes: &mut dyn Iterator<Item = usize>| {
            let mut watcher = Watcher::new(patterns(&expected), patterns(&forbidden)).unwrap();
            let mut rest = text.as_slice();
            for size in sizes {
                let (chunk, after) = rest.split_at(size.min(rest.len()));
                watcher.feed(chunk);
                rest = after;
            }
            watcher.feed(rest);
            watcher.end();
            watcher.observer().verdict()
        };
        let whole = run(&mut std::iter::empty());
        prop_assert_eq!(&run(&mut std::iter::repeat_n(1, text.len())), &whole);
        prop_assert_eq!(&run(&mut cuts.iter().copied()), &whole);
        if forbidden.is_empty() && !expected.is_empty() {
            let next = match oracle(&expected, &text) {
                None => Verdict::AllSeen,
                Some(index) => pending(expected[index]),
            };
            prop_assert_eq!(&whole, &next, "{:?}", text);
        }
    }
}

/// What docs/scripting.md promises of patterns.
#[test]
fn patterns_are_as_documented() {
    for refused in [r"\p{Greek}", "[ä]", "x*"] {
        assert!(refused.parse::<Pattern>().is_err(), "{refused}");
    }
    let seen = |pattern: &str, text: &str| {
        let mut watcher = Watcher::new([pattern.parse().unwrap()], []).unwrap();
        watcher.feed(text.as_bytes());
        watcher.observer().verdict() == Verdict::AllSeen
    };
    assert!(seen("(ä|ö)", "xö") && !seen("(?i)ä", "Ä") && seen("(?i)a", "A") && !seen(r"a\w", "aä"));
    assert!(!seen("a.b", "a\nb") && !seen("a.b", "a\rb") && seen("(?s)a.b", "a\nb"));
    assert!(
        !seen("root#", "\x1b[32mroot\x1b[0m#") && seen(r"root(\x1b\[[0-9;]*m)*#", "\x1b[32mroot\x1b[0m#")
    );
}

/// What is sent comes with the pattern before it, and nothing comes after the end.
#[test]
fn a_conversation_is_answered_step_by_step() {
    let step = |expect: &str, send: &str| Step { expect: expect.parse().unwrap(), send: send.into() };
    let steps = || [step("login: ", "root\n"), step("# ", ""), step("# ", "halt\n")];
    let mut watcher = Watcher::scripted(steps(), []).unwrap();
    let observer = watcher.observer();
    watcher.feed(b"logi");
    assert!(observer.take_answer().is_empty() && observer.answered().read().is_err());
    watcher.feed(b"n: ");
    assert_eq!((observer.take_answer(), observer.answered().read().unwrap()), (b"root\n".to_vec(), 1));
    watcher.feed(b"# ");
    assert!(observer.take_answer().is_empty());
    watcher.feed(b"# # ");
    assert_eq!((observer.take_answer(), observer.verdict()), (b"halt\n".to_vec(), Verdict::AllSeen));
    // All in one piece: both answers, in order.
    let mut watcher = Watcher::scripted(steps(), []).unwrap();
    watcher.feed(b"login: # # ");
    assert_eq!(watcher.observer().take_answer(), b"root\nhalt\n");
    // What is forbidden at the same place comes first.
    let mut watcher = Watcher::scripted(steps(), ["n: ".parse().unwrap()]).unwrap();
    watcher.feed(b"login: ");
    assert!(watcher.observer().take_answer().is_empty());
}
