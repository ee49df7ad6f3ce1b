//! A key's life in the store: made, used, rotated, revoked, and read back after a restart.

use super::*;
use crate::store::MemoryStorage;

fn new(role: Role) -> NewKey {
    NewKey {
        label: String::new(),
        role,
        ledgers: Vec::new(),
        sources: Vec::new(),
        expires_at_s: Some(100),
    }
}

#[test]
fn a_key_is_good_until_it_expires_or_is_revoked() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let store = KeyStore::open(Arc::clone(&storage)).unwrap();
    store.create(NewKey { expires_at_s: None, ..new(Role::Admin) }, true, 1).unwrap();
    let (record, text) = store.create(new(Role::Producer), false, 1).unwrap();
    assert_eq!(store.check(&text, 99).unwrap().id, record.id);
    assert!(matches!(store.check(&text, 100), Err(KeyError::Expired)));
    let mut wrong = text.to_string();
    let last = wrong.pop().unwrap();
    wrong.push(if last == '0' { '1' } else { '0' });
    assert!(matches!(store.check(&wrong, 1), Err(KeyError::Unknown)));
    let again = KeyStore::open(Arc::clone(&storage)).unwrap();
    assert_eq!(again.check(&text, 1).unwrap().number, 2);
    assert!(again.revoke(&record.id, 1).unwrap().revoked);
    assert!(matches!(again.check(&text, 1), Err(KeyError::Revoked)));
    let stored = String::from_utf8(storage.read(KEYS_FILE).unwrap().unwrap()).unwrap();
    assert!(!stored.contains(text.rsplit('_').next().unwrap()), "the secret itself is not stored");
}

#[test]
fn a_rotated_key_hands_over() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let store = KeyStore::open(Arc::clone(&storage)).unwrap();
    let (old, old_text) = store.create(new(Role::Producer), false, 1).unwrap();
    let (successor, text) = store.rotate(&old.id, 20, 10).unwrap();
    assert_eq!((successor.number, successor.expires_at_s), (old.number, Some(100)));
    assert!(store.check(&old_text, 29).is_ok());
    assert!(matches!(store.check(&old_text, 30), Err(KeyError::Expired)));
    assert!(store.check(&text, 99).is_ok());
    assert_eq!(store.get(&old.id).unwrap().replaced_by.as_deref(), Some(successor.id.as_str()));
    assert!(matches!(store.rotate(&old.id, 20, 11), Err(KeyError::Invalid { field: "id", .. })));
    let (other, _) = store.create(new(Role::Producer), false, 11).unwrap();
    assert_eq!(other.number, old.number + 1);
    let (late, _) = store.rotate(&other.id, OVERLAP_S_MAX, 11).unwrap();
    assert_eq!(store.get(&other.id).unwrap().expires_at_s, Some(100), "an overlap never prolongs");
    store.revoke(&late.id, 12).unwrap();
    assert!(matches!(store.rotate(&late.id, 1, 13), Err(KeyError::Revoked)));
}

#[test]
fn the_last_key_that_can_make_keys_stays() {
    let store = KeyStore::open(Arc::new(MemoryStorage::default())).unwrap();
    let unbound = || NewKey { expires_at_s: None, ..new(Role::Admin) };
    let (first, _) = store.create(unbound(), true, 1).unwrap();
    let bound = NewKey { ledgers: vec!["main".to_owned()], ..unbound() };
    let (bound, _) = store.create(bound, false, 1).unwrap();
    assert!(matches!(store.revoke(&first.id, 1), Err(KeyError::LastAdmin)));
    store.create(unbound(), false, 1).unwrap();
    assert!(store.revoke(&first.id, 1).is_ok());
    assert!(!bound.governs(&[]) && !bound.governs(&["other".to_owned()]));
    assert!(bound.governs(&["main".to_owned()]) && first.governs(&[]));
}

#[test]
fn the_last_use_is_kept() {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::default());
    let store = KeyStore::open(Arc::clone(&storage)).unwrap();
    let (record, text) = store.create(new(Role::Producer), false, 1).unwrap();
    assert_eq!(record.last_used_s(), None);
    store.check(&text, 77).unwrap();
    store.save_last_use().unwrap();
    let again = KeyStore::open(storage).unwrap();
    assert_eq!(again.get(&record.id).unwrap().last_used_s(), Some(77));
}
