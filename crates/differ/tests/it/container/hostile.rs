//! Archives that somebody made up.

use std::io::{self, Write};

use proptest::prelude::*;
use updraft_delta::container::zip::MEMBERS_MAX;
use updraft_delta::container::{Deflated, Error, Method, Packer, Params, unpack};
use updraft_differ::container::{as_base, recognise};

use super::archive::{Archive, How, Member, gzip, text};
use super::{ROOM, SIX, assert_packed_again, contents, packed};

fn good() -> Member {
    Member::new("good", &text(500, 1), SIX)
}

/// An archive of a good member and this one, which should stay as it is.
#[track_caller]
fn assert_stays(member: Member) {
    let raw_len = member.content.len() as u32;
    let archive = Archive::of(vec![good(), member]);
    let unpacked = assert_packed_again(&archive.bytes());
    assert_eq!(contents(&unpacked)[0], good().content);
    assert_ne!(contents(&unpacked)[1].len(), raw_len as usize, "it was not inflated");
    let base = as_base(&archive.bytes(), &[], ROOM).unwrap();
    assert_eq!(base.image, unpacked.image);
}

#[test]
fn a_member_that_lies_stays_as_it_is() {
    let honest = Member::new("other", &text(900, 2), SIX);
    assert_stays(Member { crc_lie: 1, ..honest.clone() });
    assert_stays(Member { len_lie: 1, ..honest.clone() });
    assert_stays(Member { len_lie: 1_u32.wrapping_neg(), ..honest.clone() });
    assert_stays(Member { crc_lie: 1, descriptor: 1, ..honest.clone() });
    // Encrypted, so whatever it says is true of other bytes.
    assert_stays(Member { flags: 1, ..honest });
}

#[test]
fn members_that_overlap_are_no_archive() {
    let bytes = Archive::of(vec![good(), Member { name: "twin".to_owned(), ..good() }]).bytes();
    assert!(recognise(&bytes, ROOM).is_some());
    // The second entry of the directory names the first member, under its own name and then under the other's.
    let directory: Vec<usize> = (0..bytes.len()).filter(|n| bytes[*n..].starts_with(b"PK\x01\x02")).collect();
    let mut twice = bytes.clone();
    twice[directory[1] + 42..][..4].fill(0);
    assert!(recognise(&twice, ROOM).is_none());
    twice[directory[1] + 46..][..4].copy_from_slice(b"good");
    assert!(recognise(&twice, ROOM).is_none());
    // A packed length that reaches into the next member.
    let mut long = bytes;
    long[directory[0] + 20] = 0xff;
    assert!(recognise(&long, ROOM).is_none());
}

#[test]
fn a_hundred_thousand_members_are_an_archive_and_too_many_are_none() {
    let tiny = |n: usize| Member { time: n as u32, ..Member::new("", b"", SIX) };
    let archive = |count| Archive { is_long: true, ..Archive::of((0..count).map(tiny).collect()) };
    let bytes = archive(100_000).bytes();
    let unpacked = recognise(&bytes, ROOM).unwrap();
    assert!(packed(&unpacked.image, &unpacked.params, 64 << 10) == bytes);
    assert_eq!(unpacked.params.encode().len(), 4);
    assert!(recognise(&archive(MEMBERS_MAX + 1).bytes(), ROOM).is_none());
}

/// Takes so many bytes and counts them.
struct Room {
    taken: u64,
}

