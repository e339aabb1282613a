//! Pictures as SVG: panels with axes, lines and text, which the examples share.
//!
//! They look the same everywhere: letters are drawn as strokes of the alphabet beside this file.

mod alphabet;

use std::fmt::Write;

use alphabet::{BEARING, CAPITAL, Glyph, text_width};

pub(crate) const INK: &str = "#1d2733";
pub(crate) const MUTED: &str = "#66727f";
pub(crate) const GRID: &str = "#e8ebef";
pub(crate) const AXIS: &str = "#b9c1c9";
pub(crate) const BLUE: &str = "#2b6cb0";
pub(crate) const ORANGE: &str = "#d2691e";

pub(crate) const TITLE: Style = Style::new(15.0, INK, BOLD);
pub(crate) const SUMMARY: Style = Style::new(9.5, MUTED, REGULAR);
pub(crate) const PANEL: Style = Style::new(10.5, INK, BOLD);
pub(crate) const NOTE: Style = Style::new(8.5, MUTED, REGULAR);
pub(crate) const ENTRY: Style = Style::new(8.5, INK, REGULAR);

/// Where a panel is drawn.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}

impl Frame {
    pub(crate) fn new(left: f64, right: f64, top: f64, bottom: f64) -> Self {
        Self { left, right, top, bottom }
    }

    /// The place of `share`, from 0 at the left to 1 at the right.
    pub(crate) fn x(&self, share: f64) -> f64 {
        self.left + (self.right - self.left) * share
    }

    /// The place of `share`, from 0 at the bottom to 1 at the top.
    pub(crate) fn y(&self, share: f64) -> f64 {
        self.bottom + (self.top - self.bottom) * share.clamp(0.0, 1.0)
    }
}

/// The least of 1, 2 and 5 times a power of ten that is not below `least`.
pub(crate) fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    steps.into_iter().find(|&step| step >= least * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// To one decimal, and without "-0".
pub(crate) fn short(value: f64) -> f64 {
    (value * 10.0).round() / 10.0 + 0.0
}

pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", thousands(count))
}

