//! The plays as numbers: one for each kind of character.

use std::io::Read;

use flate2::read::GzDecoder;
use wengert::prelude::*;

/// Ten plays, one after the other; see `data/shakespeare/README.md`.
static PACKED: &[u8] = include_bytes!("../../data/shakespeare/shakespeare.txt.gz");

/// A text, and the kinds of character in it.
pub struct Text {
    /// Sorted; the number of a character is its place.
    alphabet: Vec<char>,
    numbers: Tensor<Int>,
}

impl Text {
    /// Unpacks the plays.
    ///
    /// # Errors
    /// If the embedded file is damaged.
    pub fn load() -> std::io::Result<Text> {
        let mut text = String::new();
        GzDecoder::new(PACKED).read_to_string(&mut text)?;
        Ok(Text::of(&text))
    }

    /// The characters of `text`, numbered.
    fn of(text: &str) -> Text {
        let mut alphabet: Vec<char> = text.chars().collect();
        alphabet.sort_unstable();
        alphabet.dedup();
        let mut known = Text { alphabet, numbers: Int::zeros([0]) };
        let numbers = known.encode(text);
        known.numbers = Tensor::<Int>::from_slice(&numbers, [numbers.len()]);
        known
    }

    /// The number of characters.
    pub fn len(&self) -> usize {
        self.numbers.elements()
    }

    /// The number of kinds of character.
    pub fn vocabulary(&self) -> usize {
        self.alphabet.len()
    }

    /// The numbers of the first characters, this share of all, and those of the rest.
    pub fn split(&self, share: f64) -> (Tensor<Int>, Tensor<Int>) {
        let first = (self.len() as f64 * share) as usize;
        (self.numbers.narrow(0, 0, first), self.numbers.narrow(0, first, self.len() - first))
    }

    /// The numbers of characters, without those that are not in the text.
    pub fn encode(&self, text: &str) -> Vec<i64> {
        text.chars().filter_map(|c| self.alphabet.binary_search(&c).ok()).map(|i| i as i64).collect()
    }

    /// The characters of numbers.
    pub fn decode(&self, numbers: &[i64]) -> String {
        numbers.iter().map(|&n| self.alphabet[n as usize]).collect()
    }
}

/// The pieces of `text` that begin at `starts`, `[batch, context]`, and the same one character later.
pub fn pieces(text: &Tensor<Int>, starts: &Tensor<Int>, context: usize) -> (Tensor<Int>, Tensor<Int>) {
    let places = starts.unsqueeze(1) + Int::arange(0, context as i64 + 1);
    let all = text.index_select(0, &places.flatten(..)).reshape([starts.elements(), context + 1]);
    (all.narrow(1, 0, context), all.narrow(1, 1, context))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plays_are_whole() {
        let text = Text::load().unwrap();
        assert_eq!((text.len(), text.vocabulary()), (1_377_095, 76));
        let (train, validation) = text.split(0.9);
        assert_eq!(train.elements() + validation.elements(), text.len());
        let start = text.decode(&train.narrow(0, 0, 25).to_vec::<i64>());
        assert_eq!(start, "HAMLET, PRINCE OF DENMARK");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let text = Text::of("to be or not to be");
        assert_eq!(text.alphabet.iter().collect::<String>(), " benort");
        assert_eq!(text.decode(&text.encode("note!")), "note");
    }

    #[test]
    fn targets_are_one_character_later() {
        let (x, y) = pieces(&Int::arange(10, 20), &tensor![3, 0], 2);
        assert_eq!(x.to_vec::<i64>(), [13, 14, 10, 11]);
        assert_eq!(y.to_vec::<i64>(), [14, 15, 11, 12]);
    }
}
