//! Frames over a socket whose other end the test reads, byte by byte or in pieces.

use proptest::prelude::*;
use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use vm_memory::VolatileSlice;

use super::*;

fn pair() -> (StreamPeer, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (StreamPeer::new(ours, 1514).unwrap(), theirs)
}

/// Hands over frames, each in pieces of up to `cut` bytes.
fn give(peer: &mut StreamPeer, frames: &mut [Vec<u8>], cut: usize) -> io::Result<Sent> {
    let pieces: Vec<Vec<VolatileSlice<'_>>> =
        frames.iter_mut().map(|frame| frame.chunks_mut(cut).map(VolatileSlice::from).collect()).collect();
    let frames: Vec<_> = pieces
        .iter()
        .map(|pieces| {
            let len = pieces.iter().map(VolatileSlice::len).sum();
            Outgoing { header: Header::default(), pieces, len }
        })
        .collect();
    peer.send(&frames)
}

fn next(peer: &mut StreamPeer) -> Option<Vec<u8>> {
    let frame = peer.receive().unwrap().map(|incoming| incoming.frame.to_vec());
    // The same one, until it is done with.
    assert_eq!(peer.receive().unwrap().map(|incoming| incoming.frame.to_vec()), frame);
    peer.consume();
    frame
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), frame].concat()
}

#[test]
fn a_length_of_a_gigabyte_ends_the_connection() {
    let (mut peer, mut other) = pair();
    other.write_all(&(1u32 << 30).to_be_bytes()).unwrap();
    let error = peer.receive().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}

