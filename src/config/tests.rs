//! Tests of settings: precedence, refusals, the page.

use super::*;

const FILE: &str = "publish_interval_ms = 500\n[ledgers.main]\norigin = \"a.example/main\"\n";

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Effective, String> {
    let flags: Vec<_> = flags.iter().map(|(name, text)| ((*name).into(), (*text).into())).collect();
    let find = |name: &str| {
        environment.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned())
    };
    Effective::load(file, find, &flags).map_err(|error| error.to_string())
}

#[test]
fn flags_win_over_the_environment_which_wins_over_the_file() {
    let variable = ("COUNTERFOIL_PUBLISH_INTERVAL_MS", "600");
    let flag = ("publish_interval_ms", "700");
    for (environment, flags, value, origin) in [
        (&[][..], &[][..], 500, Origin::File),
        (&[variable], &[], 600, Origin::Environment),
        (&[variable], &[flag], 700, Origin::Flag),
    ] {
        let read = load(FILE, environment, flags).unwrap();
        assert_eq!(read.config.publish_interval_ms, value);
        assert_eq!(read.origin("publish_interval_ms"), origin);
        assert_eq!(read.origin("listen"), Origin::Default);
        let rows = read.rows();
        assert_eq!(rows.len(), SETTINGS.len());
        assert!(rows.iter().any(|row| row.value == Value::Number(value) && row.origin == origin));
    }
}

#[test]
fn every_kind_of_value_is_read_from_file_and_environment() {
    let file = "public_bundles = true\ncors_origins = [\"https://a.example\"]\nanchor_dir = \"/a\"\n";
    let from_file = load(file, &[], &[]).unwrap().config;
    let environment = [
        ("COUNTERFOIL_PUBLIC_BUNDLES", "true"),
        ("COUNTERFOIL_CORS_ORIGINS", " https://a.example, "),
        ("COUNTERFOIL_ANCHOR_DIR", "/a"),
    ];
    assert_eq!(load("", &environment, &[]).unwrap().config, from_file);
    assert_eq!(Config::parse(&from_file.to_toml()), Ok(from_file));
}

#[test]
fn refusals_name_the_setting_and_what_it_may_be() {
    let cases = [
        ("publish_interval_ms = 9", "publish_interval_ms must be a whole number from 10 to 86400000"),
        ("skew_max_ms = 86400001", "skew_max_ms must be a whole number from 0 to 86400000"),
        ("skew_max_ms = -1", "skew_max_ms must be a whole number from 0 to 86400000"),
        ("listen = 7", "listen must be a text"),
        ("public_bundles = \"yes\"", "public_bundles must be true or false"),
        ("cors_origins = [1]", "cors_origins must be a list of texts"),
        ("anchor_dir = \"\"", "anchor_dir must be a path"),
        ("conections_max = 1", "conections_max is not a setting; did you mean connections_max?"),
        ("zzzzzzzzzzzzzzzzz = 1", "zzzzzzzzzzzzzzzzz is not a setting; docs/settings.md"),
        ("tls_cert_file = \"a\"", "tls_cert_file and tls_key_file go together"),
        ("ledgers = 1", "[ledgers.<name>] must hold"),
        ("[ledgers.main]\norigin = \"a\"\nother = 1", "[ledgers.<name>] must hold"),
        ("[ledgers.\"a/b\"]\norigin = \"a\"", "a ledger's name must be 1 to 63 characters"),
        ("a = = b", "line 1"),
        ("listen = \"a\"\nlisten = \"b\"", "line 2"),
    ];
    for (file, said) in cases {
        let refused = load(file, &[], &[]).unwrap_err();
        assert!(refused.contains(said), "{file}: {refused}");
    }
    let refused = load("", &[("COUNTERFOIL_CONNECTIONS_MAX", "many")], &[]).unwrap_err();
    assert!(
        refused.starts_with("COUNTERFOIL_CONNECTIONS_MAX must be a whole number from 1 to"),
        "{refused}"
    );
    assert!(load("", &[], &[("no_such", "1")]).unwrap_err().contains("no_such is not a setting"));
}

#[test]
fn defaults_lie_within_their_bounds_and_are_not_written_down() {
    for setting in SETTINGS {
        let mut config = Config::default();
        let value = setting.default_value();
        assert!(value == Value::Absent || setting.write(&mut config, value), "{}", setting.name);
    }
    let text = Config::with_ledger("main", "a.example/main").to_toml();
    assert_eq!(text, "[ledgers.main]\norigin = \"a.example/main\"\n");
}

#[test]
fn no_setting_holds_a_secret() {
    for setting in SETTINGS {
        let named = |word: &str| setting.name.split('_').any(|part| part == word);
        let secret = ["key", "secret", "password", "token"].into_iter().any(named);
        assert!(
            !secret || setting.kind == table::Kind::Path || setting.name.starts_with("key_failures")
        );
    }
}

#[test]
fn the_page_of_settings_is_the_table() {
    let page = include_str!("../../docs/settings.md");
    let listed = page.find("| setting |").map_or("", |at| page.split_at(at).1);
    let written = table::page();
    assert_eq!(listed.trim_end(), written.trim_end(), "docs/settings.md should read:\n{written}");
}
