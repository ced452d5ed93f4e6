//! The regular expressions of `--expect` and `--fail-on`, and their search through a stream.
//!
//! A console is a stream: a match may begin in one chunk and end in a later one, and how the bytes were
//! cut into chunks must not change what is found. So the search walks a lazily built DFA byte by byte
//! instead of searching a buffer again and again; nothing of the past is kept but the DFA's state.
//!
//! The syntax is that of the `regex` crate with the flags `m`, `R` and `-u`: `^` and `$` stand at the ends
//! of every line, a line ends with `\n`, `\r\n` or `\r`, and classes are those of ASCII, because a console
//! carries bytes of any encoding.

use std::fmt;
use std::str::FromStr;

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, Config, DFA};
use regex_automata::nfa::thompson::{self, NFA, WhichCaptures};
use regex_automata::util::{start, syntax};
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Look;

/// Memory for the states of one DFA. When it is full the states are dropped and made anew.
const CACHE_BYTES: usize = 2 << 20;
/// Largest compiled pattern. One state of its DFA has to fit [`CACHE_MARGIN`].
const NFA_BYTES: usize = 1 << 20;
/// Room that a single new state never exceeds: five bytes for each state of the NFA, and its transitions.
const CACHE_MARGIN: usize = 512 << 10;

/// One compiled regular expression.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    dfa: DFA,
    looks_ahead: bool,
}

/// Why a text is no pattern: the sentence that follows the name of the option. A syntax error shows the
/// pattern with a caret below the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// The pattern as the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a match is certain only when the byte after it is known, as for `ok$`.
    pub(super) fn looks_ahead(&self) -> bool {
        self.looks_ahead
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pattern").field(&self.text).finish()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let flags = syntax::Config::new().unicode(false).utf8(false).multi_line(true).crlf(true);
        let hir = syntax::parse_with(text, &flags).map_err(|error| PatternError(error.to_string()))?;
        match hir.properties().minimum_len() {
            None => return Err(PatternError(format!("`{text}` can match nothing at all"))),
            Some(0) => {
                return Err(PatternError(format!(
                    "`{text}` also matches the empty text, so it would be seen before the guest wrote \
                     anything: write what must appear, such as `x+` instead of `x*`"
                )));
            }
            Some(_) => {}
        }
        let looks_ahead = hir.properties().look_set_suffix_any().iter().any(|look| !only_looks_back(look));
        let too_complex = |why: String| PatternError(format!("`{text}` cannot be compiled: {why}"));
        let nfa_config = NFA::config()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_BYTES))
            .shrink(false);
        let nfa = thompson::Compiler::new()
            .configure(nfa_config)
            .build_from_hir(&hir)
            .map_err(|error| too_complex(error.to_string()))?;
        let dfa = DFA::builder()
            .configure(Config::new().match_kind(MatchKind::All).cache_capacity(CACHE_BYTES))
            .build_from_nfa(nfa)
            .map_err(|error| too_complex(error.to_string()))?;
        Ok(Self { text: text.into(), dfa, looks_ahead })
    }
}

/// Whether an assertion is decided by the bytes before it alone. `StartCRLF` is not: between `\r` and `\n`
/// no line starts.
fn only_looks_back(look: Look) -> bool {
    matches!(look, Look::Start | Look::StartLF)
}

/// A search for one pattern through a stream.
#[derive(Debug)]
pub(super) struct Search {
    cache: Cache,
    /// `None` if the search has to be given up, which no configuration of this module allows.
    state: Option<LazyStateID>,
}

impl Search {
    /// A search that begins after the byte `before`, or at the beginning of the stream.
    pub(super) fn new(pattern: &Pattern, before: Option<u8>) -> Self {
        let mut cache = pattern.dfa.create_cache();
        let start = start::Config::new().anchored(Anchored::No).look_behind(before);
        let state = pattern.dfa.start_state(&mut cache, &start).ok();
        Self { cache, state }
    }

    /// Reads a byte. Returns whether a match ended *before* it.
    pub(super) fn step(&mut self, pattern: &Pattern, byte: u8) -> bool {
        let Some(state) = self.state else { return false };
        self.state = pattern.dfa.next_state(&mut self.cache, state, byte).ok();
        self.state.is_some_and(|state| state.is_match())
    }

    /// Whether a match ends here, taking here for the end of the stream. The search can go on.
    pub(super) fn ends_here(&mut self, pattern: &Pattern) -> bool {
        let Some(state) = self.state else { return false };
        // Making a state may drop all the others when the cache is full, the current one included.
        let end = if self.cache.memory_usage().saturating_add(CACHE_MARGIN) < CACHE_BYTES {
            pattern.dfa.next_eoi_state(&mut self.cache, state)
        } else {
            pattern.dfa.next_eoi_state(&mut self.cache.clone(), state)
        };
        end.is_ok_and(|state| state.is_match())
    }
}
