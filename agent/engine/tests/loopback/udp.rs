use weir_common::assignment::{Rate, Transport};
use weir_common::record::Ending;

use crate::pair::{Pair, assert_conserved, assert_whole, segment, session, traffic};

#[test]
fn one_flow_is_conserved_to_the_packet() {
    let one = traffic(Transport::Udp, Rate::MilliPacketsPerSecond(1_000_000), 200);
    let pair = Pair::complete(vec![session(1, one, vec![segment(1, 0, 600, 150)])]);
    let tx = assert_whole(&pair.tx, 1);
    let rx = assert_whole(&pair.rx, 1);
    assert_conserved(&tx, &rx);
    assert_eq!(
        (&tx.ending, &rx.ending),
        (&Ending::Completed, &Ending::Completed)
    );
    assert_eq!(tx.total.offered_packets, Some(600));
    assert_eq!(tx.window.counters.offered_packets, Some(450));
    assert_eq!(rx.total.lost_packets, Some(0));
    assert!(tx.link && rx.link);
    assert_eq!(tx.peer.unwrap().packets, rx.total.rx_packets.unwrap());
    assert_eq!(rx.peer.unwrap().packets, tx.total.tx_packets.unwrap());
    assert_eq!(rx.window.delay.as_ref().unwrap().count() > 0, true);
    eprintln!("{tx:#?}\n{rx:#?}");
}
