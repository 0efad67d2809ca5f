use super::*;
use proptest::prelude::*;
use std::str::FromStr;

fn bits(text: &str) -> Result<u64, UnitError> {
    BitRate::from_str(text).map(BitRate::bits_per_second)
}

#[test]
fn rates_in_every_spelling() {
    for text in [
        "10 Mbit/s",
        "10Mbit/s",
        "10M",
        "10 M",
        "0.01 Gbit/s",
        " 10000k ",
        "10000000 bit/s",
    ] {
        assert_eq!(bits(text), Ok(10_000_000), "{text}");
    }
    assert_eq!(bits("3 kbit/s"), Ok(3_000));
    assert_eq!(bits("1 Mibit/s"), Ok(1 << 20));
    assert_eq!(
        "3000pkt/s".parse::<PacketRate>().unwrap().millis(),
        3_000_000
    );
    assert_eq!(
        "0.5 pkt/s"
            .parse::<PacketRate>()
            .unwrap()
            .packets_per_second(),
        0.5
    );
}

#[test]
fn a_bad_unit_names_the_nearest() {
    let error = bits("10 Mbits").unwrap_err().to_string();
    assert!(error.contains("did you mean `10 Mbit/s`?"), "{error}");
    let error = "3000 pps".parse::<PacketRate>().unwrap_err().to_string();
    assert!(error.contains("units: pkt/s"), "{error}");
    let error = "10 sec".parse::<Span>().unwrap_err().to_string();
    assert!(error.contains("did you mean `10 s`?"), "{error}");
}

#[test]
fn bare_numbers_only_where_they_are_clear() {
    assert!(matches!(bits("10"), Err(UnitError::NoUnit { .. })));
    assert!(matches!(
        "60".parse::<Span>(),
        Err(UnitError::NoUnit { .. })
    ));
    assert!(matches!(
        "0.01".parse::<Ratio>(),
        Err(UnitError::NoUnit { .. })
    ));
    assert_eq!("1400".parse::<ByteCount>(), Ok(ByteCount::new(1400)));
    assert_eq!("0".parse::<Span>(), Ok(Span::ZERO));
    let error = "60".parse::<Span>().unwrap_err().to_string();
    assert!(
        error.starts_with("`60` has no unit: write `60 s`"),
        "{error}"
    );
}

#[test]
fn absurd_values_are_refused() {
    for text in [
        "0 Mbit/s",
        "0",
        "-1 Mbit/s",
        "NaN",
        "inf Mbit/s",
        "1e9 bit/s",
        "18446744073709551615 bit/s",
        "",
        ".",
    ] {
        assert!(bits(text).is_err(), "{text}");
    }
    let nines = "9".repeat(10_000);
    assert!(matches!(
        bits(&format!("{nines} bit/s")),
        Err(UnitError::TooLarge { .. })
    ));
    assert!(matches!(bits("0.5 bit/s"), Err(UnitError::TooFine { .. })));
    assert!(matches!(
        "200%".parse::<Ratio>(),
        Err(UnitError::TooLarge { .. })
    ));
    assert!(matches!(
        "-1 s".parse::<Span>(),
        Err(UnitError::Negative { .. })
    ));
    assert_eq!(BitRate::new(0), None);
    assert_eq!(BitRate::new(u64::MAX), None);
    assert_eq!(PacketRate::from_millis(0), None);
}

#[test]
fn printed_as_people_write() {
    assert_eq!(BitRate::new(1_500_000).unwrap().to_string(), "1.5 Mbit/s");
    assert_eq!(BitRate::new(999).unwrap().to_string(), "999 bit/s");
    assert_eq!(Span::from_secs(60).to_string(), "60 s");
    assert_eq!(Span::from_secs(7200).to_string(), "2 h");
    assert_eq!(Span::from_secs(900).to_string(), "15 min");
    assert_eq!(Span::from_millis(1500).to_string(), "1.5 s");
    assert_eq!(Span::from_nanos(2_500).to_string(), "2.5 us");
    assert_eq!(ByteCount::new(1400).to_string(), "1400 B");
    assert_eq!(Ratio::from_percent(1).unwrap().to_string(), "1 %");
    assert_eq!(
        format!("{:>12}", BitRate::new(1_000).unwrap()),
        "    1 kbit/s"
    );
}

proptest! {
    #[test]
    fn bit_rates_read_back(value in 1..=BitRate::MAX.bits_per_second()) {
        let rate = BitRate::new(value).unwrap();
        prop_assert_eq!(rate.to_string().parse::<BitRate>(), Ok(rate));
    }

    #[test]
    fn packet_rates_read_back(value in 1..=PacketRate::MAX.millis()) {
        let rate = PacketRate::from_millis(value).unwrap();
        prop_assert_eq!(rate.to_string().parse::<PacketRate>(), Ok(rate));
    }

    #[test]
    fn byte_counts_read_back(value in 0..=i64::MAX as u64) {
        let count = ByteCount::new(value);
        prop_assert_eq!(count.to_string().parse::<ByteCount>(), Ok(count));
    }

    #[test]
    fn spans_read_back(value in 0..=i64::MAX as u64, minutes in 0..100_000_u64) {
        for span in [Span::from_nanos(value), Span::from_secs(minutes * 60)] {
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
    }

    #[test]
    fn shares_read_back(percent in 0..=100_u32, fine in 0..10_000_000_u32) {
        let whole = Ratio::from_percent(percent).unwrap();
        prop_assert_eq!(whole.to_string().parse::<Ratio>(), Ok(whole));
        let text = format!("{}.{:07} %", percent.min(99), fine);
        let share: Ratio = text.parse().unwrap();
        prop_assert_eq!(share.to_string().parse::<Ratio>(), Ok(share));
    }

    #[test]
    fn any_text_is_a_value_or_an_error(text in "\\PC{0,40}") {
        let _ = text.parse::<BitRate>();
        let _ = text.parse::<PacketRate>();
        let _ = text.parse::<ByteCount>();
        let _ = text.parse::<Span>();
        let _ = text.parse::<Ratio>();
    }
}
