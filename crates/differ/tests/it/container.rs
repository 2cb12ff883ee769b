//! Containers: what is unpacked is packed again to the byte, and what somebody made up costs nothing but the attempt.

mod archive;
mod gnu;
mod hostile;

use proptest::prelude::*;
use updraft_delta::container::{Deflated, Kind, Packer, Params, Zlib, unpack};
use updraft_differ::container::{Unpacked, as_base, recognise};

use archive::{Archive, How, Member, any_archive, gzip, text};

/// Longer than any image here.
const ROOM: u64 = 100 << 20;

const SIX: How = How::Zlib(Deflated::usual(6));

/// What comes out of an image that comes in pieces of this length.
fn packed(image: &[u8], params: &Params, piece_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut packer = Packer::new(params).unwrap();
    image.chunks(piece_len).for_each(|piece| packer.write(piece, &mut out).unwrap());
    packer.finish().unwrap();
    out
}

/// What an image says are the contents of its members.
fn contents(unpacked: &Unpacked) -> Vec<&[u8]> {
    let content = |at: &std::ops::Range<u64>| &unpacked.image[at.start as usize..at.end as usize];
    unpacked.contents.iter().map(content).collect()
}

/// The same container, by way of a patch.
fn assert_packed_again(container: &[u8]) -> Unpacked {
    let unpacked = recognise(container, ROOM).expect("it is a container");
    let encoded = unpacked.params.encode();
    let params = Params::decode(&mut &encoded[..]).unwrap();
    for piece_len in [999, unpacked.image.len()] {
        assert!(packed(&unpacked.image, &params, piece_len) == container, "in pieces of {piece_len}");
    }
    for params in [&params, &params.to_unpack()] {
        let mut image = Vec::new();
        let found = unpack(&container, params, unpacked.image.len() as u64, &mut image).unwrap();
        assert!(image == unpacked.image);
        assert_eq!((found.len, found.contents), (image.len() as u64, unpacked.contents.clone()));
    }
    unpacked
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn an_archive_is_unpacked_and_packed_again(archive in any_archive()) {
        let bytes = archive.bytes();
        let is_worth_it = archive.members.iter().any(|member| matches!(member.how, How::Zlib(_)));
        if is_worth_it {
            let unpacked = assert_packed_again(&bytes);
            for (content, member) in contents(&unpacked).iter().zip(&archive.members) {
                let is_raw = member.how == How::Foreign;
                prop_assert!(is_raw || *content == member.content);
            }
            // What is only read is inflated whoever packed it; what stays as it is in the new one, stays.
            let base = as_base(&bytes, &[], ROOM).unwrap();
            let inflated = contents(&base);
            prop_assert!(inflated.iter().zip(&archive.members).all(|(content, member)| *content == member.content));
            prop_assert!(as_base(&bytes, &[&unpacked], ROOM).unwrap().image == unpacked.image);
        }
    }

    #[test]
    fn what_is_packed_by_all_parameters_is_found(level in 1..=9_u8, memory_level in 8..=9_u8, len in 0..70_000_usize) {
        let parameters = Deflated::Zlib(Zlib::usual(level).with_memory_level(memory_level));
        let archive = Archive::of(vec![Member::new("a", &text(len, 1), How::Zlib(parameters))]);
        assert_packed_again(&archive.bytes());
    }

    #[test]
    fn gzip_members_are_unpacked_and_packed_again(lens in proptest::collection::vec(0..70_000_usize, 1..4), behind: Vec<u8>) {
        let names = [None, Some("name"), Some("")];
        let members = lens.iter().zip([6, 9, 1]).zip(names);
        let members = members.flat_map(|((len, level), name)| gzip(&text(*len, level.into()), Deflated::usual(level), name));
        let bytes: Vec<u8> = members.chain(behind).collect();
        let unpacked = assert_packed_again(&bytes);
        prop_assert_eq!(unpacked.params.kind(), Kind::Gzip);
        prop_assert!(unpacked.contents.iter().map(|at| (at.end - at.start) as usize).eq(lens));
    }
}

#[test]
fn what_follows_is_not_in_the_image() {
    let archive = |text: &[u8]| Archive::of(vec![Member::new("a", text, SIX), Member::new("b", b"same", SIX)]).bytes();
    let [one, two] =
        [b"some text of one kind", b"some text of one sort"].map(|text| assert_packed_again(&archive(text)));
    let differing = one.image.iter().zip(&two.image).filter(|(one, two)| one != two).count();
    assert_eq!((differing, one.image.len()), (4, two.image.len()), "of kind and sort");
}

#[test]
fn a_member_more_costs_its_own_bytes() {
    let members: Vec<Member> = (0..50).map(|n| Member::new(&format!("{n}"), &text(99, n), SIX)).collect();
    let [few, many] =
        [&members[..49], &members].map(|members| assert_packed_again(&Archive::of(members.to_vec()).bytes()));
    assert_eq!(many.image.len() - few.image.len(), 4 + 2 + 2 + 99);
    assert_eq!(many.params, few.params);
}

#[test]
fn what_zlib_did_not_pack_stays_as_it_is() {
    let foreign = Member::new("foreign", b"a text that somebody else packed", How::Foreign);
    let archive = Archive::of(vec![Member::new("a", b"text", SIX), foreign.clone(), Member::new("b", b"", SIX)]);
    let unpacked = assert_packed_again(&archive.bytes());
    assert_eq!(contents(&unpacked)[0], b"text");
    assert!(contents(&unpacked)[1].len() > foreign.content.len());
    assert!(recognise(&Archive::of(vec![foreign]).bytes(), ROOM).is_none(), "nothing would be gained");
}

#[test]
fn a_long_member_says_its_sizes_itself() {
    let long = text(3001, 7).repeat(1400);
    let one = How::Zlib(Deflated::usual(1));
    let members = [(one, 0), (one, 1), (How::Stored, 0), (How::Stored, 1)];
    let members = members.map(|(how, descriptor)| Member { descriptor, ..Member::new("long", &long, how) });
    let archive = Archive::of(members.to_vec());
    let unpacked = recognise(&archive.bytes(), ROOM).unwrap();
    assert!(packed(&unpacked.image, &unpacked.params, 64 << 10) == archive.bytes());
}

/// Containers that Python wrote, and what format 1 makes of them, for ever: parameters and image.
const GOLDEN: [(&[u8], &[u8], &[u8]); 3] = [
    (include_bytes!("../data/python.zip"), &[1, 1, 0, 69], include_bytes!("../data/python.zip.image")),
    (include_bytes!("../data/streamed.zip"), &[1, 1, 0, 69], include_bytes!("../data/streamed.zip.image")),
    (include_bytes!("../data/python.gz"), &[2, 1, 0xd0, 0x12, 72], include_bytes!("../data/python.gz.image")),
];

#[test]
fn the_images_of_format_1_are_what_they_were() {
    for (container, params, image) in GOLDEN {
        let found = assert_packed_again(container);
        assert_eq!(found.params.encode(), params);
        assert!(found.image == image, "of {} bytes", found.image.len());
    }
}