/// A number with a comma before every three digits.
pub(crate) fn thousands(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[derive(Clone, Copy)]
pub(crate) enum Align {
    Left,
    Centre,
    Right,
}

/// Width of a letter's strokes, in the units of [`outline`].
pub(crate) const REGULAR: f64 = 2.5;
pub(crate) const BOLD: f64 = 3.5;

/// How text is set.
#[derive(Clone, Copy)]
pub(crate) struct Style {
    /// Height of a capital.
    pub(crate) size: f64,
    pub(crate) colour: &'static str,
    pub(crate) weight: f64,
}

impl Style {
    pub(crate) const fn new(size: f64, colour: &'static str, weight: f64) -> Self {
        Self { size, colour, weight }
    }
}

/// Colour, width and opacity of a line.
#[derive(Clone, Copy)]
pub(crate) struct Pen(pub(crate) &'static str, pub(crate) f64, pub(crate) f64);

/// An SVG under construction.
pub(crate) struct Canvas {
    pub(crate) svg: String,
}

impl Canvas {
    /// A white card. `title` is for readers who cannot see it; it is not drawn.
    pub(crate) fn new(width: f64, height: f64, title: &str) -> Self {
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" fill=\"none\" \
             stroke-linejoin=\"round\" role=\"img\">\n<title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"10\" fill=\"#fff\"/>\n"
        );
        Self { svg }
    }

    pub(crate) fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }

    /// Draws a line of text on the base line at `place` and returns where it ends.
    pub(crate) fn text(&mut self, place: (f64, f64), style: Style, align: Align, text: &str) -> f64 {
        let ((x, base), scale) = (place, style.size / CAPITAL);
        let width = text_width(text) * scale;
        let start = match align {
            Align::Left => x,
            Align::Centre => x - width / 2.0,
            Align::Right => x - width,
        };
        // The path is in the units of the alphabet, which are short to write.
        let (mut path, mut pen) = (String::new(), 0.0);
        for letter in text.chars() {
            let glyph = Glyph::of(letter);
            for stroke in &glyph.strokes {
                stroke.write(&mut path, pen);
            }
            pen += glyph.width + BEARING;
        }
        let Style { colour, weight, .. } = style;
        if !path.is_empty() {
            let _ = writeln!(
                self.svg,
                "<path transform=\"translate({start:.2} {base:.2})scale({scale})\" \
                 stroke=\"{colour}\" stroke-width=\"{weight}\" \
                 stroke-linecap=\"round\" d=\"{path}\"/>"
            );
        }
        start + width
    }

    /// Joins the places with a line that has gaps where they are missing.
    pub(crate) fn line(&mut self, places: &[Option<(f64, f64)>], pen: Pen) {
        let mut path = String::new();
        for run in places.split(Option::is_none) {
            for (index, &(x, y)) in run.iter().flatten().enumerate() {
                let command = if index == 0 { "M" } else { "L" };
                let _ = write!(path, "{command}{x:.1} {y:.1}");
            }
            if run.len() == 1 {
                // A single place shows as a dot.
                path.push_str("h0");
            }
        }
        let _ = writeln!(
            self.svg,
            "<path stroke=\"{}\" stroke-width=\"{}\" stroke-opacity=\"{}\" \
             stroke-linecap=\"round\" d=\"{path}\"/>",
            pen.0, pen.1, pen.2
        );
    }

    pub(crate) fn dot(&mut self, x: f64, y: f64, colour: &str) {
        let _ = writeln!(
            self.svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.1\" fill=\"#fff\" stroke=\"{colour}\" stroke-width=\"1.8\"/>"
        );
    }

    pub(crate) fn panel_title(&mut self, frame: Frame, title: &str, note: &str) {
        let base = frame.top - 22.0;
        let end = self.text((frame.left, base), PANEL, Align::Left, title);
        self.text((end + 10.0, base), NOTE, Align::Left, note);
    }

    pub(crate) fn rule(&mut self, frame: Frame, y: f64, label: &str) {
        let _ = writeln!(self.svg, "<path stroke=\"{GRID}\" d=\"M{:.1} {y:.1}H{:.1}\"/>", frame.left, frame.right);
        self.text((frame.left - 10.0, y + 4.2), NOTE, Align::Right, label);
    }

    pub(crate) fn axes(&mut self, frame: Frame) {
        let _ = writeln!(
            self.svg,
            "<path stroke=\"{AXIS}\" stroke-width=\"1.2\" d=\"M{:.1} {:.1}V{:.1}H{:.1}\"/>",
            frame.left, frame.top, frame.bottom, frame.right
        );
    }

    pub(crate) fn tick(&mut self, frame: Frame, x: f64, text: &str) {
        let _ =
            writeln!(self.svg, "<path stroke=\"{AXIS}\" stroke-width=\"1.2\" d=\"M{x:.1} {:.1}v5\"/>", frame.bottom);
        self.text((x, frame.bottom + 20.0), NOTE, Align::Centre, text);
    }

    pub(crate) fn axis_title(&mut self, frame: Frame, text: &str) {
        self.text((frame.x(0.5), frame.bottom + 44.0), ENTRY, Align::Centre, text);
    }

    /// Draws an entry that ends at `right`, above the panel, and returns where one to its
    /// left may end.
    pub(crate) fn legend(&mut self, right: f64, frame: Frame, pen: Pen, text: &str) -> f64 {
        let base = frame.top - 22.0;
        let start = right - text_width(text) * ENTRY.size / CAPITAL;
        self.text((start, base), ENTRY, Align::Left, text);
        let y = base - 4.2;
        self.line(&[Some((start - 30.0, y)), Some((start - 9.0, y))], pen);
        start - 50.0
    }
}

/// Fails unless `svg` is well-formed as far as this module can get it wrong, and returns
/// the names of its elements.
#[cfg(test)]
pub(crate) fn elements(svg: &str) -> Vec<String> {
    let (mut open, mut names) = (Vec::new(), Vec::new());
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains(['>', '&']), "{}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        let alone = tag.ends_with('/');
        let mut attributes = attributes.trim_end_matches('/');
        while let Some((key, after)) = attributes.split_once("=\"") {
            let key = key.trim();
            assert!(key.chars().all(|c| c.is_ascii_lowercase() || c == '-' || c == 'B'), "{key}");
            let (value, after) = after.split_once('"').expect("a value ends");
            assert!(!value.contains(['<', '&']), "{value}");
            assert!(!value.contains("NaN") && !value.contains("inf"), "{value}");
            attributes = after;
        }
        assert_eq!(attributes, "", "{tag}");
        names.push(name.to_string());
        if !alone {
            open.push(name.to_string());
        }
    }
    assert_eq!(rest, "\n");
    assert!(open.is_empty(), "{open:?}");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\""));
    // Text needs a font, and these need another file or a style sheet.
    for foreign in ["text", "image", "style", "script", "use"] {
        assert!(!names.iter().any(|name| name == foreign), "{foreign}");
    }
    names
}
