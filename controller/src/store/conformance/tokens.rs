//! Tokens: what uses them up, and what does not.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::samples::{hello, name};
use super::super::{CertificateRow, Enrolment, Store, StoreError, TokenRefusal, TokenRow};

const NOW: u64 = 1_800_000_000;

fn token(uses_left: u32) -> TokenRow {
    TokenRow {
        id: "0011223344556677".to_owned(),
        secret_sha256: [7; 32],
        uses_left,
        expires_unix_s: NOW + 600,
        name_pattern: String::new(),
        revoked_unix_s: None,
    }
}

fn enrolment(serial: u32) -> Enrolment {
    Enrolment {
        token: token(1).id,
        secret_sha256: [7; 32],
        public_key: vec![1; 32],
        now_unix_s: NOW,
        certificate: CertificateRow {
            serial: format!("{serial:x}"),
            name: name(&format!("a{serial}")),
            not_after_unix_s: NOW + 86_400,
        },
    }
}

fn refusal(store: &dyn Store, enrolment: &Enrolment) -> TokenRefusal {
    match store.enrol(enrolment) {
        Err(StoreError::Token(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

/// N uses are N certificates, and what is refused is neither.
pub(super) fn tokens_are_used_up(store: &dyn Store) {
    store.create_token(&token(2)).unwrap();
    assert!(store.create_token(&token(9)).is_err(), "ids are drawn once");
    store.enrol(&enrolment(1)).unwrap();
    store.enrol(&enrolment(2)).unwrap();
    assert_eq!(refusal(store, &enrolment(3)), TokenRefusal::Used);
    let kept = store.certificates().unwrap();
    assert_eq!(
        kept,
        [enrolment(1).certificate, enrolment(2).certificate],
        "in the order in which they were given out"
    );
    let renewed = enrolment(4).certificate;
    store.record_certificate(&renewed).unwrap();
    assert_eq!(store.certificates().unwrap().last(), Some(&renewed));
}

/// A certificate that cannot be recorded is not given out, and its use is not gone.
pub(super) fn a_use_and_its_certificate_are_one(store: &dyn Store) {
    store.create_token(&token(2)).unwrap();
    store.enrol(&enrolment(1)).unwrap();
    let mut same = enrolment(2);
    same.certificate.serial = enrolment(1).certificate.serial;
    assert!(store.enrol(&same).is_err(), "the serial is taken");
    store.enrol(&enrolment(2)).unwrap();
    assert_eq!(refusal(store, &enrolment(3)), TokenRefusal::Used);
}

pub(super) fn refused_tokens_say_why(store: &dyn Store) {
    let mut narrow = token(1);
    narrow.name_pattern = "b*".to_owned();
    store.create_token(&narrow).unwrap();
    let mut unknown = enrolment(1);
    unknown.token = "ffff".to_owned();
    assert_eq!(refusal(store, &unknown), TokenRefusal::Unknown);
    let mut guessed = enrolment(1);
    guessed.secret_sha256[31] ^= 1;
    guessed.now_unix_s += 10_000;
    assert_eq!(refusal(store, &guessed), TokenRefusal::Unknown);
    let mut late = enrolment(1);
    late.now_unix_s = narrow.expires_unix_s + 180;
    let expired = refusal(store, &late);
    assert_eq!(expired, TokenRefusal::Expired { ago_s: 180 });
    assert_eq!(
        expired.to_string(),
        "token expired 3 min ago: make one with weir token create"
    );
    let other = refusal(store, &enrolment(1)).to_string();
    assert!(other.contains("b*") && other.contains("a1"), "{other}");
    assert!(store.certificates().unwrap().is_empty());
    let mut fits = enrolment(1);
    fits.certificate.name = name("b1");
    // The last instant still counts.
    fits.now_unix_s = narrow.expires_unix_s;
    store.enrol(&fits).unwrap();
}

/// An answer may be lost: the same agent may ask again, others may not in its place.
pub(super) fn an_agent_asks_again_for_the_same_use(store: &dyn Store) {
    let again = |serial: u32| {
        let mut again = enrolment(1);
        again.certificate.serial = format!("{serial:x}");
        again
    };
    store.create_token(&token(2)).unwrap();
    for serial in 1..=TokenRefusal::REPEATS {
        store.enrol(&again(serial)).unwrap();
    }
    assert_eq!(store.tokens().unwrap()[0].uses_left, 1);
    assert_eq!(refusal(store, &again(99)), TokenRefusal::Repeated);
    let mut other = enrolment(50);
    other.certificate.name = name("a1");
    other.public_key = vec![2; 32];
    let error = store.enrol(&other).unwrap_err();
    assert!(matches!(error, StoreError::NameTaken(_)), "{error}");
    assert_eq!(store.tokens().unwrap()[0].uses_left, 1);
    // The key that enrolled owns the name from then on, also in Hello.
    let (mut hello, b1) = (hello("a1", 2, 1, 1), hello("b1", 3, 1, 1));
    let error = store.register_agent(&hello).unwrap_err();
    assert!(matches!(error, StoreError::NameTaken(_)), "{error}");
    hello.public_key = vec![1; 32];
    store.register_agent(&hello).unwrap();
    // As does the key of a Hello, when somebody enrols.
    store.register_agent(&b1).unwrap();
    let mut thief = enrolment(51);
    thief.certificate.name = name("b1");
    let error = store.enrol(&thief).unwrap_err();
    assert!(matches!(error, StoreError::NameTaken(_)), "{error}");
    let mut late = again(98);
    late.now_unix_s = token(1).expires_unix_s + 1;
    assert!(matches!(
        refusal(store, &late),
        TokenRefusal::Expired { .. }
    ));
}

/// A token that was taken back is good for nobody, and those that are over are forgotten.
pub(super) fn tokens_are_taken_back_and_forgotten(store: &dyn Store) {
    let mut later = token(1);
    later.id = "8899".to_owned();
    later.expires_unix_s += 1;
    store.create_token(&later).unwrap();
    store.create_token(&token(2)).unwrap();
    let listed = store.tokens().unwrap();
    assert_eq!(listed, [token(2), later.clone()], "the first to end first");
    assert_eq!(listed[0].state(NOW), "valid");
    assert_eq!(listed[0].state(NOW + 601), "expired");
    store.enrol(&enrolment(1)).unwrap();

    assert_eq!(store.revoke_token("ffff", NOW).unwrap(), None);
    let revoked = store.revoke_token(&token(2).id, NOW).unwrap();
    assert_eq!(revoked.unwrap().uses_left, 1, "as it was");
    store.revoke_token(&token(2).id, NOW + 90).unwrap();
    let mut late = enrolment(2);
    late.now_unix_s = NOW + 120;
    let refused = refusal(store, &late);
    assert_eq!(
        refused,
        TokenRefusal::Revoked { ago_s: 120 },
        "since the first time"
    );
    assert!(refused.to_string().contains("weir token create"));
    assert_eq!(store.tokens().unwrap()[0].state(NOW), "revoked");

    assert_eq!(store.forget_tokens(later.expires_unix_s).unwrap(), 1);
    assert_eq!(store.tokens().unwrap(), [later]);
    assert_eq!(refusal(store, &enrolment(3)), TokenRefusal::Unknown);
}

pub(super) fn parallel_uses_are_counted(store: &dyn Store) {
    const USES: u32 = 7;
    store.create_token(&token(USES)).unwrap();
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for serial in 0..20 {
            let taken = &taken;
            scope.spawn(move || match store.enrol(&enrolment(serial)) {
                Ok(()) => {
                    taken.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => assert!(
                    matches!(error, StoreError::Token(TokenRefusal::Used)),
                    "{error}"
                ),
            });
        }
    });
    assert_eq!(taken.into_inner(), USES);
    assert_eq!(store.certificates().unwrap().len(), USES as usize);
}
