//! Tests of the store on real directories.

use std::collections::BTreeSet;
use std::io::Write as _;

use super::*;

fn store() -> (TempDir, Store) {
    let directory = TempDir::new().unwrap();
    let store = Store::open(directory.path()).unwrap();
    (directory, store)
}

#[test]
fn store_returns_what_was_put() {
    let (_directory, store) = store();
    let digest = store.put(b"bytes").unwrap();
    assert!(store.contains(&digest));
    assert_eq!(store.read(&digest).unwrap(), b"bytes");
    assert_eq!(store.put(b"bytes").unwrap(), digest);
    assert!(matches!(
        store.read(&Digest([1; 32])),
        Err(StoreError::Missing(_))
    ));
}

#[test]
fn store_refuses_damaged_bytes_and_put_repairs_them() {
    let (_directory, store) = store();
    let digest = store.put(b"bytes").unwrap();
    fs::remove_file(store.path(&digest)).unwrap();
    fs::write(store.path(&digest), b"bytez").unwrap();
    assert!(matches!(
        store.read(&digest),
        Err(StoreError::Damaged { .. })
    ));
    let error = store.open_verified(&digest).unwrap_err();
    assert!(error.to_string().contains(&digest.to_string()), "{error}");
    assert!(error.hint().unwrap().contains("cloister fetch"));
    store.put(b"bytes").unwrap();
    assert_eq!(store.read(&digest).unwrap(), b"bytes");
}

#[test]
fn unfinished_writer_leaves_nothing() {
    let (_directory, store) = store();
    let mut writer = store.writer().unwrap();
    writer.write_all(b"half").unwrap();
    drop(writer);
    assert!(gc::sorted(&store.dir().join("tmp")).unwrap().is_empty());
    assert!(store.contents().unwrap().is_empty());
}

#[test]
fn partial_continues_where_it_was_dropped() {
    let (_directory, store) = store();
    let digest = Digest::of(b"first second");
    let mut partial = store.partial(&digest).unwrap().unwrap();
    partial.write_all(b"first ").unwrap();
    drop(partial);
    let mut partial = store.partial(&digest).unwrap().unwrap();
    assert_eq!(partial.length(), 6);
    partial.write_all(b"second").unwrap();
    partial.finish().unwrap();
    assert_eq!(store.read(&digest).unwrap(), b"first second");
    assert!(store.partial(&digest).unwrap().is_none());
    assert!(gc::sorted(&store.dir().join("partial")).unwrap().is_empty());
}

#[test]
fn partial_refuses_and_removes_wrong_bytes() {
    let (_directory, store) = store();
    let digest = Digest::of(b"right");
    let mut partial = store.partial(&digest).unwrap().unwrap();
    partial.write_all(b"wrong").unwrap();
    assert!(matches!(partial.finish(), Err(StoreError::Mismatch { .. })));
    assert!(!store.contains(&digest));
    assert!(gc::sorted(&store.dir().join("partial")).unwrap().is_empty());
}

#[test]
fn derived_values_survive_and_gc_keeps_what_is_asked_for() {
    let (directory, store) = store();
    let [kept, lost, made] =
        [&b"kept"[..], b"lost", b"made"].map(|bytes| store.put(bytes).unwrap());
    let key = Digest([7; 32]);
    store.set_derived("pyc", &key, &made).unwrap();
    assert_eq!(store.derived("pyc", &key), Some(made));
    assert_eq!(store.derived("tool", &key), None);

    let other = Store::open(directory.path()).unwrap();
    let keep = BTreeSet::from([kept]);
    assert!(matches!(other.gc(&keep, false), Err(StoreError::InUse(_))));
    drop(store);
    let collected = other.gc(&keep, false).unwrap();
    assert_eq!((collected.removed, collected.kept), (1, 2));
    assert!(other.contains(&kept) && !other.contains(&lost) && other.contains(&made));
    assert_eq!(other.gc(&keep, true).unwrap().removed, 1);
}
