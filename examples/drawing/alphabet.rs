//! An alphabet of strokes, so that pictures look the same where no font is installed.

use std::fmt::Write;

use super::short;

/// Height of a capital, in the units of [`outline`].
pub(crate) const CAPITAL: f64 = 20.0;
/// Space between two letters.
pub(crate) const BEARING: f64 = 5.4;
/// The roundest corner.
const ROUND: f64 = 6.5;

pub(crate) fn text_width(text: &str) -> f64 {
    let widths: f64 = text.chars().map(|letter| Glyph::of(letter).width + BEARING).sum();
    (widths - BEARING).max(0.0)
}

/// The strokes of a letter: corners as "x,y" from the lower left, "o" before one that is
/// rounded, "z" to close the stroke, ";" between strokes. The base line is at 0, small
/// letters reach 14, capitals 20, and tails -6.
fn outline(letter: char) -> &'static str {
    match letter {
        ' ' => "",
        '0' => "o0,20 o12,20 o12,0 o0,0 z",
        '1' => "2,15.5 7.5,20 7.5,0",
        '2' => "0.3,14.5 o0.3,20 o11.7,20 o11.7,10.5 0,0 12,0",
        '3' => "0.3,15.8 o0.3,20 o11.5,20 o11.5,10.8 5,10.8;5,10.8 o12,10.8 o12,0 o0,0 0,4.4",
        '4' => "8.5,20 0,5 12,5;9,10.5 9,0",
        '5' => "11,20 1.2,20 0.7,12;0.7,12 o12,12 o12,0 o0,0 0,4",
        '6' => "9,20 o0,10.5 0,6;o0,12 o12,12 o12,0 o0,0 z",
        '7' => "0,20 12,20 4,0",
        '8' => "o0.7,20 o11.3,20 o11.3,10.8 o0.7,10.8 z;o0,10.8 o12,10.8 o12,0 o0,0 z",
        '9' => "3,0 o12,9.5 12,14;o12,8 o0,8 o0,20 o12,20 z",
        'A' => "0,0 7,20 14,0;2.3,6.5 11.7,6.5",
        'B' => "0,10.8 0,20 o11.3,20 o11.3,10.8 0,10.8;0,10.8 o12,10.8 o12,0 0,0 0,10.8",
        'C' => "12,14.5 o12,20 o0,20 o0,0 o12,0 12,5.5",
        'D' => "0,0 0,20 o13,20 o13,0 z",
        'E' => "11,20 0,20 0,0 11,0;0,10.5 9.5,10.5",
        'F' => "11,20 0,20 0,0;0,10 9.5,10",
        'G' => "12,15 o12,20 o0,20 o0,0 o12,0 12,9.5 7,9.5",
        'H' => "0,0 0,20;12.5,0 12.5,20;0,10.5 12.5,10.5",
        'I' => "0,0 0,20",
        'J' => "8,20 o8,0 o0,0 0,4",
        'K' => "0,0 0,20;11.5,20 0,8;4.1,12.3 12,0",
        'L' => "0,20 0,0 10,0",
        'M' => "0,0 0,20 7.5,6 15,20 15,0",
        'N' => "0,0 0,20 12.5,0 12.5,20",
        'O' => "o0,20 o13,20 o13,0 o0,0 z",
        'P' => "0,0 0,20 o12,20 o12,9 0,9",
        'Q' => "o0,20 o13,20 o13,0 o0,0 z;8,5 13.5,-1.5",
        'R' => "0,0 0,20 o12,20 o12,9 0,9;6,9 12,0",
        'S' => "11.5,15.5 o11.5,20 o0.5,20 o0.5,10.6 o12,10.6 o12,0 o0,0 0,4.5",
        'T' => "0,20 13,20;6.5,20 6.5,0",
        'U' => "0,20 o0,0 o12.5,0 12.5,20",
        'V' => "0,20 6.5,0 13,20",
        'W' => "0,20 4.7,0 9.5,17 14.3,0 19,20",
        'X' => "0,0 12,20;0,20 12,0",
        'Y' => "0,20 6.5,9.5 13,20;6.5,9.5 6.5,0",
        'Z' => "0,20 12,20 0,0 12,0",
        'a' => "0.7,11.3 o0.7,14 o10,14 10,0;10,8.2 o0,8.2 o0,0 o10,0 10,4.5",
        'b' => "0,20 0,0;o0,14 o10.5,14 o10.5,0 o0,0 z",
        'c' => "9.7,10.3 o9.7,14 o0,14 o0,0 o9.7,0 9.7,3.7",
        'd' => "10.5,20 10.5,0;o0,14 o10.5,14 o10.5,0 o0,0 z",
        'e' => "0,7.2 10.5,7.2 o10.5,14 o0,14 o0,0 o10,0 10,3.2",
        'f' => "7.5,20 o2.7,20 2.7,0;0,14 7,14",
        'g' => "10.5,14 o10.5,-6 o0.7,-6 0.7,-3.2;o0,14 o10.5,14 o10.5,0 o0,0 z",
        'h' => "0,20 0,0;0,8.5 o0,14 o10,14 10,0",
        'i' => "0,0 0,14;0,18.7 0,19.3",
        'j' => "3.5,14 o3.5,-6 0,-6;3.5,18.7 3.5,19.3",
        'k' => "0,0 0,20;9,14 0,5;3.4,8.4 9.5,0",
        'l' => "0,20 o0,0 3.5,0",
        'm' => "0,14 0,0;0,9 o0,14 o8,14 8,0;8,9 o8,14 o16,14 16,0",
        'n' => "0,14 0,0;0,8.5 o0,14 o10,14 10,0",
        'o' => "o0,14 o10.5,14 o10.5,0 o0,0 z",
        'p' => "0,14 0,-6;o0,14 o10.5,14 o10.5,0 o0,0 z",
        'q' => "10.5,14 10.5,-6;o0,14 o10.5,14 o10.5,0 o0,0 z",
        'r' => "0,14 0,0;0,8 o0,14 6.5,14",
        's' => "9.3,11 o9.3,14 o0.5,14 o0.5,7.3 o10,7.3 o10,0 o0,0 0,3",
        't' => "2.7,18.5 o2.7,0 7.5,0;0,14 7,14",
        'u' => "10,14 10,0;0,14 o0,0 o10,0 10,5.5",
        'v' => "0,14 5.3,0 10.6,14",
        'w' => "0,14 4,0 8,12.5 12,0 16,14",
        'x' => "0,0 9.5,14;0,14 9.5,0",
        'y' => "0,14 5.4,0.5;10.5,14 3,-6",
        'z' => "0,14 9.5,14 0,0 9.5,0",
        '.' => "0.5,0 0.5,0.6",
        ',' => "1.4,0.6 0.2,-3.6",
        ':' => "0.5,1 0.5,1.6;0.5,12 0.5,12.6",
        '-' => "0,8 7,8",
        '/' => "0,-3 8,22",
        '(' => "4.5,22.5 o0,17 o0,1 4.5,-4.5",
        ')' => "0,22.5 o4.5,17 o4.5,1 0,-4.5",
        '%' => "o0,20 o7,20 o7,11.5 o0,11.5 z;o10.5,8.5 o17.5,8.5 o17.5,0 o10.5,0 z;14.5,20 3,0",
        _ => "0,0 0,20 10,20 10,0 z",
    }
}

