//! Price levels as venues write them, one iterator for all their shapes.
//!
//! Invariants: allocates nothing, panics on no input; an entry of another shape than the style says ends
//! the iteration with an error; numbers are handed on as their text.

use super::error::DecodeErrorKind;
use crate::Side;
use crate::json::{Cursor, JsonError, scalar};

/// How a venue writes one level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LevelStyle {
    /// `[price, qty, …]`; what follows is passed over.
    Pair,
    /// `[action, price, qty]`, where the action `delete` makes the quantity zero.
    Action,
    /// `[side, price, qty]` with the side `buy` or `sell`.
    Sided,
    /// An object with these keys; others are passed over.
    Object {
        /// Key of the price.
        price: &'static [u8],
        /// Key of the quantity.
        qty: &'static [u8],
        /// Key of the side (`bid`, `offer`, `ask`, `buy`, `sell`), where the levels of both are mixed.
        side: Option<&'static [u8]>,
    },
}

/// One level as it stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LevelText<'a> {
    /// Its side, where the level itself says so.
    pub side: Option<Side>,
    /// Price.
    pub price: &'a [u8],
    /// Absolute quantity; 0 deletes the level.
    pub qty: &'a [u8],
}

/// The levels of one list of a frame, in the frame's order.
#[derive(Clone, Debug)]
pub struct Levels<'a> {
    cursor: Cursor<'a>,
    style: LevelStyle,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Inside,
    Over,
}

const BAD: DecodeErrorKind = DecodeErrorKind::BadField("levels");

impl<'a> Levels<'a> {
    /// The levels of a complete JSON value; `None` if that is no array.
    #[must_use]
    pub fn new(raw: &'a [u8], style: LevelStyle) -> Option<Self> {
        let is_array = raw.first() == Some(&b'[');
        is_array.then(|| Self { cursor: Cursor::new(raw), style, state: State::Start })
    }

    /// No level at all.
    #[must_use]
    pub fn none() -> Self {
        Self { cursor: Cursor::new(b""), style: LevelStyle::Pair, state: State::Over }
    }

    fn advance(&mut self) -> Result<Option<LevelText<'a>>, DecodeErrorKind> {
        let more = match self.state {
            State::Start => self.cursor.enter_array()?,
            State::Inside => self.cursor.next_element()?,
            State::Over => false,
        };
        if !more {
            self.state = State::Over;
            return Ok(None);
        }
        self.state = State::Inside;
        let level = match self.style {
            LevelStyle::Pair => self.pair()?,
            LevelStyle::Action => {
                let [action, price, qty] = self.triple()?;
                LevelText { side: None, price, qty: if action == b"delete" { b"0" } else { qty } }
            }
            LevelStyle::Sided => {
                let [side, price, qty] = self.triple()?;
                LevelText { side: Some(side_of(side).ok_or(BAD)?), price, qty }
            }
            LevelStyle::Object { price, qty, side } => self.object(price, qty, side)?,
        };
        Ok(Some(level))
    }

    fn pair(&mut self) -> Result<LevelText<'a>, DecodeErrorKind> {
        if let Some((price, qty)) = self.cursor.plain_pair() {
            return Ok(LevelText { side: None, price, qty });
        }
        if !self.cursor.enter_array()? {
            return Err(BAD);
        }
        let price = scalar(self.cursor.value()?).ok_or(BAD)?;
        if !self.cursor.next_element()? {
            return Err(BAD);
        }
        let qty = scalar(self.cursor.value()?).ok_or(BAD)?;
        self.leave_array()?;
        Ok(LevelText { side: None, price, qty })
    }

    fn triple(&mut self) -> Result<[&'a [u8]; 3], DecodeErrorKind> {
        if !self.cursor.enter_array()? {
            return Err(BAD);
        }
        let mut parts = [&b""[..]; 3];
        for (i, part) in parts.iter_mut().enumerate() {
            if i > 0 && !self.cursor.next_element()? {
                return Err(BAD);
            }
            *part = scalar(self.cursor.value()?).ok_or(BAD)?;
        }
        self.leave_array()?;
        Ok(parts)
    }

    fn leave_array(&mut self) -> Result<(), DecodeErrorKind> {
        while self.cursor.next_element()? {
            self.cursor.value()?;
        }
        Ok(())
    }

    fn object(
        &mut self,
        price_key: &[u8],
        qty_key: &[u8],
        side_key: Option<&[u8]>,
    ) -> Result<LevelText<'a>, DecodeErrorKind> {
        let (mut price, mut qty, mut side) = (None, None, None);
        self.cursor.object(|key, cursor| {
            let value = cursor.value()?;
            if key == price_key {
                price = scalar(value);
            } else if key == qty_key {
                qty = scalar(value);
            } else if Some(key) == side_key {
                side = scalar(value).and_then(side_of);
            }
            Ok::<(), JsonError>(())
        })?;
        if side_key.is_some() && side.is_none() {
            return Err(BAD);
        }
        Ok(LevelText { side, price: price.ok_or(BAD)?, qty: qty.ok_or(BAD)? })
    }
}