impl Write for Room {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.taken += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_bomb_stops_where_it_was_told_to() {
    let zeros = vec![0; 10 << 20];
    let room = 1 << 20;
    let honest = Archive::of(vec![Member::new("bomb", &zeros, SIX)]).bytes();
    let lying = Member { len_lie: 10_u32.wrapping_sub(zeros.len() as u32), ..Member::new("bomb", &zeros, SIX) };
    let lying = Archive::of(vec![lying]).bytes();
    let file = gzip(&zeros, Deflated::usual(6), None);
    let zip_params = Params::of_zip([Method::Deflated(Deflated::usual(6))]);
    let file_params = Params::of_gzip(vec![(10, Deflated::usual(6))]);
    for (bytes, params) in [(&honest, &zip_params), (&lying, &zip_params), (&file, &file_params)] {
        assert!(bytes.len() < 100_000, "{}", bytes.len());
        assert!(recognise(bytes, room).is_none());
        let mut sink = Room { taken: 0 };
        assert!(unpack(bytes, params, room, &mut sink).is_err());
        assert!(sink.taken <= room, "{}", sink.taken);
    }
    let too_long = unpack(&honest, &zip_params, room, &mut io::sink());
    assert!(matches!(too_long, Err(Error::Limit { max, .. }) if max == room), "{too_long:?}");
}

#[test]
fn parameters_of_another_container_are_refused() {
    let zip = Archive::of(vec![good(), Member { flags: 1, ..good() }]).bytes();
    let six = Deflated::usual(6);
    for params in [Params::of_zip([Method::Deflated(six)]), Params::of_zip([]), Params::of_gzip(vec![(500, six)])] {
        assert!(matches!(unpack(&zip, &params, ROOM, &mut io::sink()), Err(Error::Shape(_))), "{params:?}");
    }
    let file = gzip(b"text", six, None);
    for len in [0, 3, 5] {
        let params = Params::of_gzip(vec![(len, six)]);
        assert!(matches!(unpack(&file, &params, ROOM, &mut io::sink()), Err(Error::Shape(_))), "{len}");
    }
}

#[test]
fn an_image_that_is_too_short_is_not_whole() {
    for bytes in [Archive::of(vec![good()]).bytes(), gzip(b"text", Deflated::usual(6), Some("name"))] {
        let unpacked = recognise(&bytes, ROOM).unwrap();
        let whole = unpacked.image.len();
        // The last byte of the zip is of its end record; of gzip, of the content.
        for len in 0..whole {
            let mut packer = Packer::new(&unpacked.params).unwrap();
            packer.write(&unpacked.image[..len], &mut io::sink()).unwrap();
            assert!(packer.finish().is_err(), "{len} of {whole}");
        }
    }
}

/// Several kinds of archive, to be damaged.
fn samples() -> Vec<Vec<u8>> {
    let members = [(SIX, 0), (How::Stored, 1), (How::Foreign, 4), (How::Zlib(Deflated::usual(9)), 2)];
    let members = members.map(|(how, descriptor)| Member { descriptor, ..Member::new("name", &text(300, 5), how) });
    let plain = Archive::of(members.to_vec());
    let long = Archive { is_long: true, is_turned: true, front: b"front".to_vec(), ..plain.clone() };
    let gzip = [gzip(&text(300, 5), Deflated::usual(6), None), gzip(b"", Deflated::usual(9), Some("n"))].concat();
    vec![plain.bytes(), long.bytes(), gzip]
}

fn damaged(mut bytes: Vec<u8>, flips: &[(usize, u8)]) -> Vec<u8> {
    for (at, by) in flips {
        let len = bytes.len();
        // Half of them behind, where directories are.
        let at = if by % 2 == 0 { at % len } else { len - 1 - at % len.min(300) };
        bytes[at] ^= by;
    }
    bytes
}

proptest! {
    #[test]
    fn a_damaged_container_is_packed_again_or_is_none(
        n in 0..3_usize,
        flips in proptest::collection::vec(any::<(usize, u8)>(), 1..5),
        cut in 0..100_usize,
    ) {
        let mut bytes = damaged(samples().swap_remove(n), &flips);
        bytes.truncate(bytes.len() - cut.saturating_sub(50));
        as_base(&bytes, &[], ROOM);
        if recognise(&bytes, ROOM).is_some() {
            assert_packed_again(&bytes);
        }
    }

    #[test]
    fn a_damaged_image_makes_something_or_an_error(
        n in 0..3_usize,
        flips in proptest::collection::vec(any::<(usize, u8)>(), 1..5),
        in_front in 0..260_usize,
        by: u8,
    ) {
        let unpacked = recognise(&samples()[n], ROOM).unwrap();
        let mut image = damaged(unpacked.image, &flips);
        if let Some(byte) = image.get_mut(in_front) {
            *byte ^= by;
        }
        let mut packer = Packer::new(&unpacked.params).unwrap();
        let mut room = Room { taken: 0 };
        if packer.write(&image, &mut room).is_ok() {
            let _ = packer.finish();
        }
        prop_assert!(room.taken < 10_000);
    }
}
