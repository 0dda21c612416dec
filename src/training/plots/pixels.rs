//! A back end of pixels whose text needs no font of the system.
//!
//! Lines and areas are plotters' bitmap back end; text is an 8 × 8 font, scaled by whole numbers, so
//! that a picture is the same on every host. Characters outside Latin-1 are shown as `?`.

use font8x8::legacy::{BASIC_LEGACY, LATIN_LEGACY};
use plotters::prelude::BitMapBackend;
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind,
    text_anchor::{HPos, VPos},
};

/// Pixels of a glyph's side, unscaled.
const GLYPH: i32 = 8;

/// Size of a font that a glyph stands for without being scaled.
const GLYPH_FONT_SIZE: f64 = 14.0;

/// A picture in memory, three bytes (red, green, blue) a pixel, row by row.
pub(super) struct Pixels<'a> {
    inner: BitMapBackend<'a>,
}

impl<'a> Pixels<'a> {
    /// # Panics
    /// `rgb` has fewer than 3 × width × height bytes.
    pub(super) fn new(rgb: &'a mut [u8], size: (u32, u32)) -> Self {
        Self { inner: BitMapBackend::with_buffer(rgb, size) }
    }
}

type Failure<'a> = DrawingErrorKind<<BitMapBackend<'a> as DrawingBackend>::ErrorType>;

fn glyph(character: char) -> [u8; 8] {
    let code = character as usize;
    let glyph = match code {
        0..0x80 => BASIC_LEGACY[code],
        0xa0..0x100 => LATIN_LEGACY[code - 0xa0],
        // Signs of units and ranges that have a plain form.
        0x3bc => LATIN_LEGACY[0xb5 - 0xa0],
        0x2012..=0x2015 | 0x2212 => BASIC_LEGACY[usize::from(b'-')],
        _ => BASIC_LEGACY[usize::from(b'?')],
    };
    // What has no picture must not vanish.
    if glyph == [0; 8] && !character.is_whitespace() {
        return BASIC_LEGACY[usize::from(b'?')];
    }
    glyph
}

/// Whole pixels per pixel of a glyph.
fn scale(font_size: f64) -> i32 {
    (font_size / GLYPH_FONT_SIZE).round().clamp(1.0, 16.0) as i32
}

/// Width and height of horizontal text.
fn extent(text: &str, scale: i32) -> (i32, i32) {
    (text.chars().count() as i32 * GLYPH * scale, GLYPH * scale)
}

impl<'a> DrawingBackend for Pixels<'a> {
    type ErrorType = <BitMapBackend<'a> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> Result<(), Failure<'a>> {
        self.inner.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), Failure<'a>> {
        self.inner.present()
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Result<(), Failure<'a>> {
        self.inner.draw_pixel(at, color)
    }

    fn draw_line<S: BackendStyle>(
        &mut self,
        from: BackendCoord,
        to: BackendCoord,
        style: &S,
    ) -> Result<(), Failure<'a>> {
        self.inner.draw_line(from, to, style)
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Result<(), Failure<'a>> {
        self.inner.draw_rect(upper_left, bottom_right, style, fill)
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        at: BackendCoord,
    ) -> Result<(), Failure<'a>> {
        let scale = scale(style.size());
        let (width, height) = extent(text, scale);
        let left = match style.anchor().h_pos {
            HPos::Left => 0,
            HPos::Center => -width / 2,
            HPos::Right => -width,
        };
        let top = match style.anchor().v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        for (index, character) in (0..).zip(text.chars()) {
            for (row, bits) in (0..).zip(glyph(character)) {
                for column in (0..GLYPH).filter(|column| bits >> column & 1 == 1) {
                    for dot in 0..scale * scale {
                        let x = left + (index * GLYPH + column) * scale + dot % scale;
                        let y = top + row * scale + dot / scale;
                        let (x, y) = style.transform().transform(x, y);
                        self.inner.draw_pixel((at.0 + x, at.1 + y), style.color())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), Failure<'a>> {
        let (width, height) = extent(text, scale(style.size()));
        Ok((width.unsigned_abs(), height.unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plotters::prelude::{IntoDrawingArea as _, IntoFont as _, IntoTextStyle as _, WHITE};
    use plotters::style::FontTransform;

    /// The text as lines of `#` and spaces, cut to the pixels that are set.
    fn picture(text: &str, turned: bool) -> Vec<String> {
        const SIDE: usize = 64;
        let mut rgb = vec![0; 3 * SIDE * SIDE];
        let area = Pixels::new(&mut rgb, (SIDE as u32, SIDE as u32)).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let mut font = ("sans-serif", 14).into_font();
        if turned {
            font = font.transform(FontTransform::Rotate90);
        }
        area.draw_text(text, &font.into_text_style(&area), (32, 32)).unwrap();
        drop(area);
        let set: Vec<(usize, usize)> = (0..SIDE * SIDE)
            .filter(|pixel| rgb[3 * pixel] == 0)
            .map(|pixel| (pixel % SIDE, pixel / SIDE))
            .collect();
        let (left, top) =
            (set.iter().map(|p| p.0).min().unwrap(), set.iter().map(|p| p.1).min().unwrap());
        let (right, bottom) =
            (set.iter().map(|p| p.0).max().unwrap(), set.iter().map(|p| p.1).max().unwrap());
        let dot = |x, y| if set.contains(&(x, y)) { '#' } else { ' ' };
        (top..=bottom).map(|y| (left..=right).map(|x| dot(x, y)).collect()).collect()
    }

    #[test]
    fn text_is_upright_and_turns_clockwise() {
        let upright = picture("L", false);
        let stem = " ##    ";
        assert_eq!(upright, ["####   ", stem, stem, stem, " ##   #", " ##  ##", "#######"]);
        let turned = picture("L", true);
        let height = upright.len();
        let expected: Vec<String> = (0..upright[0].len())
            .map(|x| (0..height).rev().map(|y| upright[y].as_bytes()[x] as char).collect())
            .collect();
        assert_eq!(turned, expected);
    }

    #[test]
    fn a_character_without_a_picture_is_a_question_mark_and_units_have_theirs() {
        assert_eq!(glyph('漢'), glyph('?'));
        assert_eq!(glyph('\u{7}'), glyph('?'));
        assert_eq!(glyph('−'), glyph('-'));
        assert_ne!(glyph('µ'), glyph('?'));
        assert_eq!(glyph('μ'), glyph('µ'));
        assert_eq!(glyph(' '), [0; 8]);
    }
}
