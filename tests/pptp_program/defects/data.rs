//! Defects of the data path: 1, 2, 3, 4, 6, 13.

use std::{fs, time::Duration};

use crate::{peer::*, world::*};

/// Limit for what must arrive, however busy the machine is.
const ARRIVAL_LIMIT: Duration = LIMIT;

/// The classic program takes bytes 6 and 7 for the length of an IP or LCP packet.
#[test]
fn defect_01_synchronous_framing_carries_every_frame() {
    against_the_classic(
        "defects::data::defect_01_synchronous_framing_carries_every_frame",
        "lost",
        |program, _| {
            let call = Peer::at(9).call(program, "--sync", Pipe::Socket);
            let mut encrypted = vec![0xff, 0x03, 0x00, 0xfd, 0x90, 0x01];
            encrypted.extend([0xa5; 200]);
            let mut compressed = vec![0xfd, 0x90, 0x02];
            compressed.extend([0x5a; 90]);
            let frames =
                [("MPPE", encrypted), ("ACFC and PFC", compressed), ("IPCP", vec![0x80, 0x21, 1, 1, 0, 4])];
            let mut lost = Vec::new();
            for (name, frame) in frames {
                call.write(&frame);
                // The packet received is this frame; a program that lost it next sends the following one,
                // which differs.
                let got = call.receive(correct_timeout(program)).map(|packet| packet.payload);
                if got.as_ref() != Some(&frame) {
                    lost.push(name);
                }
            }
            let echo = [0xff, 0x03, 0xc0, 0x21, 9, 1, 0, 12, 0, 0, 0, 0, 1, 2, 3, 4];
            call.write(&echo);
            let got = call.receive(ARRIVAL_LIMIT).expect("no LCP frame");
            call.end();
            assert!(got.payload.ends_with(&echo), "{got:?}");
            if lost.is_empty() { Ok(()) } else { Err(format!("lost: {lost:?}")) }
        },
    );
}

/// The classic program returns the wrong one of the two to its free list.
#[test]
fn defect_02_duplicate_after_gap_loses_nothing() {
    against_the_classic(
        "defects::data::defect_02_duplicate_after_gap_loses_nothing",
        "delivered [8, 9, 12]",
        |program, _| {
            let mut call = Peer::at(9).call(program, "", Pipe::Socket);
            // The program is stopped meanwhile, so number 9 is not late for it.
            call.while_stopped(|| {
                for seq in [8, 10, 10, 11, 9, 12] {
                    call.send(seq, &numbered(seq, 40));
                }
            });
            let got = numbers(&call.frames(ARRIVAL_LIMIT, |frames| numbers(frames).contains(&12)));
            call.end();
            if got == [8, 9, 10, 11, 12] { Ok(()) } else { Err(format!("delivered {got:?}")) }
        },
    );
}

/// The classic program omits the IP header when it compares the lengths.
#[test]
fn defect_03_truncated_packet_is_dropped() {
    against_the_classic("defects::data::defect_03_truncated_packet_is_dropped", "[1, 2, 3]", |program, _| {
        let mut call = Peer::at(9).call(program, "", Pipe::Socket);
        call.send(1, &numbered(1, 100));
        let mut short = call.packet(2, None, &numbered(2, 100));
        short.truncate(short.len() - 15);
        call.send_raw(&short);
        call.send(3, &numbered(3, 100));
        let got = numbers(&call.frames(ARRIVAL_LIMIT, |frames| numbers(frames).contains(&3)));
        call.end();
        if got == [1, 3] { Ok(()) } else { Err(format!("delivered {got:?}")) }
    });
}