pub(crate) struct Glyph {
    pub(crate) strokes: Vec<Stroke>,
    pub(crate) width: f64,
}

impl Glyph {
    pub(crate) fn of(letter: char) -> Self {
        let strokes: Vec<Stroke> =
            outline(letter).split(';').filter(|text| !text.is_empty()).map(Stroke::read).collect();
        let width = match letter {
            ' ' => 3.5,
            // Figures are equally wide, so that columns of them line up.
            '0'..='9' => 12.0,
            _ => strokes.iter().flat_map(|stroke| &stroke.corners).map(|corner| corner.at.0).fold(0.0, f64::max),
        };
        Self { strokes, width }
    }
}

pub(crate) struct Corner {
    pub(crate) at: (f64, f64),
    pub(crate) rounded: bool,
}

pub(crate) struct Stroke {
    pub(crate) corners: Vec<Corner>,
    pub(crate) closed: bool,
}

impl Stroke {
    fn read(text: &str) -> Self {
        let mut stroke = Self { corners: Vec::new(), closed: false };
        for word in text.split_whitespace() {
            if word == "z" {
                stroke.closed = true;
                continue;
            }
            let bare = word.trim_start_matches('o');
            if let Some((x, y)) = bare.split_once(',')
                && let (Ok(x), Ok(y)) = (x.parse(), y.parse())
            {
                stroke.corners.push(Corner { at: (x, y), rounded: bare.len() < word.len() });
            }
        }
        stroke
    }

