//! The pattern by both ways of writing, changed in the middle of a stream.

use super::*;

/// Takes all that comes, and how many of it is not the pattern; until the end.
fn compare(receiver: &TcpConnection) -> (u64, u64) {
    let (mut position, mut wrong) = (0, 0);
    let mut buffer = vec![0; 1 << 18];
    loop {
        wait_readable(receiver);
        match receiver.read(&mut buffer).unwrap() {
            Transfer::Moved(count) => {
                wrong += mismatches(position, &buffer[..count]);
                position += count as u64;
            }
            Transfer::WouldBlock => {}
            Transfer::Closed => return (position, wrong),
        }
    }
}

#[test]
fn lending_and_copying_in_turn_is_one_pattern() {
    let (sender, receiver) = tcp_pair(&TcpOptions::default());
    let reader = thread::spawn(move || compare(&receiver));
    let mut writer = PatternWriter::copying();
    for (turn, size) in [70_001, 1 << 20, 1_448, 65_536, 999_999, 1 << 20]
        .into_iter()
        .enumerate()
    {
        if turn % 2 == 0 {
            assert!(writer.lend(), "this host has pipes");
            assert_eq!(writer.call(), "splice");
        } else {
            writer.copy();
            assert_eq!(writer.call(), "write");
        }
        for _ in 0..40 {
            if writer.write(&sender, size).unwrap().is_full {
                let mut room = [PollFd::writable(&sender)];
                assert_eq!(poll(&mut room, Some(PATIENCE)).unwrap(), 1);
            }
        }
    }
    let written = writer.position();
    assert!(written > 40 * 1_448);
    sender.finish().unwrap();
    assert_eq!(reader.join().unwrap(), (written, 0));
}
