//! A strict, borrowing, single-pass JSON scanner: it finds values and never builds them.
//!
//! Why not a general parser: the decoder needs the *text* of numbers, wants what was understood
//! before the byte that broke a frame (to repair one instrument instead of all), and must not
//! allocate. Invariants: accepts exactly what RFC 8259 calls JSON (UTF-8 validity aside, text is only
//! compared and never shown), nests at most [`MAX_NESTING`] deep, never panics.

use thiserror::Error;

/// Deepest nesting followed; market data uses four levels.
const MAX_NESTING: u8 = 32;

/// Why a text is not JSON.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum JsonError {
    #[error("the text ends inside a value")]
    Truncated,
    #[error("a byte that JSON does not allow here")]
    Malformed,
    #[error("nested deeper than {MAX_NESTING}")]
    TooDeep,
}

/// A place in a JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The next byte that is not white space, without moving past it.
    pub(crate) fn peek(&mut self) -> Result<u8, JsonError> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(JsonError::Truncated),
            }
        }
    }

    /// Moves past `byte` if it is the next one that is not white space.
    fn eat(&mut self, byte: u8) -> Result<bool, JsonError> {
        let is_next = self.peek()? == byte;
        self.at += usize::from(is_next);
        Ok(is_next)
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte)? { Ok(()) } else { Err(JsonError::Malformed) }
    }

    /// Nothing but white space may be left.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Err(JsonError::Truncated) => Ok(()),
            _ => Err(JsonError::Malformed),
        }
    }

    /// Walks an object; `member` gets each key (escapes unresolved) and must consume its value.
    pub(crate) fn object<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(&'a [u8], &mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.expect(b'{')?;
        if self.eat(b'}')? {
            return Ok(());
        }
        loop {
            self.peek()?;
            let key = self.string()?;
            self.expect(b':')?;
            member(key, self)?;
            if self.eat(b',')? {
                continue;
            }
            return Ok(self.expect(b'}')?);
        }
    }

    /// Moves into the next array; `false` when it is empty (and then past it).
    pub(crate) fn enter_array(&mut self) -> Result<bool, JsonError> {
        self.expect(b'[')?;
        Ok(!self.eat(b']')?)
    }

    /// After an element: `true` when another one follows, `false` when the array is over.
    pub(crate) fn next_element(&mut self) -> Result<bool, JsonError> {
        if self.eat(b',')? {
            return Ok(true);
        }
        self.expect(b']')?;
        Ok(false)
    }

    /// The first two texts of a list of strings without escapes or white space, `["61800.20","2.507"]`: how
    /// venues write a price level, some with more texts after these. `None`, without having moved, for
    /// anything else.
    pub(crate) fn plain_pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let rest = self.text.get(self.at..)?.strip_prefix(br#"[""#)?;
        let (first, rest) = split_at_quote(rest)?;
        let (second, mut rest) = split_at_quote(rest.strip_prefix(br#",""#)?)?;
        while let Some(further) = rest.strip_prefix(br#",""#) {
            (_, rest) = split_at_quote(further)?;
        }
        self.at = self.text.len() - rest.strip_prefix(b"]")?.len();
        Some((first, second))
    }

    /// The raw text of the next value, quotes and brackets included.
    pub(crate) fn value(&mut self) -> Result<&'a [u8], JsonError> {
        self.peek()?;
        let start = self.at;
        self.skip(0)?;
        Ok(&self.text[start..self.at])
    }

    fn skip(&mut self, nesting: u8) -> Result<(), JsonError> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' if nesting == MAX_NESTING => Err(JsonError::TooDeep),
            b'{' => self.object(|_, cursor| cursor.skip(nesting + 1)),
            // Nearly all of a frame's bytes are levels.
            b'[' if self.plain_pair().is_some() => Ok(()),
            b'[' => {
                let mut more = self.enter_array()?;
                while more {
                    self.skip(nesting + 1)?;
                    more = self.next_element()?;
                }
                Ok(())
            }
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    /// The contents of the string that starts here, escapes checked but not resolved.
    fn string(&mut self) -> Result<&'a [u8], JsonError> {
        if self.text.get(self.at) != Some(&b'"') {
            return Err(JsonError::Malformed);
        }
        self.at += 1;
        let start = self.at;
        loop {
            self.at += plain_len(&self.text[self.at..]);
            match self.text.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(&self.text[start..self.at - 1]);
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return Err(JsonError::Malformed),
                None => return Err(JsonError::Truncated),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                for i in 2..6 {
                    match self.text.get(self.at + i) {
                        Some(byte) if byte.is_ascii_hexdigit() => {}
                        Some(_) => return Err(JsonError::Malformed),
                        None => return Err(JsonError::Truncated),
                    }
                }
                self.at += 6;
            }
            Some(_) => return Err(JsonError::Malformed),
            None => return Err(JsonError::Truncated),
        }
        Ok(())
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), JsonError> {
        for &expected in word {
            match self.text.get(self.at) {
                Some(&byte) if byte == expected => self.at += 1,
                Some(_) => return Err(JsonError::Malformed),
                None => return Err(JsonError::Truncated),
            }
        }
        Ok(())
    }

    /// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<(), JsonError> {
        self.at += usize::from(self.text.get(self.at) == Some(&b'-'));
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        match self.text.get(self.at) {
            _ if self.at > start => Ok(()),
            Some(_) => Err(JsonError::Malformed),
            None => Err(JsonError::Truncated),
        }
    }
}

