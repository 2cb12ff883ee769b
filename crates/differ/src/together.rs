//! Files that are compared all at once, in memory.

use crate::compose::{self, Bases, Listed, Parts};
use crate::encode::{self, Plain};
use crate::file::{File, Unpacked};
use crate::image::Image;
use crate::make::{Made, Options};
use crate::matcher::{self, Copy};
use crate::memory::Memory;
use crate::relevant::keep_relevant;
use crate::suffix::Index;

/// The smallest patch from `old` to `new` that is found.
pub(crate) fn made(old: &[&[u8]], new: &[&[u8]], options: &Options) -> Made {
    let len = |files: &[&[u8]]| files.iter().map(|file| file.len() as u64).sum();
    let room = Memory(options.memory).for_images(len(old), len(new));
    let unpacked = Unpacked::of(new, room);
    // What stays packed is like old ones that stay packed, what does not is not: where there is both, both is tried.
    let is_mixed = unpacked.is_any() && !unpacked.is_all();
    let made = tried(unpacked.files(old, new, room), options);
    if !is_mixed {
        return made;
    }
    let plain = tried(Unpacked::none(new).files(old, new, room), options);
    if plain.patch.len() < made.patch.len() { plain } else { made }
}

fn tried((mut olds, news): (Vec<File<'_>>, Vec<File<'_>>), options: &Options) -> Made {
    keep_relevant(&mut olds, &news);
    let old_count = olds.last().map_or(0, |old| old.number + 1);
    let outputs = compared(&olds, &news);
    let known = |number: usize| olds.binary_search_by_key(&number, |old| old.number).ok().map(|n| &olds[n]);
    let bases = Bases::of(&outputs, old_count, |number| known(number).map_or(0, |old| old.image().len()));
    let image = bases.image(|number| known(number).map(File::image));
    let files: Vec<&File<'_>> = bases.numbers.iter().filter_map(|number| known(*number)).collect();
    let placed: Vec<(usize, &File<'_>)> = files.iter().copied().enumerate().collect();
    let mut plain = Plain::new(usize::MAX);
    for (new, parts) in news.iter().zip(&outputs) {
        plain.add(&placed, &image, new, &bases.copies(parts));
    }
    let base = |old: &&File<'_>| Listed { number: old.number, len: old.len() as u64, image: old.to_unpack() };
    let output = |new: &File<'_>| Listed { number: new.number, len: new.len() as u64, image: new.to_pack() };
    let listed = files.iter().map(base).collect();
    Made { patch: compose::patch(options, listed, news.iter().map(output).collect(), &plain), bases: bases.numbers }
}

/// What each of `news` is copied from.
pub(crate) fn compared(olds: &[File<'_>], news: &[File<'_>]) -> Vec<Parts> {
    let image = Image::new(olds.iter().map(File::image));
    let mut text = Vec::with_capacity(olds.iter().map(|file| file.image().len()).sum());
    olds.iter().for_each(|file| text.extend_from_slice(&file.matched()));
    let index = Index::new(&text);
    let mut near = 0;
    let parts = news.iter().map(|new| {
        let copies = best_copies(&index, &image, new, near);
        near = copies.last().map_or(near, |copy| copy.old + copy.len);
        let parts = copies.into_iter().flat_map(|copy| image.split(copy).collect::<Vec<_>>());
        let parts = parts.map(|(n, part)| (olds[n].number, Copy { old: part.old - image.span(n).0, ..part }));
        parts.collect()
    });
    parts.collect()
}

/// The copies of one file that make it smallest, of those that are tried.
fn best_copies(index: &Index<'_>, image: &Image<'_>, new: &File<'_>, near: usize) -> Vec<Copy> {
    let matched = new.matched();
    let tried = new.costs().iter().map(|costs| matcher::copies(index, &matched, *costs, near));
    let mut tried: Vec<Vec<Copy>> = tried.collect();
    if let [.., cheap, dear] = tried.as_slice() {
        tried.push(matcher::mixed(cheap, dear, matched.len()));
    }
    let copies = match tried.len() {
        1 => tried.swap_remove(0),
        _ => tried.into_iter().min_by_key(|copies| encode::estimate(image, new, copies)).unwrap_or_default(),
    };
    if new.has_words() { whole_words(copies) } else { copies }
}

/// Leaves out the ends of copies that are less than an instruction of four bytes.
fn whole_words(mut copies: Vec<Copy>) -> Vec<Copy> {
    for copy in &mut copies {
        let skip = (copy.new.next_multiple_of(4) - copy.new).min(copy.len);
        let len = (copy.len - skip) / 4 * 4;
        *copy = Copy { new: copy.new + skip, old: copy.old + skip, len };
    }
    copies.retain(|copy| copy.len > 0);
    copies
}
