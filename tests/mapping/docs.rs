//! `docs/mappings.md` against the mappings and the language as they are.

use std::fmt::Write as _;

use counterfoil::event::mapping::keys;

use super::*;

fn page() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/mappings.md")).unwrap()
}

/// What stands between two marks of the page.
fn section(page: &str, name: &str) -> String {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let rest = page.split_once(&begin).unwrap_or_else(|| panic!("the page has no {name}")).1;
    rest.split_once(&end).unwrap().0.to_owned()
}

fn builtins() -> String {
    let mut table =
        "| name | reads | source | events of the catalogue | otherwise |\n|---|---|---|---|---|\n"
            .to_owned();
    for member in builtin(ALL).members() {
        let types = match member.types.as_slice() {
            [] => "none".to_owned(),
            types => types.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
        };
        let _ = writeln!(
            table,
            "| `{}` | {} | `{}` | {types} | `{}` |",
            member.name, member.title, member.source, member.custom
        );
    }
    table
}

fn language() -> String {
    let mut table = String::new();
    let mut last = "";
    for key in keys() {
        if key.table != last {
            last = key.table;
            let gap = if table.is_empty() { "" } else { "\n" };
            let _ = write!(table, "{gap}**{last}**\n\n| key | meaning |\n|---|---|\n");
        }
        let _ = writeln!(table, "| `{}` | {} |", key.name, key.about);
    }
    table
}

#[test]
fn the_page_lists_the_mappings_and_the_language_as_they_are() {
    let page = page();
    assert_eq!(
        section(&page, "built-in mappings"),
        builtins(),
        "docs/mappings.md must read:\n{}",
        builtins()
    );
    assert_eq!(section(&page, "keys"), language(), "docs/mappings.md must read:\n{}", language());
}

/// The keys that a table takes, as the reader itself lists them when it meets an unknown one.
fn taken(toml: &str) -> Vec<String> {
    let error = Mapping::parse(toml).unwrap_err().to_string();
    let list = error.split_once("expected").unwrap_or_else(|| panic!("{error}")).1;
    let mut keys: Vec<_> = list.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    keys.sort();
    keys
}

#[test]
fn the_language_is_what_the_reader_takes() {
    let good = "name='n'\nsource='s'\n[custom]\ntype='x-n'\n";
    let top = |line: &str| format!("name='n'\nsource='s'\n{line}\n[custom]\ntype='x-n'\n");
    for (table, toml) in [
        ("file", top("nonsense=1")),
        ("[[rule]]", format!("{good}[[rule]]\nnonsense=1\n")),
        ("[custom]", format!("{good}nonsense=1\n")),
        ("[pass]", format!("{good}[pass]\nnonsense=1\n")),
        ("condition", top("accept=[{nonsense=1}]")),
        ("trace", top("trace={nonsense=1}")),
    ] {
        let mut told: Vec<_> =
            keys().filter(|key| key.table == table).map(|key| key.name.to_owned()).collect();
        told.sort();
        assert_eq!(taken(&toml), told, "{table}");
    }
}

/// The worked example does what the page says.
#[test]
fn the_worked_example_works() {
    let page = page();
    let block = |kind: &str| {
        let rest = page.split_once(&format!("```{kind}\n")).unwrap_or_else(|| panic!("no {kind}")).1;
        rest.split_once("```").unwrap().0.to_owned()
    };
    let mapping = Mapping::parse(&block("toml")).unwrap();
    let records = block("json");
    let found: Vec<_> = records.lines().map(|line| one(&mapping, line)).collect();
    let types: Vec<_> = found.iter().map(|mapped| mapped.event.type_name.as_str()).collect();
    assert_eq!(types, ["data.accessed", "x-acme.badge", "x-import"]);
    assert_eq!(data(&found[0], "actor_role"), Some("staff"));
    let catalogue = catalogue(&mapping);
    for mapped in found {
        split(&mapped.event, &catalogue).unwrap();
    }
}