/// What precedes and what follows the quote that ends a string, if nothing before it needs a look.
fn split_at_quote(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = plain_len(text);
    (text.get(end) == Some(&b'"')).then(|| (&text[..end], &text[end + 1..]))
}

/// How many bytes at the start of a string's text are themselves: no quote, backslash or control
/// character. Eight at a time, since most of a frame is inside strings.
fn plain_len(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = ONES << 7;
    // The lowest high bit set marks the first byte below `bound`; those above it may be wrong.
    let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word & HIGH;
    let is_byte = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let mut at = 0;
    while let Some(chunk) = text[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let found = is_byte(word, b'"') | is_byte(word, b'\\') | below(word, 0x20);
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let is_special = |byte: &u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    at + text[at..].iter().position(is_special).unwrap_or(text.len() - at)
}

/// The text of a scalar: what a string says, or the digits of a number.
pub(crate) fn scalar(raw: &[u8]) -> Option<&[u8]> {
    match raw.first()? {
        b'"' => Some(&raw[1..raw.len() - 1]),
        b'-' | b'0'..=b'9' => Some(raw),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_json(text: &[u8]) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(text);
        cursor.value()?;
        cursor.end()
    }

    fn reference(text: &[u8]) -> bool {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok()
    }

    const SAMPLE: &str = r#" {"a":[1,-0.5e+3,{"b":null}],"l":[["1.5","0.0"],["2","3"]],"c\n\u00e9":"x\"y","d":true,"e":{},"f":[ ]} "#;

    #[test]
    fn every_prefix_of_an_object_is_truncated() {
        let whole = SAMPLE.trim().as_bytes();
        assert_eq!(is_json(whole), Ok(()));
        for end in 0..whole.len() {
            assert_eq!(is_json(&whole[..end]), Err(JsonError::Truncated), "{end}");
        }
    }

    #[test]
    fn hostile_nesting_is_refused_before_the_stack_is_spent() {
        let deep = vec![b'['; 1_000_000];
        assert_eq!(is_json(&deep), Err(JsonError::TooDeep));
        let allowed = [vec![b'['; 32], vec![b']'; 32]].concat();
        assert_eq!(is_json(&allowed), Ok(()));
    }

    #[test]
    fn near_misses_agree_with_a_reference_parser() {
        for text in [
            "",
            "{",
            "01",
            "1.",
            "-",
            "1e",
            "+1",
            "tru",
            "truex",
            "\"\\x\"",
            "\"\\u12g4\"",
            "[1,]",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\" 1}",
            "[1 2]",
            "1 1",
            "\"\u{1}\"",
            "nul",
            "[]",
            "0",
            "-0",
            "0.0",
            "1E-9",
            "\"\\ud800\"",
            "{\"\":{}}",
        ] {
            assert_eq!(is_json(text.as_bytes()).is_ok(), reference(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn a_plain_pair_is_taken_whole_or_not_at_all() {
        let mut cursor = Cursor::new(br#"["61800.20","2.507"],["#);
        assert_eq!(cursor.plain_pair(), Some((&b"61800.20"[..], &b"2.507"[..])));
        assert_eq!(cursor.peek(), Ok(b','));
        let mut cursor = Cursor::new(br#"["30247.4","0","","4"]"#);
        assert_eq!(cursor.plain_pair(), Some((&b"30247.4"[..], &b"0"[..])));
        assert_eq!(cursor.end(), Ok(()));
        for other in [
            r#"["1" ,"2"]"#,
            r#"["1\"","2"]"#,
            r#"["1","2","3""#,
            r#"["1","2",3]"#,
            r#"["1","2","\"3"]"#,
            r#"["1","2",]"#,
            r#"["1",2]"#,
            r#"["1"]"#,
            r#"["1","2"#,
            "[\"1\t\",\"2\"]",
            "[]",
            "",
        ] {
            let mut cursor = Cursor::new(other.as_bytes());
            assert_eq!(cursor.plain_pair(), None, "{other}");
            assert_eq!(cursor.at, 0, "{other}");
            assert_eq!(is_json(other.as_bytes()).is_ok(), reference(other.as_bytes()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn eight_bytes_at_a_time_find_what_one_at_a_time_finds(
            text in prop::collection::vec(
                prop_oneof![Just(b'"'), Just(b'\\'), 0u8..0x24, 0x5au8..0x5f, 0x7eu8..0x82, any::<u8>()],
                0..40,
            ),
            plain in 0usize..40,
        ) {
            let text = [vec![b'a'; plain], text].concat();
            let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
            let expected = text.iter().position(is_special).unwrap_or(text.len());
            prop_assert_eq!(plain_len(&text), expected);
        }

        #[test]
        fn mutated_texts_are_accepted_exactly_when_a_reference_parser_accepts_them(
            edits in prop::collection::vec((0usize..120, 0x20u8..0x7f), 0..4),
        ) {
            let mut text = SAMPLE.as_bytes().to_vec();
            for (at, byte) in edits {
                let at = at % text.len();
                text[at] = byte;
            }
            prop_assert_eq!(is_json(&text).is_ok(), reference(&text), "{}", String::from_utf8_lossy(&text));
        }
    }
}
