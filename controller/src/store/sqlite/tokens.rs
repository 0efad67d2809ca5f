//! Tokens and certificates in SQLite.

use ring::digest::{SHA256, digest};
use rusqlite::{Connection, OptionalExtension, Row, params};
use weir_common::selector::Glob;

use super::agents;
use super::column::{count, int, opt_count, read, small, storage};
use crate::store::{CertificateRow, Enrolment, StoreError, TokenRefusal, TokenRow};

/// See [`crate::store::Store::create_token`].
pub(super) fn create(db: &Connection, token: &TokenRow) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO tokens (id, secret_sha256, uses_left, expires_unix_s, name_pattern)
         VALUES (?1, ?2, ?3, ?4, ?5)",
        params![
            token.id,
            token.secret_sha256,
            token.uses_left,
            int(token.expires_unix_s),
            token.name_pattern,
        ],
    )
    .map(|_| ())
}

/// See [`crate::store::Store::tokens`].
pub(super) fn all(db: &Connection) -> rusqlite::Result<Vec<TokenRow>> {
    db.prepare_cached("SELECT * FROM tokens ORDER BY expires_unix_s, id")?
        .query_map([], token)?
        .collect()
}

/// See [`crate::store::Store::revoke_token`].
pub(super) fn revoke(
    db: &Connection,
    id: &str,
    now_unix_s: u64,
) -> rusqlite::Result<Option<TokenRow>> {
    let before = one(db, id)?;
    db.execute(
        "UPDATE tokens SET revoked_unix_s = coalesce(revoked_unix_s, ?2) WHERE id = ?1",
        params![id, int(now_unix_s)],
    )?;
    Ok(before)
}

/// See [`crate::store::Store::forget_tokens`].
pub(super) fn forget(db: &Connection, before_unix_s: u64) -> rusqlite::Result<usize> {
    let forgotten = db.execute(
        "DELETE FROM tokens WHERE expires_unix_s < ?1",
        [int(before_unix_s)],
    )?;
    db.execute(
        "DELETE FROM enrolments WHERE token NOT IN (SELECT id FROM tokens)",
        [],
    )?;
    Ok(forgotten)
}

/// See [`crate::store::Store::enrol`].
pub(super) fn enrol(db: &Connection, enrolment: &Enrolment) -> Result<(), StoreError> {
    let failed = storage("taking a token");
    let token = one(db, &enrolment.token).map_err(&failed)?;
    let token = token.ok_or(TokenRefusal::Unknown)?;
    check(&token, enrolment)?;
    let name = &enrolment.certificate.name;
    let owner = agents::owner(db, name).map_err(&failed)?;
    if owner.is_some_and(|owner| owner != enrolment.public_key) {
        return Err(StoreError::NameTaken(name.clone()));
    }
    take(db, &token, enrolment)?;
    record(db, &enrolment.certificate).map_err(&failed)
}

/// Takes a use, or counts another certificate for the one that the agent has.
fn take(db: &Connection, token: &TokenRow, enrolment: &Enrolment) -> Result<(), StoreError> {
    let failed = storage("taking a token");
    let name = enrolment.certificate.name.as_str();
    let known: Option<u32> = db
        .query_row(
            "SELECT certificates FROM enrolments WHERE token = ?1 AND name = ?2 AND public_key = ?3",
            params![token.id, name, enrolment.public_key],
            |row| small(row, "certificates"),
        )
        .optional()
        .map_err(&failed)?;
    match known {
        Some(count) if count >= TokenRefusal::REPEATS => Err(TokenRefusal::Repeated)?,
        Some(_) => db.execute(
            "UPDATE enrolments SET certificates = certificates + 1 WHERE token = ?1 AND name = ?2",
            params![token.id, name],
        ),
        None if token.uses_left == 0 => Err(TokenRefusal::Used)?,
        None => db
            .execute(
                "UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?1",
                [&token.id],
            )
            .and_then(|_| {
                db.execute(
                    "INSERT INTO enrolments (token, name, public_key, certificates)
                     VALUES (?1, ?2, ?3, 1)",
                    params![token.id, name, enrolment.public_key],
                )
            }),
    }
    .map_err(&failed)
    .map(|_| ())
}

/// The secret first: without it nothing is told of a token.
fn check(token: &TokenRow, enrolment: &Enrolment) -> Result<(), TokenRefusal> {
    if !is_same(&token.secret_sha256, &enrolment.secret_sha256) {
        return Err(TokenRefusal::Unknown);
    }
    if let Some(revoked) = token.revoked_unix_s {
        let ago_s = enrolment.now_unix_s.saturating_sub(revoked);
        return Err(TokenRefusal::Revoked { ago_s });
    }
    let late_s = enrolment.now_unix_s.saturating_sub(token.expires_unix_s);
    if late_s > 0 {
        return Err(TokenRefusal::Expired { ago_s: late_s });
    }
    let name = &enrolment.certificate.name;
    let pattern = &token.name_pattern;
    let fits = Glob::new(pattern).is_some_and(|glob| glob.matches(name.as_str()));
    if !pattern.is_empty() && !fits {
        return Err(TokenRefusal::Name {
            pattern: pattern.clone(),
            name: name.clone(),
        });
    }
    Ok(())
}

/// Compares hashes of both, so that the time it takes tells nothing of either.
fn is_same(known: &[u8; 32], shown: &[u8; 32]) -> bool {
    digest(&SHA256, known).as_ref() == digest(&SHA256, shown).as_ref()
}

/// See [`crate::store::Store::record_certificate`].
pub(super) fn record(db: &Connection, certificate: &CertificateRow) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO certificates (serial, name, not_after_unix_s) VALUES (?1, ?2, ?3)",
        params![
            certificate.serial,
            certificate.name.as_str(),
            int(certificate.not_after_unix_s),
        ],
    )
    .map(|_| ())
}

/// See [`crate::store::Store::certificates`].
pub(super) fn certificates(db: &Connection) -> rusqlite::Result<Vec<CertificateRow>> {
    db.prepare_cached("SELECT * FROM certificates ORDER BY rowid")?
        .query_map([], certificate)?
        .collect()
}

fn certificate(row: &Row<'_>) -> rusqlite::Result<CertificateRow> {
    Ok(CertificateRow {
        serial: row.get("serial")?,
        name: read(row, "name", |text: String| text.parse())?,
        not_after_unix_s: count(row, "not_after_unix_s")?,
    })
}

fn one(db: &Connection, id: &str) -> rusqlite::Result<Option<TokenRow>> {
    db.prepare_cached("SELECT * FROM tokens WHERE id = ?1")?
        .query_row([id], token)
        .optional()
}

fn token(row: &Row<'_>) -> rusqlite::Result<TokenRow> {
    Ok(TokenRow {
        id: row.get("id")?,
        secret_sha256: row.get("secret_sha256")?,
        uses_left: small(row, "uses_left")?,
        expires_unix_s: count(row, "expires_unix_s")?,
        name_pattern: row.get("name_pattern")?,
        revoked_unix_s: opt_count(row, "revoked_unix_s")?,
    })
}