impl<'a> Iterator for Levels<'a> {
    type Item = Result<LevelText<'a>, DecodeErrorKind>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance();
        if item.is_err() {
            self.state = State::Over;
        }
        item.transpose()
    }
}

fn side_of(text: &[u8]) -> Option<Side> {
    match text {
        b"bid" | b"buy" => Some(Side::Bid),
        b"ask" | b"offer" | b"sell" => Some(Side::Ask),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Vec<(Option<Side>, String, String)>;

    fn read(raw: &str, style: LevelStyle) -> Result<Read, DecodeErrorKind> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let levels = Levels::new(raw.as_bytes(), style).unwrap();
        levels.map(|l| l.map(|l| (l.side, text(l.price), text(l.qty)))).collect()
    }

    fn level(side: Option<Side>, price: &str, qty: &str) -> (Option<Side>, String, String) {
        (side, price.into(), qty.into())
    }

    const OBJECT: LevelStyle = LevelStyle::Object { price: b"price", qty: b"qty", side: None };
    const MIXED: LevelStyle =
        LevelStyle::Object { price: b"price_level", qty: b"new_quantity", side: Some(b"side") };

    #[test]
    fn every_style_yields_the_texts_of_price_and_quantity() {
        let one = |side| Ok(vec![level(side, "1.50", "2"), level(side, "3", "0")]);
        let table = [
            (LevelStyle::Pair, r#"[["1.50","2"],["3","0","x",[]]]"#, None),
            (LevelStyle::Pair, "[[1.50,2], [ 3 , 0 , null ]]", None),
            (LevelStyle::Action, r#"[["new",1.50,2],["delete",3,7]]"#, None),
            (LevelStyle::Sided, r#"[["sell","1.50","2"],["sell","3","0"]]"#, Some(Side::Ask)),
            (OBJECT, r#"[{"price":1.50,"qty":2},{"z":[1],"qty":0,"price":3}]"#, None),
            (
                MIXED,
                r#"[{"side":"bid","price_level":"1.50","new_quantity":"2"},{"side":"bid","price_level":"3","new_quantity":"0"}]"#,
                Some(Side::Bid),
            ),
        ];
        for (style, raw, side) in table {
            assert_eq!(read(raw, style), one(side), "{raw}");
            assert_eq!(read("[]", style), Ok(vec![]));
        }
        assert_eq!(Levels::none().count(), 0);
    }

    #[test]
    fn a_level_of_another_shape_ends_the_list_with_an_error() {
        let table = [
            (LevelStyle::Pair, r#"[["1"]]"#),
            (LevelStyle::Pair, r#"[["1",null]]"#),
            (LevelStyle::Pair, "[{}]"),
            (LevelStyle::Pair, "[[]]"),
            (LevelStyle::Action, r#"[["new",1]]"#),
            (LevelStyle::Sided, r#"[["left","1","2"]]"#),
            (OBJECT, r#"[{"price":1}]"#),
            (OBJECT, r"[[1,2]]"),
            (MIXED, r#"[{"price_level":"1","new_quantity":"2"}]"#),
            (MIXED, r#"[{"side":"up","price_level":"1","new_quantity":"2"}]"#),
        ];
        for (style, raw) in table {
            let mut levels = Levels::new(raw.as_bytes(), style).unwrap();
            assert!(levels.next().unwrap().is_err(), "{raw}");
            assert!(levels.next().is_none(), "{raw}");
        }
        assert!(Levels::new(b"{}", LevelStyle::Pair).is_none());
    }
}