/// With `--nobuffer` the classic program counts after advancing its number.
#[test]
fn defect_04_lost_packets_are_counted() {
    against_the_classic(
        "defects::data::defect_04_lost_packets_are_counted",
        "-1 are lost",
        |program, log| {
            let mut call = Peer::at(9).call(program, "--nobuffer", Pipe::Socket);
            for seq in [1, 5] {
                call.send(seq, &numbered(seq, 40));
            }
            call.frames(ARRIVAL_LIMIT, |frames| frames.len() == 2);
            let lost = call.statistic(log, "rx lost");
            call.end();
            if lost == 3 { Ok(()) } else { Err(format!("three packets were dropped, and {lost} are lost")) }
        },
    );
}

#[test]
fn defect_04_acknowledgements_are_counted() {
    against_the_classic(
        "defects::data::defect_04_acknowledgements_are_counted",
        "0 are counted",
        |program, log| {
            let mut call = Peer::at(9).call(program, "", Pipe::Socket);
            call.write_frame(&numbered(0, 40));
            let sent = call.receive(ARRIVAL_LIMIT).unwrap().seq;
            call.send_raw(&call.packet(1, sent, &numbered(1, 40)));
            call.frames(ARRIVAL_LIMIT, |frames| frames.len() == 1);
            let acks = call.statistic(log, "rx acks");
            call.end();
            if acks == 1 {
                Ok(())
            } else {
                Err(format!("one acknowledgement was sent, and {acks} are counted"))
            }
        },
    );
}

#[test]
fn defect_06_small_missing_window_is_applied() {
    against_the_classic("defects::data::defect_06_small_missing_window_is_applied", "20", |program, _| {
        let mut call = Peer::at(9).call(program, "--missing-window 5", Pipe::Socket);
        for seq in [1, 20] {
            call.send(seq, &numbered(seq, 40));
        }
        // A program that accepts 20 delivers it after 0.3 s at the latest.
        let got = call.frames(defect_timeout(program), |frames| numbers(frames).contains(&20));
        let got = numbers(&got);
        call.end();
        if got == [1] { Ok(()) } else { Err(format!("delivered {got:?}")) }
    });
}

/// Packets of 1 KiB for a daemon that reads nothing: all are acknowledged, memory does not grow, the other
/// direction continues, and once the daemon reads again it receives new packets.
#[test]
fn defect_13_stalled_daemon_does_not_block_receiving() {
    const PACKETS: u32 = 4000;
    against_the_classic(
        "defects::data::defect_13_stalled_daemon_does_not_block_receiving",
        "no acknowledgement",
        |program, _| {
            let mut call = Peer::at(9).call(program, "--loglevel 0", Pipe::Pty);
            let before = memory(&call);
            call.send(1, &numbered(1, 1024));
            assert_eq!(
                call.receive(ARRIVAL_LIMIT).expect("no acknowledgement of the first packet").ack,
                Some(1)
            );
            let mut acknowledged = 1;
            for seq in 2..=PACKETS {
                call.send(seq, &numbered(seq, 1024));
                while seq > acknowledged + 32 {
                    match call.receive(correct_timeout(program)) {
                        Some(packet) => acknowledged = packet.ack.unwrap_or(acknowledged),
                        None => return Err(format!("no acknowledgement after {acknowledged} of {seq}")),
                    }
                }
            }
            let more = memory(&call).saturating_sub(before);
            assert!(more < 2048, "{more} KiB more for {PACKETS} KiB");
            call.write_frame(&numbered(7, 40));
            while call.receive(ARRIVAL_LIMIT).expect("no packet in the other direction").payload
                != numbered(7, 40)
            {}
            // The buffered frames come first, then new ones.
            let last = PACKETS + 1;
            let mut seq = last;
            let mut got = Vec::new();
            while !numbers(&got).iter().any(|number| *number >= last) {
                call.send(seq, &numbered(seq, 100));
                seq += 1;
                got.extend(call.frames(Duration::from_millis(100), |frames| {
                    numbers(frames).iter().any(|number| *number >= last)
                }));
            }
            assert!(numbers(&got).is_sorted(), "{:?}", numbers(&got));
            call.end();
            Ok(())
        },
    );
}

/// Returns the program's resident memory in KiB.
fn memory(call: &Call) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", call.pptp.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
