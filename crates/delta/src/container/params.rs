//! How the members of one container were packed: what the maker of a patch found out, and the applier repeats.
//!
//! ```text
//! kind                  1 byte: 1 zip, 2 gzip
//! number of rows        varint; for each:
//!   zip:  how many members, one behind the other; 0 in the last row, which goes on to the end
//!   gzip: inflated length of one member
//!   method              varint
//! ```
//!
//! A method is 0 for packed bytes that stay as they are, whatever they are. Else the directory says whether a member is stored or
//! deflated, and if it is, it was packed as the method says: by zlib as
//! `1 + (level - 1) + 9 * (memory level - 1) + 81 * strategy + 405 * (15 - window)`, by gzip as `2836 + (level - 1)`, by zip as
//! `2845 + (level - 1)`.

use super::Error;
use super::gnu::{Gnu, Program};
use super::zip::Packed;
use crate::limits::IMAGE_LEN_MAX;
use crate::varint;

/// Most rows: as many as there may be members.
pub const ROWS_MAX: usize = 1 << 18;

const LEVELS: u64 = 9;
const MEMORY_LEVELS: u64 = 9;
const STRATEGIES: u64 = 5;
const WINDOW_LOG_MAX: u64 = 15;
const WINDOW_LOG_MIN: u64 = 9;

/// How many ways of zlib there are.
const ZLIB_CODES: u64 = LEVELS * MEMORY_LEVELS * STRATEGIES * (WINDOW_LOG_MAX - WINDOW_LOG_MIN + 1);
/// The programs whose ways come behind those, nine each.
const PROGRAMS: [Program; 2] = [Program::Gzip, Program::Zip];

/// Who deflated something, and what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deflated {
    /// zlib.
    Zlib(Zlib),
    /// One of the programs from which zlib came.
    Gnu(Gnu),
}

impl Deflated {
    /// By zlib, at a level from 1 to 9, and what goes with it unless somebody says otherwise.
    ///
    /// # Panics
    /// For any other level.
    pub const fn usual(level: u8) -> Self {
        Self::Zlib(Zlib::usual(level))
    }

    fn code(self) -> u64 {
        match self {
            Self::Zlib(zlib) => zlib.code(),
            Self::Gnu(gnu) => {
                let program = PROGRAMS.iter().position(|program| *program == gnu.program()).expect("all are listed");
                ZLIB_CODES + LEVELS * program as u64 + u64::from(gnu.level() - 1)
            }
        }
    }

    fn of_code(code: u64) -> Option<Self> {
        let Some(gnu) = code.checked_sub(ZLIB_CODES) else { return Some(Self::Zlib(Zlib::of_code(code))) };
        let program = PROGRAMS.get(usize::try_from(gnu / LEVELS).ok()?)?;
        Some(Self::Gnu(Gnu::new(*program, (gnu % LEVELS) as u8 + 1)))
    }
}

/// What zlib was told when it packed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zlib {
    level: u8,
    memory_level: u8,
    strategy: u8,
    window_log: u8,
}

impl Zlib {
    /// A level from 1 to 9, and what goes with it unless somebody says otherwise.
    ///
    /// # Panics
    /// For any other level.
    pub const fn usual(level: u8) -> Self {
        assert!(level >= 1 && level <= 9, "there are nine levels that compress");
        Self { level, memory_level: 8, strategy: 0, window_log: WINDOW_LOG_MAX as u8 }
    }

    /// The same with another memory level, from 1 to 9.
    ///
    /// # Panics
    /// For any other memory level.
    #[must_use]
    pub const fn with_memory_level(self, memory_level: u8) -> Self {
        assert!(memory_level >= 1 && memory_level <= 9, "there are nine memory levels");
        Self { memory_level, ..self }
    }

    /// The same with another strategy of zlib, from 0 to 4.
    ///
    /// # Panics
    /// For any other strategy.
    #[must_use]
    pub const fn with_strategy(self, strategy: u8) -> Self {
        assert!(strategy <= 4, "there are five strategies");
        Self { strategy, ..self }
    }

