//! Records that nobody would write: mapping ends, keeps every byte, and makes only events the ledger takes.

use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;

fn all() -> &'static (Mapping, Catalogue) {
    static ALL_MAPPINGS: OnceLock<(Mapping, Catalogue)> = OnceLock::new();
    ALL_MAPPINGS.get_or_init(|| {
        let mapping = builtin(ALL);
        let catalogue = catalogue(&mapping);
        (mapping, catalogue)
    })
}

/// Words of the mapping files themselves: keys of paths, and texts of conditions and tables.
fn words() -> &'static Vec<String> {
    static WORDS: OnceLock<Vec<String>> = OnceLock::new();
    WORDS.get_or_init(|| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/catalogue/mappings");
        let mut words: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .flat_map(|entry| {
                let text = fs::read_to_string(entry.unwrap().path()).unwrap();
                let quoted: Vec<String> =
                    text.split('"').skip(1).step_by(2).map(str::to_owned).collect();
                quoted
            })
            .flat_map(|text| {
                let steps = text.split(['.', '[', ']', '=']).map(str::to_owned).collect::<Vec<_>>();
                steps.into_iter().chain([text])
            })
            .filter(|word| !word.is_empty() && word.len() < 40)
            .collect();
        words.sort();
        words.dedup();
        words
    })
}

fn word() -> impl Strategy<Value = String> {
    (0..words().len()).prop_map(|at| words()[at].clone())
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        4 => word().prop_map(serde_json::Value::from),
        1 => any::<i64>().prop_map(serde_json::Value::from),
        1 => any::<bool>().prop_map(serde_json::Value::from),
        1 => ".{0,20}".prop_map(serde_json::Value::from),
        1 => Just(serde_json::Value::Null),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            3 => prop::collection::vec((word(), inner), 0..8)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

/// Every event fits the catalogue, whichever mapping read it, and explaining it says the same.
fn check(bytes: &[u8]) {
    let (mapping, catalogue) = all();
    let mapped = mapping.map_line(bytes);
    let explained = mapping.explain_line(bytes);
    assert_eq!(mapped.len(), explained.len());
    for (result, explained) in mapped.into_iter().zip(explained) {
        assert_eq!(result, explained.result);
        let Ok(mapped) = result else { continue };
        if mapped.class != Class::Passed {
            split(&mapped.event, catalogue).unwrap_or_else(|error| {
                panic!("{}: {error}: {}", mapped.mapping, String::from_utf8_lossy(bytes))
            });
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 600, failure_persistence: None, ..Config::default() })]

    #[test]
    fn any_json_maps_to_an_event_the_ledger_takes(value in json()) {
        check(value.to_string().as_bytes());
    }

    #[test]
    fn records_with_other_values_in_place_map_too(
        case in 0..products::CASES.len(), at in any::<prop::sample::Index>(), value in json(),
    ) {
        let mut record: serde_json::Value = serde_json::from_str(products::CASES[case].0).unwrap();
        let mut pointers = Vec::new();
        collect(&record, String::new(), &mut pointers);
        *record.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = value;
        check(record.to_string().as_bytes());
    }

    #[test]
    fn any_bytes_are_kept_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
        for mapped in all().0.map_line(&bytes).into_iter().flatten() {
            prop_assert!(bytes.is_empty() || contains(&bytes, &mapped.event.raw.unwrap().bytes));
        }
    }

    #[test]
    fn any_text_as_a_mapping_file_is_read_or_refused(text in "\\PC{0,200}") {
        let good = "name='n'\nsource='s'\n[custom]\ntype='x-n'\n";
        let _ = (Mapping::parse(&text), Mapping::parse(&format!("{good}{text}")));
    }
}

fn collect(value: &serde_json::Value, pointer: String, out: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(members) => members.iter().for_each(|(key, member)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            collect(member, format!("{pointer}/{key}"), out);
        }),
        serde_json::Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                collect(item, format!("{pointer}/{at}"), out);
            }
        }
        _ => {}
    }
    out.push(pointer);
}
