//! The embedded digits: 4,000 to train on and 1,000 to test on.

use std::io::Read;

use flate2::read::GzDecoder;

/// Pixels of one digit: 28 rows of 28.
pub const PIXELS: usize = 28 * 28;
/// Kinds of digit.
pub const CLASSES: usize = 10;

/// Digits of each class in the embedded file.
const PER_CLASS: usize = 500;
/// How many of them, the last in file order, are kept for testing.
const TEST_PER_CLASS: usize = 100;
/// Digits in the embedded file.
const COUNT: usize = CLASSES * PER_CLASS;

/// All pixels of every digit, then all labels; see `data/mnist/README.md`.
static PACKED: &[u8] = include_bytes!("../../data/mnist/mnist_5k.bin.gz");

/// A set of handwritten digits with their labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digits {
    /// 784 grey values per digit, row by row: 0 is paper, 255 is ink.
    pub pixels: Vec<u8>,
    /// The class of each digit, 0 to 9.
    pub labels: Vec<u8>,
}

impl Digits {
    /// How many digits there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    fn push(&mut self, pixels: &[u8], label: u8) {
        self.pixels.extend_from_slice(pixels);
        self.labels.push(label);
    }
}

/// Unpacks the embedded digits into a training set of 4,000 and a test set of 1,000.
///
/// The test set is the last 100 digits of each class. Both sets are in file order, which
/// is sorted by class: shuffle the training set before use.
///
/// # Errors
///
/// Says what is wrong if the embedded file is damaged.
pub fn load() -> Result<(Digits, Digits), String> {
    split(&unpack(PACKED)?)
}

fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let expected = COUNT * (PIXELS + 1);
    let mut bytes = Vec::with_capacity(expected + 1);
    // One byte more than expected shows that the file is too long without reading on.
    GzDecoder::new(packed)
        .take(expected as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("embedded digits: cannot decompress them: {error}"))?;
    Ok(bytes)
}

fn split(bytes: &[u8]) -> Result<(Digits, Digits), String> {
    let expected = COUNT * (PIXELS + 1);
    if bytes.len() != expected {
        let size = if bytes.len() > expected { format!("more than {expected}") } else { bytes.len().to_string() };
        return Err(format!(
            "embedded digits: {size} bytes, expected {expected} ({COUNT} digits of {PIXELS} pixels and a label)"
        ));
    }
    let (pixels, labels) = bytes.split_at(COUNT * PIXELS);

    let (mut train, mut test) = (Digits::default(), Digits::default());
    let mut seen = [0; CLASSES];
    for (index, (digit, &label)) in pixels.chunks_exact(PIXELS).zip(labels).enumerate() {
        let Some(seen) = seen.get_mut(usize::from(label)) else {
            return Err(format!("embedded digits: digit {index} has label {label}, expected 0 to {}", CLASSES - 1));
        };
        if *seen < PER_CLASS - TEST_PER_CLASS {
            train.push(digit, label);
        } else {
            test.push(digit, label);
        }
        *seen += 1;
    }
    if let Some((class, count)) = (0..).zip(seen).find(|&(_, count)| count != PER_CLASS) {
        let class: usize = class;
        return Err(format!("embedded digits: {count} of class {class}, expected {PER_CLASS}"));
    }
    Ok((train, test))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(digits: &Digits, class: u8) -> usize {
        digits.labels.iter().filter(|&&label| label == class).count()
    }

    #[test]
    fn splits_400_and_100_per_class() {
        let (train, test) = load().unwrap();
        assert_eq!((train.len(), test.len()), (4000, 1000));
        assert_eq!(train.pixels.len(), 4000 * PIXELS);
        assert_eq!(test.pixels.len(), 1000 * PIXELS);
        for class in 0..10 {
            assert_eq!((count(&train, class), count(&test, class)), (400, 100));
        }
    }

    #[test]
    fn test_set_is_the_last_hundred_of_each_class() {
        let bytes = unpack(PACKED).unwrap();
        let (train, test) = split(&bytes).unwrap();
        let row = |index: usize| &bytes[index * PIXELS..(index + 1) * PIXELS];
        // The file is sorted by class, 500 each: class 3 is rows 1500 to 1999.
        assert_eq!(&train.pixels[1200 * PIXELS..1201 * PIXELS], row(1500));
        assert_eq!(&train.pixels[1599 * PIXELS..1600 * PIXELS], row(1899));
        assert_eq!(&test.pixels[300 * PIXELS..301 * PIXELS], row(1900));
        assert_eq!(&test.pixels[399 * PIXELS..400 * PIXELS], row(1999));
        assert_eq!((train.labels[1200], test.labels[399]), (3, 3));
    }

    #[test]
    fn digits_look_like_digits() {
        let (train, test) = load().unwrap();
        for digit in train.pixels.chunks(PIXELS).chain(test.pixels.chunks(PIXELS)) {
            let ink = digit.iter().filter(|&&pixel| pixel > 127).count();
            assert!((10..400).contains(&ink), "{ink} dark pixels");
            // MNIST digits are centred: their first and last rows are blank.
            assert!(digit[..28].iter().all(|&pixel| pixel == 0));
        }
        // A zero is hollow and a one is not, at the centre of their average.
        let centre = |class: u8| -> u32 {
            let rows = train.pixels.chunks(PIXELS).zip(&train.labels);
            let rows = rows.filter(|&(_, &label)| label == class);
            rows.map(|(digit, _)| u32::from(digit[14 * 28 + 14])).sum()
        };
        assert!(centre(1) > 4 * centre(0));
    }

    #[test]
    fn damage_is_reported() {
        let good = unpack(PACKED).unwrap();
        assert!(split(&good[1..]).unwrap_err().contains("3924999 bytes, expected 3925000"));

        let mut long = good.clone();
        long.push(0);
        assert!(split(&long).unwrap_err().contains("more than 3925000 bytes"));

        let mut label = good.clone();
        label[COUNT * PIXELS + 7] = 10;
        let error = split(&label).unwrap_err();
        assert!(error.contains("digit 7 has label 10, expected 0 to 9"), "{error}");

        let mut uneven = good;
        uneven[COUNT * PIXELS] = 1;
        let error = split(&uneven).unwrap_err();
        assert!(error.contains("499 of class 0, expected 500"), "{error}");

        let error = unpack(&PACKED[..PACKED.len() / 2]).unwrap_err();
        assert!(error.contains("cannot decompress"), "{error}");
        assert!(unpack(b"not gzip").unwrap_err().contains("cannot decompress"));
    }
}