    /// From 1 to 9.
    pub fn level(self) -> u8 {
        self.level
    }

    /// From 1 to 9.
    pub fn memory_level(self) -> u8 {
        self.memory_level
    }

    /// From 0 to 4, as zlib numbers them.
    pub fn strategy(self) -> u8 {
        self.strategy
    }

    /// Length of the window as a power of two, from 9 to 15.
    pub fn window_log(self) -> u8 {
        self.window_log
    }

    fn code(self) -> u64 {
        let [level, memory, strategy, window] =
            [self.level, self.memory_level, self.strategy, self.window_log].map(u64::from);
        (level - 1) + LEVELS * ((memory - 1) + MEMORY_LEVELS * (strategy + STRATEGIES * (WINDOW_LOG_MAX - window)))
    }

    /// Of a code below [`ZLIB_CODES`].
    fn of_code(mut code: u64) -> Self {
        let mut digit = |base: u64| {
            let digit = (code % base) as u8;
            code /= base;
            digit
        };
        let (level, memory_level, strategy) = (digit(LEVELS) + 1, digit(MEMORY_LEVELS) + 1, digit(STRATEGIES));
        Self { level, memory_level, strategy, window_log: (WINDOW_LOG_MAX - code) as u8 }
    }
}

/// How a member was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Its packed bytes stay as they are, and nothing is derived from them.
    Raw,
    /// Not packed at all.
    Stored,
    /// Deflated.
    Deflated(Deflated),
}

fn code(method: Option<Deflated>) -> u64 {
    method.map_or(0, |parameters| 1 + parameters.code())
}

fn of_code(code: u64) -> Option<Option<Deflated>> {
    match code {
        0 => Some(None),
        _ => Deflated::of_code(code - 1).map(Some),
    }
}

/// What a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An archive with a directory at its end, whatever it is called: zip, jar, whl, nupkg, apk, docx.
    Zip,
    /// One or more gzip members.
    Gzip,
}

/// How the members of one container were packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    pub(super) kind: Kind,
    /// Members of a zip in a row, with 0 for "all others" in the last; or the length of one gzip member. And with which
    /// parameters they were deflated, if they were; none where the packed bytes stay as they are.
    pub(super) rows: Vec<(u64, Option<Deflated>)>,
}

impl Params {
    /// Of a zip whose members, in the order in which they lie, were packed like this.
    pub fn of_zip(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut rows: Vec<(u64, Option<Deflated>)> = Vec::new();
        // Stored ones that belong to whichever row comes next.
        let mut stored = 0;
        for method in methods {
            let method = match method {
                Method::Raw => None,
                Method::Deflated(parameters) => Some(parameters),
                Method::Stored => {
                    stored += 1;
                    continue;
                }
            };
            let joined = 1 + std::mem::take(&mut stored);
            match (rows.last_mut(), method) {
                (Some((count, last)), _) if *last == method && method.is_some() => *count += joined,
                (Some((count, Some(_))), None) => {
                    *count += joined - 1;
                    rows.push((1, None));
                }
                (Some((count, None)), None) if joined == 1 => *count += 1,
                (_, None) if joined > 1 => rows.extend([(joined - 1, Some(Deflated::usual(6))), (1, None)]),
                _ => rows.push((joined, method)),
            }
        }
        match rows.last_mut() {
            Some((count, Some(_))) => *count += stored,
            _ if stored > 0 => rows.push((stored, Some(Deflated::usual(6)))),
            _ => {}
        }
        if let Some((count, _)) = rows.last_mut() {
            *count = 0;
        }
        Self { kind: Kind::Zip, rows }
    }

