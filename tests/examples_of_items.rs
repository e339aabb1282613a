//! Every public item has an example that runs.
//!
//! The items are read from the sources: the functions, types, traits, constants and macros that a crate exports, the
//! methods of its types, those that traits declare, and what the macros of this project make of a line of their own
//! (`name / try_name` and the settings of losses and optimizers). Left out are `try_` twins, which the example of the
//! other form serves, the methods of an `impl` of a trait, what is `#[doc(hidden)]`, fields and variants.
//!
//! An item is served by an example that runs, of its crate, of the README or of a guide: by one in its own documentation,
//! or by one that names it in its code. To name a method is enough for those of tensors and of types that macros define;
//! for one of another type, the example also names the type, or stands in the type's file.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates, by the folder of their sources.
const CRATES: [&str; 4] = ["tensor/src", "autograd/src", "nn/src", "optim/src"];

/// What stands before the name of an item that a crate exports as it is.
const KEYWORDS: [&str; 8] = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod"];

/// The kinds of settings of optimizers.
const SETTINGS: [&str; 7] =
    ["non_negative = ", "positive = ", "finite = ", "fraction = ", "count = ", "flag = ", "betas = "];

struct File {
    path: PathBuf,
    text: String,
}

struct Item {
    name: String,
    /// The type that an example has to name, unless it stands in this file.
    owner: Option<String>,
    file: PathBuf,
    /// The line that defines it, counted from 0.
    line: usize,
}

/// The words in the code of an example.
struct Example {
    file: PathBuf,
    /// The line of the item that it documents.
    line: usize,
    words: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder that end so, without their unit tests. The kernels are private.
fn files(folder: &str, end: &str) -> Vec<File> {
    let (mut found, mut folders) = (Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                let text = fs::read_to_string(&path).expect("a text file");
                let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default().to_string();
                let private = path.components().any(|part| part.as_os_str() == "kernels") && !path.ends_with("simd.rs");
                found.extend((!private).then_some(File { path, text }));
            }
        }
    }
    found
}

/// The names and numbers of a piece of code. What a macro puts in keeps its `$`.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$')).filter(|word| !word.is_empty())
}

/// The name that stands after `pub` and a keyword, at the start of a line.
fn exported(line: &str) -> Option<&str> {
    let mut words = words(line.strip_prefix("pub ")?);
    let keyword = words.find(|word| !["unsafe", "async"].contains(word))?;
    let name = words.next()?;
    match (keyword, name) {
        ("const", "fn") => words.next(),
        ("mod", _) => None,
        _ => KEYWORDS.contains(&keyword).then_some(name),
    }
}

/// What `pub use` lists in a text, and the items of the modules that it makes public.
fn exports(file: &File, all: &[File], names: &mut BTreeSet<String>) {
    let hidden = |at: usize| file.text[..at].trim_end().ends_with("#[doc(hidden)]");
    for (at, _) in file.text.match_indices("\npub use ").filter(|&(at, _)| !hidden(at)) {
        let list = file.text[at + 9..].split(';').next().unwrap_or_default();
        let last = |path: &str| path.rsplit("::").next().unwrap_or_default().trim().to_string();
        match list.split_once('{') {
            Some((_, inner)) => names.extend(inner.trim_end_matches('}').split(',').map(last)),
            None => drop(names.insert(last(list))),
        }
    }
    names.remove("");
    let folder = file.path.parent().expect("a file is in a folder");
    let declared = file.text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let modules = declared.map(|module| [folder.join(format!("{module}.rs")), folder.join(module).join("mod.rs")]);
    let mut files: Vec<&File> = all.iter().filter(|f| modules.clone().any(|places| places.contains(&f.path))).collect();
    // One is public by `pub use`.
    files.extend(all.iter().filter(|f| f.path.ends_with("simd.rs") && names.remove("simd")));
    for module in files {
        names.extend(module.text.lines().filter_map(exported).map(str::to_string));
        exports(module, all, names);
    }
}

