//! The JSON of headers: RFC 8259, read without recursion that a file could make deep, and whole numbers only as `u64`.

use std::fmt::Write;

/// A value.
pub(super) enum Json {
    /// A number that is no whole one of 64 bits, a truth value or null: what no header is read for.
    Other,
    Number(u64),
    Text(String),
    List(Vec<Json>),
    /// Names and values, as they came.
    Object(Vec<(String, Json)>),
}

/// Values nest no deeper than this.
const DEEPEST: usize = 32;

impl Json {
    /// Reads a text that holds one value. An error says what is wrong, and at which byte.
    pub(super) fn read(text: &str) -> Result<Json, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(0)?;
        reader.skip_space();
        if reader.at < text.len() { reader.wrong("more follows the value") } else { Ok(value) }
    }

    /// The value of that name; of the last of several.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        let Json::Object(entries) = self else { return None };
        entries.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Json::Text(text) = self { Some(text) } else { None }
    }

    /// A list of whole numbers.
    pub(super) fn numbers(&self) -> Option<Vec<usize>> {
        let Json::List(list) = self else { return None };
        let number = |value: &Json| if let Json::Number(n) = value { usize::try_from(*n).ok() } else { None };
        list.iter().map(number).collect()
    }
}

/// Writes a text in quotes, with what JSON wants escaped.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..' ' => write!(out, "\\u{:04x}", c as u32).expect("a string takes all"),
            _ => out.push(c),
        }
    }
    out.push('"');
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn wrong<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{what} at byte {} of the header", self.at))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    /// Steps over `token`, if that comes next after space.
    fn accept(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { self.wrong(&format!("there is no `{token}`")) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > DEEPEST {
            return self.wrong("values nest too deep");
        }
        if self.accept("{") {
            let mut entries = Vec::new();
            self.items("}", |reader| {
                let name = reader.string()?;
                reader.expect(":")?;
                entries.push((name, reader.value(depth + 1)?));
                Ok(())
            })?;
            return Ok(Json::Object(entries));
        }
        if self.accept("[") {
            let mut list = Vec::new();
            self.items("]", |reader| {
                list.push(reader.value(depth + 1)?);
                Ok(())
            })?;
            return Ok(Json::List(list));
        }
        if self.rest().starts_with('"') {
            return Ok(Json::Text(self.string()?));
        }
        let word = self.rest();
        let word =
            &word[..word.find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c))).unwrap_or(word.len())];
        // Rust reads some numbers that JSON has not: with letters, a plus, or zeros in front.
        let strange = matches!(word.trim_start_matches('-').as_bytes(), [b'0', b'0'..=b'9', ..] | [b'+', ..]);
        let number = word.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) && !strange;
        let value = match (word, word.parse()) {
            ("true" | "false" | "null", _) => Json::Other,
            (_, Ok(n)) if number => Json::Number(n),
            _ if number && word.parse::<f64>().is_ok() => Json::Other,
            _ => return self.wrong("there is no value"),
        };
        self.at += word.len();
        Ok(value)
    }

    /// Reads items that commas separate, to `end`.
    fn items(&mut self, end: &str, mut item: impl FnMut(&mut Self) -> Result<(), String>) -> Result<(), String> {
        if self.accept(end) {
            return Ok(());
        }
        loop {
            item(self)?;
            if !self.accept(",") {
                return self.expect(end);
            }
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut out = String::new();
        loop {
            let plain = self.rest().find(|c: char| c == '"' || c == '\\' || c < ' ').unwrap_or(self.rest().len());
            out.push_str(&self.rest()[..plain]);
            self.at += plain;
            let escape = match self.rest().as_bytes() {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok(out);
                }
                [b'\\', escape, ..] => *escape,
                _ => return self.wrong("a string does not end"),
            };
            let c = match escape {
                b'"' | b'\\' | b'/' => escape as char,
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    out.push(self.code_point()?);
                    continue;
                }
                _ => return self.wrong("there is no such escape"),
            };
            out.push(c);
            self.at += 2;
        }
    }

    /// The character of `\uXXXX`, or of two of these.
    fn code_point(&mut self) -> Result<char, String> {
        let high = self.unit()?;
        let code = match high {
            0xD800..0xDC00 => match self.unit()? {
                low @ 0xDC00..0xE000 => 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00),
                _ => return self.wrong("half a character"),
            },
            _ => high,
        };
        char::from_u32(code).map_or_else(|| self.wrong("half a character"), Ok)
    }

    fn unit(&mut self) -> Result<u32, String> {
        let digits = self.rest().strip_prefix("\\u").and_then(|rest| rest.get(..4));
        let Some(digits) = digits.filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit())) else {
            return self.wrong("there are no four digits");
        };
        self.at += 6;
        Ok(u32::from_str_radix(digits, 16).expect("four digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back() {
        for text in ["", "plain", "quote \" and \\ and / ", "lines\n\t\r\u{8}\u{c}\0", "ä 漢 🦀"] {
            let mut quoted = String::new();
            quote(&mut quoted, text);
            assert_eq!(Json::read(&quoted).unwrap().text(), Some(text), "{quoted}");
        }
        let escaped = r#" "\u00e4\/\b\f\n\r\t\"\\\ud83e\udd80" "#;
        assert_eq!(Json::read(escaped).unwrap().text(), Some("ä/\u{8}\u{c}\n\r\t\"\\🦀"));
    }

    #[test]
    fn values_are_read_and_what_is_none_is_refused() {
        let read = Json::read(
            r#"{"a": [1, 0, 20], "b": {"c": "d"}, "e": [-1, 0.5, 1e3, true, false, null, 99999999999999999999]}"#,
        )
        .unwrap();
        assert_eq!(read.get("a").unwrap().numbers(), Some(vec![1, 0, 20]));
        assert_eq!(read.get("b").unwrap().get("c").unwrap().text(), Some("d"));
        assert!(read.get("e").unwrap().numbers().is_none() && read.get("f").is_none());
        let deep = "[".repeat(1000);
        for text in [
            "",
            "{",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "01",
            "+1",
            "nul",
            "inf",
            "nan",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"\\u12\"",
            "\"a\nb\"",
            "1 1",
            "'a'",
            &deep,
        ] {
            assert!(Json::read(text).is_err(), "{text}");
        }
    }
}