    /// Adds the stroke to an SVG path, `shift` to the right and with its y axis down.
    pub(crate) fn write(&self, path: &mut String, shift: f64) {
        /// How far a cubic's handles reach along the tangents to come closest to a circle.
        const HANDLE: f64 = 0.5523;
        let count = self.corners.len();
        // Where the path has got to: from there, places are the shortest to write.
        let mut pen = None;
        let mut put = |path: &mut String, places: &[(f64, f64)]| {
            let mut letter = match (pen, places.len()) {
                (None, _) => "M",
                (Some(_), 1) => "l",
                (Some(_), _) => "c",
            };
            let from = pen.unwrap_or((0.0, 0.0));
            for &(x, y) in places {
                let (x, y) = (short(x + shift), short(-y));
                let _ = write!(path, "{letter}{} {}", short(x - from.0), short(y - from.1));
                (letter, pen) = (" ", Some((x, y)));
            }
        };
        for (index, corner) in self.corners.iter().enumerate() {
            let inside = self.closed || (index > 0 && index + 1 < count);
            if !(corner.rounded && inside) {
                put(path, &[corner.at]);
                continue;
            }
            let (before, after) = (&self.corners[(index + count - 1) % count], &self.corners[(index + 1) % count]);
            // A side between two rounded corners is shared by both.
            let reach = |other: &Corner| {
                let length = (other.at.0 - corner.at.0).hypot(other.at.1 - corner.at.1);
                let shared = if other.rounded { 0.5 } else { 1.0 };
                (length, length * shared)
            };
            let ((length_in, reach_in), (length_out, reach_out)) = (reach(before), reach(after));
            let radius = ROUND.min(reach_in).min(reach_out);
            let towards = |other: &Corner, length: f64, distance: f64| {
                let part = distance / length;
                (corner.at.0 + (other.at.0 - corner.at.0) * part, corner.at.1 + (other.at.1 - corner.at.1) * part)
            };
            let rest = radius * (1.0 - HANDLE);
            put(path, &[towards(before, length_in, radius)]);
            put(
                path,
                &[
                    towards(before, length_in, rest),
                    towards(after, length_out, rest),
                    towards(after, length_out, radius),
                ],
            );
        }
        if self.closed {
            path.push('Z');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_can_be_drawn() {
        let letters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.,%-():/";
        let mut seen = std::collections::HashMap::new();
        for letter in letters.chars() {
            assert_ne!(outline(letter), outline('?'), "{letter} is missing");
            if let Some(other) = seen.insert(outline(letter), letter) {
                panic!("{letter} looks like {other}");
            }
            let words = outline(letter).split([' ', ';']).filter(|word| *word != "z").count();
            let glyph = Glyph::of(letter);
            let corners = glyph.strokes.iter().flat_map(|stroke| &stroke.corners);
            assert_eq!(corners.clone().count(), words, "{letter} has a corner that is not read");
            for corner in corners {
                assert!((0.0..=glyph.width).contains(&corner.at.0), "{letter}");
                assert!((-6.0..=22.5).contains(&corner.at.1), "{letter}");
            }
        }
        assert_eq!(text_width("11"), text_width("88"));
        assert_eq!(text_width(""), 0.0);
    }

    #[test]
    fn a_round_letter_is_round() {
        let mut path = String::new();
        Stroke::read("o0,10 o10,10 o10,0 o0,0 z").write(&mut path, 1.0);
        // Four quarters of a circle of radius 5 about (6, -5).
        let top = "M1 -5c0 -2.8 2.2 -5 5 -5l0 0c2.8 0 5 2.2 5 5l0 0";
        assert_eq!(path, format!("{top}c0 2.8 -2.2 5 -5 5l0 0c-2.8 0 -5 -2.2 -5 -5Z"));
    }
}