/// The type of an `impl` block, unless it is the impl of a trait.
fn owner(header: &str) -> Option<&str> {
    let mut rest = header.trim_start().strip_prefix("impl")?.trim_start();
    if let Some(generics) = rest.strip_prefix(['<', '[']) {
        let mut open = 1;
        let end = generics.char_indices().find(|(_, c)| {
            open += i32::from("<[".contains(*c)) - i32::from(">]".contains(*c));
            open == 0
        })?;
        rest = &generics[end.0 + 1..];
    }
    if rest.contains(" for ") {
        return None;
    }
    rest.split(['<', '{', '=']).next()?.trim().rsplit("::").next()
}

/// What a macro makes of a line: a setting of an optimizer, one of a loss, methods that have twins.
fn made_by_macros(line: &str) -> Vec<&str> {
    let first = words(line).next().unwrap_or_default();
    let rest = line.strip_prefix(first).unwrap_or_default();
    let of_optimizer = rest.strip_prefix(": ").is_some_and(|rest| SETTINGS.iter().any(|kind| rest.starts_with(kind)));
    let of_loss = rest.starts_with('(') && rest.contains(" => ") && rest.contains(" = ") && rest.ends_with(';');
    let twins = line.match_indices(" / try_").filter_map(|(at, twin)| {
        let name = words(&line[..at]).last()?;
        (words(&line[at + twin.len()..]).next() == Some(name)).then_some(name)
    });
    (of_optimizer || of_loss).then_some(first).into_iter().chain(twins).collect()
}

/// The items of a crate.
fn items(all: &[File], names: &BTreeSet<String>) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for file in all {
        let mut add = |line: usize, name: &str, owner: Option<&str>| {
            items.push(Item { name: name.into(), owner: owner.map(str::to_string), file: file.path.clone(), line });
        };
        let (mut block, mut in_trait, mut hidden, mut exports) = (None, None, false, false);
        for (number, line) in file.text.lines().enumerate() {
            let start = line.trim_start();
            if start.starts_with("//") {
                continue;
            }
            if start.starts_with("#[") || start.is_empty() {
                hidden |= start == "#[doc(hidden)]";
                exports |= start == "#[macro_export]";
                continue;
            }
            let (hidden, exported_macro) = (std::mem::take(&mut hidden), std::mem::take(&mut exports));
            if start.starts_with("impl") {
                block = owner(start);
            }
            if line.starts_with('}') {
                in_trait = None;
            }
            if let Some(name) = exported(line).filter(|&name| !hidden && names.contains(name)) {
                add(number, name, None);
                in_trait = line.contains("trait ").then_some(name);
                continue;
            }
            if let Some(name) = start.strip_prefix("macro_rules! ").filter(|_| exported_macro && !hidden) {
                add(number, name.trim_end_matches(" {"), None);
            }
            made_by_macros(start).into_iter().for_each(|name| add(number, name, None));
            let method = start.strip_prefix("pub ").filter(|_| line != start).and_then(|_| exported(start));
            if let (Some(name), Some(owner)) = (method, block) {
                let tensor = ["Tensor", "AnyTensor", "Int", "Bool"].contains(&owner);
                let made = owner.starts_with('$') || owner.is_empty();
                if !hidden && !name.starts_with('$') && (tensor || made || names.contains(owner)) {
                    add(number, name, (!tensor && !made).then_some(owner));
                }
            }
            if let (Some(owner), Some(rest)) = (in_trait, line.strip_prefix("    fn ")) {
                add(number, words(rest).next().unwrap_or_default(), Some(owner));
            }
        }
    }
    let all: BTreeSet<String> = items.iter().map(|item| item.name.clone()).collect();
    // The other names are those of types that macros define.
    items.extend(names.difference(&all).map(|name| Item {
        name: name.clone(),
        owner: None,
        file: PathBuf::new(),
        line: 0,
    }));
    items.retain(|item| !item.name.strip_prefix("try_").is_some_and(|name| all.contains(name)));
    items
}

