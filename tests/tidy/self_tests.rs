//! Each rule catches a planted violation, at its line, and lets honest code pass.

use super::source::{Function, Source};
use super::{
    FILE_LINES_MAX, TEST_FILE_LINES_MAX, banned_words, contains_word, dependencies, file_size,
    function_size, header, line_width, machine_traces, orphans, purity, renames,
};

fn lines_of(findings: &[String]) -> Vec<usize> {
    findings.iter().map(|f| f.split(':').nth(1).unwrap().parse().unwrap()).collect()
}

#[test]
fn dependencies_catch_every_spelling() {
    let text = "use crate::log::hash::Hash;\nuse crate::log::{hash, merkle::root};\nfn f() { crate::store::x(); }\n\
                use super::super::prove::Bundle;\nuse super::json::Value;\nmod t { use super::super::*; }\n";
    let found = dependencies(&Source::new("src/event/entry.rs", text));
    assert_eq!(lines_of(&found), [2, 3, 4], "{found:?}");
    assert!(found.iter().any(|f| f.contains("`log::merkle::root`")), "{found:?}");
}

#[test]
fn dependencies_reach_through_inline_modules_and_refuse_strangers() {
    let above =
        Source::new("src/log/hash.rs", "mod tests {\n    use super::super::super::store::Disk;\n}\n");
    assert_eq!(lines_of(&dependencies(&above)), [2]);
    let inside = Source::new("src/log/hash.rs", "mod tests {\n    use super::super::tile::TileId;\n}\n");
    assert!(dependencies(&inside).is_empty());
    assert_eq!(dependencies(&Source::new("src/newcomer/mod.rs", "")).len(), 1);
}

#[test]
fn dependencies_ignore_comments_and_strings() {
    let text = "//! See crate::store::disk.\n/* use crate::http; */\nconst S: &str = \"crate::cli::run\";\n\
                const R: &str = r#\"crate::http \" crate::cli\"#;\nconst Q: char = '\"'; // crate::http::x\n";
    assert_eq!(dependencies(&Source::new("src/log/tile.rs", text)), Vec::<String>::new());
    let after = "fn f<'a>(x: &'a str) -> char { '\\'' }\nfn g() { crate::http::serve(); }\n";
    assert_eq!(lines_of(&dependencies(&Source::new("src/log/tile.rs", after))), [2]);
}

#[test]
fn purity_catches_groups_words_and_spares_tests() {
    let text = "use std::{fmt, fs::File};\nlet t = Instant::now();\nasync fn f() {}\nlet x = std::env::var(y);\n\
                #[cfg(test)]\nmod tests { use std::fs; }\nfn g() { tokio::spawn(z); }\nuse std::io::Read;\n";
    let found = purity(&Source::new("src/prove/trie.rs", text));
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(lines_of(&found).iter().all(|line| [1, 2, 3, 4, 7].contains(line)), "{found:?}");
    assert!(purity(&Source::new("src/store/disk.rs", text)).is_empty());
    assert!(purity(&Source::new("src/prove/tests.rs", text)).is_empty());
}

#[test]
fn sizes_are_counted_to_the_line() {
    let file = |path: &str, lines: usize| file_size(&Source::new(path, &"x\n".repeat(lines))).len();
    assert_eq!(file("src/log/hash.rs", FILE_LINES_MAX), 0);
    assert_eq!(file("src/log/hash.rs", FILE_LINES_MAX + 1), 1);
    assert_eq!(file("src/log/tests.rs", TEST_FILE_LINES_MAX), 0);
    assert_eq!(file("src/log/tests.rs", TEST_FILE_LINES_MAX + 1), 1);
    let function = |body: usize| {
        let text = format!(
            "trait T {{ fn none(&self) -> [u8; 4]; }}\nfn f(\n    x: u8,\n) {{\n{}}}\n",
            "x;\n".repeat(body)
        );
        Source::new("src/log/hash.rs", &text)
    };
    assert_eq!(function(3).functions(), [Function { name: "f".to_owned(), line: 2, lines: 7 }]);
    assert!(function_size(&function(66)).is_empty());
    assert_eq!(lines_of(&function_size(&function(67))), [2]);
}

#[test]
fn line_width_counts_characters_not_bytes() {
    let at =
        |width: usize| line_width(&Source::new("src/log/hash.rs", &format!("\n{}", "é".repeat(width))));
    assert!(at(110).is_empty());
    assert_eq!(lines_of(&at(111)), [2]);
}

#[test]
fn banned_words_are_whole_words_in_any_view() {
    for text in
        ["// TODO", "let x = \"FIXME\";", "// a Placeholder", "// enough for now.", "dbg!(x)", "todo!()"]
    {
        assert_eq!(banned_words(&Source::new("src/log/hash.rs", text)).len(), 1, "{text}");
    }
    for text in ["// xxxx", "let dummy_x = 1;", "// before nowhere", "// TODOS", "sled::todo"] {
        assert!(banned_words(&Source::new("src/log/hash.rs", text)).is_empty(), "{text}");
    }
    assert!(contains_word("a.b", "b") && !contains_word("ab", "b"));
}

#[test]
fn header_must_come_first() {
    assert_eq!(header(&Source::new("src/log/hash.rs", "use x;\n//! late")).len(), 1);
    assert!(header(&Source::new("src/log/hash.rs", "//! Hashes.\n")).is_empty());
}

#[test]
fn renames_are_caught_by_path_not_by_word() {
    let text = "use std::fs::{self, rename};\nfs::rename(a, b);\nrustix::fs::renameat(a, b);\n\
                #[serde(rename = \"x\")]\ncrate::store::durable::rename(a);\nstorage.rename(x);\n";
    assert_eq!(lines_of(&renames(&Source::new("src/index/run.rs", text))), [1, 2, 3]);
    assert!(renames(&Source::new("src/store/durable.rs", text)).is_empty());
}

#[test]
fn machine_traces_are_caught() {
    for text in [concat!("// see /", "root/notes"), concat!("\"https://index.", "crates.io/\"")] {
        assert_eq!(machine_traces(&Source::new("docs/a.md", text)).len(), 1, "{text}");
    }
    assert!(machine_traces(&Source::new("docs/a.md", "see docs/format.md")).is_empty());
}

#[test]
fn orphans_are_caught() {
    let tree = |lib: &str| {
        [
            Source::new("src/lib.rs", lib),
            Source::new("src/log/mod.rs", "mod hash;"),
            Source::new("src/log/hash.rs", ""),
        ]
    };
    assert!(orphans(&tree("pub mod log;")).is_empty());
    assert_eq!(orphans(&tree("// mod log;")), ["src/log/mod.rs:1: no module declares this file"]);
}
