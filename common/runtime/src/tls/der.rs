//! The little DER (X.690) that has to be read by hand: a certificate's
//! validity and a request's key. Never panics; every length is checked.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

/// Tags (X.690 section 8.1.2).
pub const INTEGER: u8 = 0x02;
/// A string of bits.
pub const BIT_STRING: u8 = 0x03;
/// An object's identifier.
pub const OBJECT: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// A sequence.
pub const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub const CONTEXT_0: u8 = 0xa0;

/// Reads elements one after the other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

/// One element.
#[derive(Debug, Clone, Copy)]
pub struct Element<'a> {
    /// Its tag.
    pub tag: u8,
    /// What is in it.
    pub content: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag that comes next.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element; `None` for anything that is not DER.
    pub fn element(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        // Tags above 30 do not occur in certificates.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                let (&one, rest) = rest.split_first()?;
                (one >= 0x80).then_some((usize::from(one), rest))?
            }
            0x82 => {
                let (two, rest) = rest.split_at_checked(2)?;
                let length = usize::from(two[0]) << 8 | usize::from(two[1]);
                (length >= 0x100).then_some((length, rest))?
            }
            // Nothing of ours has 64 KiB.
            _ => return None,
        };
        let (content, after) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The next element, which has this tag.
    pub fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.element().filter(|element| element.tag == tag)
    }

    /// A reader of the next element, a sequence.
    pub fn sequence(&mut self) -> Option<Self> {
        self.expect(SEQUENCE).map(|element| Self(element.content))
    }

    /// The bytes of a string of bits that fills its last byte.
    pub fn bits(&mut self) -> Option<&'a [u8]> {
        self.expect(BIT_STRING)?.content.strip_prefix(&[0])
    }
}

/// From when to when a certificate is valid, since the Unix epoch.
pub fn validity(certificate: &CertificateDer<'_>) -> Option<(Duration, Duration)> {
    let mut signed = Reader::new(certificate).sequence()?.sequence()?;
    if signed.peek() == Some(CONTEXT_0) {
        signed.element()?; // version
    }
    signed.expect(INTEGER)?; // serial number
    signed.expect(SEQUENCE)?; // algorithm
    signed.expect(SEQUENCE)?; // issuer
    let mut validity = signed.sequence()?;
    Some((time(validity.element()?)?, time(validity.element()?)?))
}

/// RFC 5280 section 4.1.2.5: both forms end with `Z` and have seconds.
fn time(element: Element<'_>) -> Option<Duration> {
    let digits = element.content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let pair = |at: usize| {
        let pair = digits.get(at..at + 2)?;
        Some(u64::from(pair[0] - b'0') * 10 + u64::from(pair[1] - b'0'))
    };
    let (year, rest) = match (element.tag, digits.len()) {
        (UTC_TIME, 12) => match pair(0)? {
            year @ 50.. => (1900 + year, 2),
            year => (2000 + year, 2),
        },
        (GENERALIZED_TIME, 14) => (pair(0)? * 100 + pair(2)?, 4),
        _ => return None,
    };
    let days = days(year, pair(rest)?, pair(rest + 2)?)?;
    let (hour, minute, second) = (pair(rest + 4)?, pair(rest + 6)?, pair(rest + 8)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(Duration::from_secs(
        days * 86_400 + hour * 3_600 + minute * 60 + second,
    ))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; `None` before it.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    const BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = *BEFORE_MONTH.get(month.checked_sub(1)? as usize)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let leap_day = u64::from(leap && month > 2);
    // Leap days in all years before this one.
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let since = year.checked_sub(1970)?;
    let whole = since * 365 + leaps(year - 1) - leaps(1969);
    Some(whole + before + leap_day + day.checked_sub(1).filter(|day| *day < 31)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(tag: u8, text: &str) -> Option<u64> {
        let element = Element {
            tag,
            content: text.as_bytes(),
            whole: &[],
        };
        time(element).map(|time| time.as_secs())
    }

    #[test]
    fn times_of_both_forms() {
        assert_eq!(at(UTC_TIME, "700101000000Z"), Some(0));
        assert_eq!(at(UTC_TIME, "261124033612Z"), Some(1_795_491_372));
        assert_eq!(at(GENERALIZED_TIME, "20240229235959Z"), Some(1_709_251_199));
        assert_eq!(at(GENERALIZED_TIME, "21000301000000Z"), Some(4_107_542_400));
        for (tag, wrong) in [
            (UTC_TIME, "2611240336Z"),
            (UTC_TIME, "261124033612"),
            (UTC_TIME, "261324033612Z"),
            (UTC_TIME, "261100033612Z"),
            (UTC_TIME, "500101000000Z"),
            (GENERALIZED_TIME, "19000101000000Z"),
            (INTEGER, "261124033612Z"),
        ] {
            assert_eq!(at(tag, wrong), None, "{wrong}");
        }
    }

    #[test]
    fn lengths_are_in_their_shortest_form() {
        assert!(Reader::new(&[0x04, 0x81, 0x01, 0]).element().is_none());
        assert!(Reader::new(&[0x04, 0x82, 0, 0x80]).element().is_none());
        assert!(Reader::new(&[0x04, 0x80]).element().is_none());
        assert!(Reader::new(&[0x04, 2, 0]).element().is_none());
        let mut long = vec![0x04, 0x81, 0x80];
        long.extend([7; 0x80]);
        assert_eq!(Reader::new(&long).element().unwrap().content, [7; 0x80]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _any = validity(&CertificateDer::from(bytes.clone()));
            let mut reader = Reader::new(&bytes);
            while let Some(element) = reader.element() {
                prop_assert!(element.whole.ends_with(element.content));
            }
        }
    }
}