/// The examples that run in the comments of a source file, or in a page.
fn examples(file: &File) -> Vec<Example> {
    let page = file.path.extension().is_some_and(|e| e == "md");
    let (mut found, mut code, mut runs) = (Vec::<Example>::new(), None::<String>, false);
    let mut told = 0;
    for (number, line) in file.text.lines().enumerate() {
        let start = line.trim_start();
        let text = match start.strip_prefix("///").or_else(|| start.strip_prefix("//!")) {
            _ if page => line.to_string(),
            Some(text) => text.trim_start().to_string(),
            // What a macro splices into an example.
            None if start.starts_with("#[doc = concat!(") => {
                start[16..].replace(['"', '!', ' '], "").replace(",stringify(", "").replace(",$", "$")
            }
            None if start.starts_with("#[") => continue,
            None => {
                found[told..].iter_mut().for_each(|example| example.line = number);
                (told, code) = (found.len(), None);
                continue;
            }
        };
        if let Some(tags) = text.trim_start().strip_prefix("```") {
            match code.take() {
                Some(code) if runs => {
                    let file = file.path.clone();
                    found.push(Example { file, line: 0, words: words(&code).map(str::to_string).collect() });
                }
                Some(_) => (),
                None => {
                    runs = tags.split(',').all(|tag| ["", "rust", "should_panic"].contains(&tag.trim()));
                    code = Some(String::new());
                }
            }
        } else if let Some(code) = &mut code {
            code.push_str(text.split("//").next().unwrap_or_default());
            code.push('\n');
        }
    }
    found
}

fn serves(example: &Example, item: &Item) -> bool {
    let own = example.line == item.line && example.file == item.file;
    let near = item.owner.as_ref().is_none_or(|owner| example.file == item.file || example.words.contains(owner));
    // What a macro writes for each of its items.
    let spliced = |word: &String| match word.as_str() {
        "$name" => example.file == item.file,
        "$keepdim" => item.name.ends_with("_keepdim"),
        "$Rule" => item.name.ends_with("Rule"),
        _ => false,
    };
    own || near && (example.words.contains(&item.name) || example.words.iter().any(spliced))
}

/// The items of each crate, with the examples that may serve them.
fn crates() -> Vec<(Vec<Item>, Vec<Example>)> {
    let mut pages = files("docs/guide", ".md");
    let readme = root().join("README.md");
    pages.push(File { text: fs::read_to_string(&readme).expect("a text file"), path: readme });
    let of_crate = |folder: &&str| {
        let all = files(folder, ".rs");
        let mut names = BTreeSet::new();
        exports(all.iter().find(|f| f.path.ends_with("lib.rs")).expect("a crate"), &all, &mut names);
        (items(&all, &names), all.iter().chain(&pages).flat_map(examples).collect())
    };
    CRATES.iter().map(of_crate).collect()
}

#[test]
fn every_public_item_has_an_example() {
    let mut missing = Vec::new();
    for (items, examples) in crates() {
        for item in items.iter().filter(|item| !examples.iter().any(|example| serves(example, item))) {
            let file = item.file.strip_prefix(root()).unwrap_or(&item.file).display();
            let owner = item.owner.as_ref().map(|owner| format!("{owner}::")).unwrap_or_default();
            missing.push(format!("{owner}{} in {file}", item.name));
        }
    }
    assert!(missing.is_empty(), "{} items without an example:\n{}", missing.len(), missing.join("\n"));
}

#[test]
fn items_are_found_however_they_are_defined() {
    let all: Vec<Item> = crates().into_iter().flat_map(|(items, _)| items).collect();
    assert!(all.len() > 1000, "only {} items", all.len());
    // By hand, by macros, in public modules, by traits, as settings and as macros.
    for name in [
        "einsum",
        "relu",
        "matmul",
        "sum_keepdim",
        "argmax",
        "cross_entropy_with",
        "label_smoothing",
        "nesterov",
        "tensor",
        "attrs",
        "ReLU",
        "Conv2d",
        "AdamWRule",
        "Layout",
        "Isa",
        "save_npz",
        "backward",
        "named_buffers",
        "no_grad",
        "isfinite",
        "ConvOptions",
    ] {
        assert!(all.iter().any(|item| item.name == name), "`{name}` is not found");
    }
    for name in ["try_relu", "from_nested", "fmt", "Named"] {
        assert!(!all.iter().any(|item| item.name == name), "`{name}` is no item that needs an example of its own");
    }
}
