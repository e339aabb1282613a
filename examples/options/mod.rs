//! The command line of the smaller examples: options with a value each, of which the help text tells the names.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::exit;
use std::str::FromStr;

/// What the command line asks for.
pub(crate) struct Options(BTreeMap<String, String>);

impl Options {
    /// Reads the arguments of the program. Prints `help` and stops for `--help`; says what is wrong and stops with exit
    /// code 2 for an option that `help` does not list at the beginning of a line, or one without a value.
    pub(crate) fn read(help: &str) -> Options {
        match parse(help, std::env::args().skip(1)) {
            Ok(Some(options)) => options,
            Ok(None) => {
                print!("{help}");
                exit(0);
            }
            Err(e) => fail(&e),
        }
    }

    /// The value of an option, or the default. Says what is wrong and stops with exit code 2 if it is no such value.
    pub(crate) fn get<T: FromStr + Display>(&self, name: &str, default: T) -> T {
        match self.0.get(name) {
            None => default,
            Some(value) => {
                value.parse().unwrap_or_else(|_| fail(&format!("{name}: {value:?} makes no sense; {default} would")))
            }
        }
    }
}

fn fail(message: &str) -> ! {
    eprintln!("{message}");
    exit(2);
}

fn parse(help: &str, mut args: impl Iterator<Item = String>) -> Result<Option<Options>, String> {
    let known: Vec<&str> = help
        .lines()
        .filter_map(|line| line.trim_start().split([' ', ',']).next())
        .filter(|w| w.starts_with("--"))
        .collect();
    let mut options = BTreeMap::new();
    while let Some(arg) = args.next() {
        if arg == "--help" || arg == "-h" {
            return Ok(None);
        }
        let (name, value) = match arg.split_once('=') {
            Some((name, value)) => (name.to_string(), Some(value.to_string())),
            None => (arg, None),
        };
        if !known.contains(&name.as_str()) {
            return Err(format!("{name:?}: unknown option; there are {}", known.join(", ")));
        }
        let Some(value) = value.or_else(|| args.next()) else { return Err(format!("{name}: no value")) };
        options.insert(name, value);
    }
    Ok(Some(Options(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_with_their_values() {
        let parse = |line: &str| {
            parse("Usage\n  --epochs N  how many\n  --help  this\n", line.split_whitespace().map(String::from))
        };
        let epochs = |line: &str| parse(line).unwrap().unwrap().get("--epochs", 7);
        assert_eq!([epochs(""), epochs("--epochs 3"), epochs("--epochs=4")], [7, 3, 4]);
        assert!(parse("--epochs 3 -h").unwrap().is_none());
        assert_eq!(parse("--epoch 3").err().unwrap(), "\"--epoch\": unknown option; there are --epochs, --help");
        assert_eq!(parse("--epochs").err().unwrap(), "--epochs: no value");
    }
}