    /// Of a gzip file whose members have these inflated lengths; what is behind them stays as it is.
    pub fn of_gzip(members: Vec<(u64, Deflated)>) -> Self {
        let rows = members.into_iter().map(|(len, method)| (len, Some(method))).collect();
        Self { kind: Kind::Gzip, rows }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same for a container that is only unpacked: who packed it does not matter, and fewer bytes say so.
    #[must_use]
    pub fn to_unpack(&self) -> Self {
        let any = |method: Option<Deflated>| method.map(|_| Deflated::usual(1));
        match self.kind {
            Kind::Zip => {
                let mut rows: Vec<(u64, Option<Deflated>)> = Vec::new();
                for (count, method) in self.rows.iter().map(|(count, method)| (*count, any(*method))) {
                    match rows.last_mut() {
                        // The last row has no count: nor have both together.
                        Some((sum, last)) if *last == method => *sum = if count == 0 { 0 } else { *sum + count },
                        _ => rows.push((count, method)),
                    }
                }
                Self { kind: self.kind, rows }
            }
            Kind::Gzip => Self { rows: self.rows.iter().map(|(len, method)| (*len, any(*method))).collect(), ..*self },
        }
    }

    /// As they lie in a patch.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![match self.kind {
            Kind::Zip => 1,
            Kind::Gzip => 2,
        }];
        varint::write(&mut bytes, self.rows.len() as u64);
        for (number, method) in &self.rows {
            varint::write(&mut bytes, *number);
            varint::write(&mut bytes, code(*method));
        }
        bytes
    }

    /// Reads the parameters that `rest` begins with.
    ///
    /// # Errors
    /// When it does not.
    pub fn decode(rest: &mut &[u8]) -> Result<Self, Error> {
        Self::decode_within(rest, &mut { ROWS_MAX })
    }

    /// The same, with at most `room` rows, which those that were read are taken from.
    pub(crate) fn decode_within(rest: &mut &[u8], room: &mut usize) -> Result<Self, Error> {
        let damaged = || Error::Shape("its parameters are damaged");
        let number = |rest: &mut &[u8]| varint::read(rest).map_err(|_| damaged());
        let kind = match number(rest)? {
            1 => Kind::Zip,
            2 => Kind::Gzip,
            _ => return Err(Error::Shape("it is of a kind that this program does not know")),
        };
        let count = number(rest)?;
        // A row takes two bytes at least.
        if count > *room as u64 || count > rest.len() as u64 / 2 {
            return Err(damaged());
        }
        *room -= count as usize;
        let mut rows = Vec::with_capacity(count as usize);
        let mut sum = 0_u64;
        for n in 0..count {
            let len = number(rest)?;
            let method = of_code(number(rest)?).ok_or_else(damaged)?;
            sum = sum.checked_add(len).filter(|sum| *sum <= IMAGE_LEN_MAX).ok_or_else(damaged)?;
            let is_good = match kind {
                Kind::Zip => (len == 0) == (n + 1 == count),
                Kind::Gzip => method.is_some(),
            };
            if !is_good {
                return Err(damaged());
            }
            rows.push((len, method));
        }
        Ok(Self { kind, rows })
    }

    /// The row of each member of a zip; the last one goes on for ever.
    pub(super) fn each(&self) -> Each {
        Each { rows: self.rows.clone(), row: 0, done: 0 }
    }
}

/// The rows of the members of a zip, one after the other.
#[derive(Debug)]
pub(super) struct Each {
    rows: Vec<(u64, Option<Deflated>)>,
    row: usize,
    done: u64,
}

