//! A certificate request (PKCS #10, RFC 2986) for an Ed25519 key: no name and
//! no attributes, since the authority takes only the key of any request.

use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// version 0, no subject, and the beginning of the key (RFC 8410).
const BEFORE_KEY: [u8; 17] = [
    0x02, 0x01, 0x00, 0x30, 0x00, 0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21,
    0x00,
];
/// No attributes.
const AFTER_KEY: [u8; 2] = [0xa0, 0x00];
/// Ed25519, then 64 bytes as a string of bits.
const BEFORE_SIGNATURE: [u8; 10] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x41, 0x00];

/// A request for a certificate of this key, in DER.
pub fn certificate_request(key: &Ed25519KeyPair) -> Vec<u8> {
    let public = key.public_key();
    let body = [&BEFORE_KEY[..], public.as_ref(), &AFTER_KEY].concat();
    let info = sequence(&body);
    let signature = key.sign(&info);
    sequence(&[&info, &BEFORE_SIGNATURE[..], signature.as_ref()].concat())
}

fn sequence(content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("a request has fewer than 256 bytes");
    let mut bytes = vec![super::der::SEQUENCE];
    if length >= 0x80 {
        bytes.push(0x81);
    }
    bytes.push(length);
    bytes.extend(content);
    bytes
}