#[test]
fn a_closed_connection_is_an_error_both_ways() {
    let (mut peer, other) = pair();
    drop(other);
    assert_eq!(give(&mut peer, &mut [vec![0; 60]], 60).unwrap_err().kind(), ErrorKind::BrokenPipe);
    assert_eq!(peer.receive().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn frames_that_the_other_side_would_not_take_are_refused() {
    let (mut peer, mut other) = pair();
    let mut frames = [vec![2; 1514], vec![1; 1515], vec![3; 13], vec![4; 14]];
    assert_eq!(give(&mut peer, &mut frames, 1000).unwrap(), Sent::Refused(1));
    assert_eq!(give(&mut peer, &mut frames[2..], 1000).unwrap(), Sent::Refused(0));
    assert_eq!(give(&mut peer, &mut frames[3..], 1).unwrap(), Sent::All);
    // More pieces than the kernel takes.
    assert_eq!(give(&mut peer, &mut [vec![5; 1100]], 1).unwrap(), Sent::Refused(0));
    assert_eq!(give(&mut peer, &mut vec![vec![6; 600]; 2], 1).unwrap(), Sent::All);
    let mut read = vec![0; 4 + 1514 + 4 + 14];
    other.read_exact(&mut read).unwrap();
    assert_eq!(read, [framed(&[2; 1514]), framed(&[4; 14])].concat());
    let mut read = vec![0; 2 * 604];
    other.read_exact(&mut read).unwrap();
    assert_eq!(read, [framed(&[6; 600]), framed(&[6; 600])].concat());
}

/// One that waits for frames gets all of a turn at once.
#[test]
fn frames_of_a_turn_go_together() {
    let (mut peer, mut other) = pair();
    let mut frames: Vec<_> = (1..=3).map(|value| vec![value; 60]).collect();
    assert_eq!(give(&mut peer, &mut frames, 50).unwrap(), Sent::All);
    other.set_nonblocking(true).unwrap();
    let mut read = [0; 512];
    let count = other.read(&mut read).unwrap();
    assert_eq!(read[..count], [framed(&[1; 60]), framed(&[2; 60]), framed(&[3; 60])].concat());
    assert!(!peer.is_blocked());
}

/// What the socket cuts goes on where it was cut, wherever that is.
#[test]
fn the_end_of_a_frame_follows_when_there_is_room() {
    let (mut peer, mut other) = pair();
    set_socket_send_buffer_size(&peer.socket, 4096).unwrap();
    other.set_nonblocking(true).unwrap();
    let mut frames: Vec<_> = (1..=200u8).map(|value| vec![value; 14 + 7 * usize::from(value)]).collect();
    let wanted: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
    let (mut got, mut gone, mut held) = (Vec::new(), 0, false);
    while got.len() < wanted.len() {
        match give(&mut peer, &mut frames[gone..], 100).unwrap() {
            Sent::Later(more) => gone += more,
            Sent::All => gone = 200,
            Sent::Refused(_) => panic!("refused"),
        }
        held |= peer.is_blocked();
        let mut read = [0; 3000];
        if let Ok(count) = other.read(&mut read) {
            got.extend_from_slice(&read[..count]);
        }
    }
    assert!(got == wanted && held && !peer.is_blocked());
}

/// Over a socket that keeps writes apart, each is of whole frames and not longer than what Linux leaves in one piece.
#[test]
fn no_write_ends_within_a_frame() {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::empty(), None).unwrap();
    let mut peer = StreamPeer::new(ours.into(), 65_535).unwrap();
    let mut other = UnixStream::from(theirs);
    other.set_nonblocking(true).unwrap();
    // 64 of a usual turn, then one that is longer than a write among short ones.
    let lens: Vec<usize> =
        [1514, 66].into_iter().cycle().take(64).chain([40_000, 60, 60, 65_535, 1514]).collect();
    let mut frames: Vec<_> = lens.iter().map(|len| vec![*len as u8; *len]).collect();
    let mut got = Vec::new();
    let mut read = vec![0; 128 << 10];
    let mut look = |other: &mut UnixStream| {
        while let Ok(count) = other.read(&mut read) {
            let (mut rest, mut frames) = (&read[..count], 0);
            while let Some((prefix, behind)) = rest.split_first_chunk() {
                let len = u32::from_be_bytes(*prefix) as usize;
                let (frame, behind) = behind.split_at_checked(len).expect("a frame is cut");
                assert!(frame.iter().all(|byte| *byte == len as u8), "{len}");
                (rest, frames) = (behind, frames + 1);
                got.push(len);
            }
            assert!(rest.is_empty(), "a length is cut");
            assert!(count <= 32 << 10 || frames == 1, "{frames} frames in {count} bytes");
        }
    };
    let mut rest = frames.as_mut_slice();
    while !rest.is_empty() {
        rest = match give(&mut peer, rest, 5000).unwrap() {
            Sent::All => &mut [],
            Sent::Later(gone) => &mut rest[gone..],
            Sent::Refused(_) => panic!("refused"),
        };
        look(&mut other);
    }
    assert_eq!(got, lens);
}

/// A reader that stands still, and then goes on.
#[test]
fn a_full_socket_holds_frames_up_and_loses_none() {
    let (mut peer, mut other) = pair();
    let numbered = |number: u32| [&number.to_be_bytes()[..], &[7; 996]].concat();
    let mut sent = 0u32;
    loop {
        match give(&mut peer, &mut [numbered(sent)], 1000).unwrap() {
            Sent::All => sent += 1,
            Sent::Later(gone) => break assert_eq!(gone, 0),
            Sent::Refused(_) => panic!("refused"),
        }
    }
    assert!(sent > 10);
    for number in 0..sent {
        let mut frame = vec![0; 1004];
        other.read_exact(&mut frame).unwrap();
        assert_eq!(frame, framed(&numbered(number)));
        peer.unblock().unwrap();
    }
    assert!(!peer.is_blocked());
}

proptest! {
    /// However the stream is cut into pieces, the frames are the same, and those that are none are left out.
    #[test]
    fn frames_survive_any_cut(lens in prop::collection::vec(0usize..3000, 1..20), cuts in prop::collection::vec(1usize..2000, 1..60)) {
        let (mut peer, mut other) = pair();
        let frames: Vec<Vec<u8>> = lens.iter().zip(1u8..).map(|(len, value)| vec![value; *len]).collect();
        let stream: Vec<u8> = frames.iter().flat_map(|frame| framed(frame)).collect();
        let mut got = Vec::new();
        let mut rest = stream.as_slice();
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            other.write_all(now).unwrap();
            got.extend(std::iter::from_fn(|| next(&mut peer)));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        let wanted: Vec<Vec<u8>> = frames.into_iter().filter(|frame| frame.len() >= ETHERNET_HEADER).collect();
        prop_assert_eq!(got, wanted);
    }
}