impl Each {
    /// How the next member was packed, of which the directory says `packed`.
    pub(super) fn next(&mut self, packed: Packed) -> Result<Method, Error> {
        let Some((count, method)) = self.rows.get(self.row).copied() else {
            return Err(Error::Shape("its parameters are for fewer members"));
        };
        self.done += 1;
        if self.done == count {
            (self.row, self.done) = (self.row + 1, 0);
        }
        match (method, packed) {
            (None, _) => Ok(Method::Raw),
            (Some(_), Packed::Stored) => Ok(Method::Stored),
            (Some(parameters), Packed::Deflated) => Ok(Method::Deflated(parameters)),
            (Some(_), Packed::Otherwise) => Err(Error::Shape("a member is not packed as its parameters say")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_method() -> impl Strategy<Value = Method> {
        let parameters = (1..=9_u8, 1..=9_u8, 0..=4_u8, 9..=15_u8);
        let deflated = parameters.prop_map(|(level, memory_level, strategy, window_log)| {
            Method::Deflated(Deflated::Zlib(Zlib { level, memory_level, strategy, window_log }))
        });
        let gnu = (proptest::sample::select(&PROGRAMS[..]), 1..=9_u8);
        let gnu = gnu.prop_map(|(program, level)| Method::Deflated(Deflated::Gnu(Gnu::new(program, level))));
        let usual = Just(Method::Deflated(Deflated::usual(6)));
        prop_oneof![Just(Method::Raw), Just(Method::Stored), deflated, gnu, usual]
    }

    proptest! {
        #[test]
        fn there_and_back(methods in proptest::collection::vec(any_method(), 0..20), more: Vec<u8>) {
            let params = Params::of_zip(methods.clone());
            let bytes = [params.encode(), more.clone()].concat();
            let mut rest = &bytes[..];
            prop_assert_eq!(&Params::decode(&mut rest).unwrap(), &params);
            prop_assert_eq!(rest, more);
            for mut each in [params.each(), params.to_unpack().each()] {
                for method in &methods {
                    let packed = match method {
                        Method::Raw => Packed::Otherwise,
                        Method::Stored => Packed::Stored,
                        Method::Deflated(_) => Packed::Deflated,
                    };
                    let found = each.next(packed).unwrap();
                    let is_any = matches!((found, method), (Method::Deflated(_), Method::Deflated(_)));
                    prop_assert!(found == *method || is_any);
                }
            }
            let mut each = params.each();
            for method in methods.iter().filter_map(|m| if let Method::Deflated(p) = m { Some(*p) } else { None }) {
                let is_it = |row: &(u64, Option<Deflated>)| row.1 == Some(method);
                prop_assert!(params.rows.iter().any(is_it));
            }
            drop(each.next(Packed::Stored));
        }

        #[test]
        fn one_way_to_write_them(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            if let Ok(params) = Params::decode(&mut rest) {
                prop_assert_eq!(params.encode(), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn the_codes_of_format_1_are_what_they_were() {
        let zlib = Zlib { level: 9, memory_level: 9, strategy: 4, window_log: 9 };
        let gnu = |program, level| Deflated::Gnu(Gnu::new(program, level));
        let (gzip, zip) = (Program::Gzip, Program::Zip);
        let all = [(69, Deflated::usual(6)), (2835, Deflated::Zlib(zlib)), (2836, gnu(gzip, 1)), (2844, gnu(gzip, 9))];
        for (number, deflated) in all.into_iter().chain([(2845, gnu(zip, 1)), (2853, gnu(zip, 9))]) {
            assert_eq!((code(Some(deflated)), of_code(number)), (number, Some(Some(deflated))));
        }
        assert_eq!([2854, u64::MAX].map(of_code), [None; 2]);
    }

    #[test]
    fn a_uniform_jar_costs_four_bytes() {
        let six = Method::Deflated(Deflated::usual(6));
        assert_eq!(Params::of_zip([six; 22_521]).encode().len(), 4);
        assert_eq!(Params::of_zip([Method::Stored, six, Method::Stored, six]).encode().len(), 4);
    }

    #[test]
    fn to_unpack_only_what_stays_raw_matters() {
        let [six, nine] = [6, 9].map(|level| Method::Deflated(Deflated::usual(level)));
        let params = Params::of_zip([six, nine, nine, Method::Raw, six, nine]).to_unpack();
        let one = Some(Deflated::usual(1));
        assert_eq!(params.rows, [(3, one), (1, None), (0, one)]);
    }
}
