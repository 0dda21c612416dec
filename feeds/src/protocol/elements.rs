//! The data of frames that carry one object or a list of them, under a key that may come before the keys
//! which say what the objects are.
//!
//! Invariants: the first object, nearly always the only one, is read in the same pass as the frame; the
//! others are checked in that pass and read again only when they are asked for. Nothing allocates.

use super::error::DecodeErrorKind;
use crate::json::{Cursor, JsonError};

/// The raw values of the keys of one object that matter.
pub(crate) trait Element<'a>: Default {
    /// Takes the raw value of a key; unknown keys are passed over.
    fn set(&mut self, key: &[u8], raw: &'a [u8]);
}

/// The objects of a frame.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements<'a, E> {
    first: Option<E>,
    /// Where the second one begins.
    rest: Option<Cursor<'a>>,
}

impl<'a, E: Element<'a>> Elements<'a, E> {
    /// Moves past an object, a list of objects, or anything else, which counts as none.
    pub(crate) fn read(cursor: &mut Cursor<'a>) -> Result<Self, JsonError> {
        let (mut first, mut rest) = (None, None);
        match cursor.peek()? {
            b'{' => first = Some(object(cursor)?),
            b'[' if cursor.enter_array()? => {
                if cursor.peek()? == b'{' {
                    first = Some(object(cursor)?);
                } else {
                    cursor.value()?;
                }
                while cursor.next_element()? {
                    rest = rest.or(Some(*cursor));
                    cursor.value()?;
                }
            }
            b'[' => {}
            _ => drop(cursor.value()?),
        }
        Ok(Self { first, rest })
    }

    /// The first object.
    pub(crate) fn first(&self) -> Option<&E> {
        self.first.as_ref()
    }

    /// Hands every object to `each`, up to the first error.
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(&E) -> Result<(), DecodeErrorKind>,
    ) -> Result<(), DecodeErrorKind> {
        let Some(first) = &self.first else { return Ok(()) };
        each(first)?;
        let Some(mut cursor) = self.rest else { return Ok(()) };
        loop {
            each(&object(&mut cursor)?)?;
            if !cursor.next_element()? {
                return Ok(());
            }
        }
    }
}

fn object<'a, E: Element<'a>>(cursor: &mut Cursor<'a>) -> Result<E, JsonError> {
    let mut element = E::default();
    cursor.object(|key, cursor| {
        element.set(key, cursor.value()?);
        Ok::<(), JsonError>(())
    })?;
    Ok(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Number<'a>(Option<&'a [u8]>);

    impl<'a> Element<'a> for Number<'a> {
        fn set(&mut self, key: &[u8], raw: &'a [u8]) {
            if key == b"n" {
                self.0 = Some(raw);
            }
        }
    }

    fn read(text: &str) -> Result<(String, u8), DecodeErrorKind> {
        let mut cursor = Cursor::new(text.as_bytes());
        let elements = Elements::<Number<'_>>::read(&mut cursor)?;
        let mut found = String::new();
        elements.for_each(|number| {
            let raw = number.0.ok_or(DecodeErrorKind::MissingField("n"))?;
            found.push_str(std::str::from_utf8(raw).unwrap());
            Ok(())
        })?;
        Ok((found, cursor.peek()?))
    }

    #[test]
    fn one_object_and_lists_of_them_are_read_and_left_behind() {
        let table = [
            (r#"{"n":1,"m":[2]},"#, "1"),
            (r#"[{"n":1}],"#, "1"),
            (r#" [ {"n":1} , {"m":{"n":9},"n":2},{"n":3}] ,"#, "123"),
            ("[],", ""),
            ("7,", ""),
            (r#"["a",{"n":1}],"#, ""),
        ];
        for (text, found) in table {
            assert_eq!(read(text), Ok((found.to_owned(), b',')), "{text}");
        }
    }

    #[test]
    fn a_list_that_breaks_off_or_mixes_kinds_is_an_error() {
        let whole = r#"[{"n":1},{"n":2}],"#;
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Err(DecodeErrorKind::Truncated), "{end}");
        }
        assert_eq!(read(r#"[{"n":1},7],"#), Err(DecodeErrorKind::Malformed));
        assert_eq!(read(r#"[{"n":1},{}],"#), Err(DecodeErrorKind::MissingField("n")));
    }
}
