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
//! A method is 0 for bytes that stay as they are (whatever they are), 1 for a stored member, and for a deflated one
//! `2 + (level - 1) + 9 * (memory level - 1) + 81 * strategy + 405 * (15 - window)`.

use super::Error;
use crate::limits::IMAGE_LEN_MAX;
use crate::varint;

/// Most rows: as many as there may be members.
pub const ROWS_MAX: usize = 1 << 18;

const LEVELS: u64 = 9;
const MEMORY_LEVELS: u64 = 9;
const STRATEGIES: u64 = 5;
const WINDOW_LOG_MAX: u64 = 15;
const WINDOW_LOG_MIN: u64 = 9;

/// What zlib was told when it packed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deflated {
    level: u8,
    memory_level: u8,
    strategy: u8,
    window_log: u8,
}

impl Deflated {
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

    fn of_code(mut code: u64) -> Option<Self> {
        let mut digit = |base: u64| {
            let digit = (code % base) as u8;
            code /= base;
            digit
        };
        let (level, memory_level, strategy) = (digit(LEVELS) + 1, digit(MEMORY_LEVELS) + 1, digit(STRATEGIES));
        let window_log = WINDOW_LOG_MAX.checked_sub(code).filter(|log| *log >= WINDOW_LOG_MIN)? as u8;
        Some(Self { level, memory_level, strategy, window_log })
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

impl Method {
    fn code(self) -> u64 {
        match self {
            Self::Raw => 0,
            Self::Stored => 1,
            Self::Deflated(parameters) => 2 + parameters.code(),
        }
    }

    fn of_code(code: u64) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Stored),
            _ => Deflated::of_code(code - 2).map(Self::Deflated),
        }
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
    /// Members of a zip in a row, with 0 for "all others" in the last; or the length of one gzip member.
    pub(super) rows: Vec<(u64, Method)>,
}

impl Params {
    /// Of a zip whose members, in the order in which they lie, were packed like this.
    pub fn of_zip(methods: impl IntoIterator<Item = Method>) -> Self {
        let mut rows: Vec<(u64, Method)> = Vec::new();
        for method in methods {
            match rows.last_mut() {
                Some((count, last)) if *last == method => *count += 1,
                _ => rows.push((1, method)),
            }
        }
        if let Some((count, _)) = rows.last_mut() {
            *count = 0;
        }
        Self { kind: Kind::Zip, rows }
    }

    /// Of a gzip file whose members have these inflated lengths; what is behind them stays as it is.
    pub fn of_gzip(members: Vec<(u64, Deflated)>) -> Self {
        let rows = members.into_iter().map(|(len, method)| (len, Method::Deflated(method))).collect();
        Self { kind: Kind::Gzip, rows }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same for a container that is only unpacked: which zlib packed it does not matter, and fewer bytes say so.
    #[must_use]
    pub fn to_unpack(&self) -> Self {
        let any = |method: Method| match method {
            Method::Deflated(_) => Method::Deflated(Deflated::usual(1)),
            other => other,
        };
        match self.kind {
            Kind::Zip => {
                let mut rows: Vec<(u64, Method)> = Vec::new();
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
            varint::write(&mut bytes, method.code());
        }
        bytes
    }

    /// Reads the parameters that `rest` begins with.
    ///
    /// # Errors
    /// When it does not.
    pub fn decode(rest: &mut &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Shape("its parameters are damaged");
        let number = |rest: &mut &[u8]| varint::read(rest).map_err(|_| damaged());
        let kind = match number(rest)? {
            1 => Kind::Zip,
            2 => Kind::Gzip,
            _ => return Err(Error::Shape("it is of a kind that this program does not know")),
        };
        let count = number(rest)?;
        // A row takes two bytes at least.
        if count > ROWS_MAX as u64 || count > rest.len() as u64 / 2 {
            return Err(damaged());
        }
        let mut rows = Vec::with_capacity(count as usize);
        let mut sum = 0_u64;
        for n in 0..count {
            let len = number(rest)?;
            let method = Method::of_code(number(rest)?).ok_or_else(damaged)?;
            sum = sum.checked_add(len).filter(|sum| *sum <= IMAGE_LEN_MAX).ok_or_else(damaged)?;
            let is_good = match kind {
                Kind::Zip => (len == 0) == (n + 1 == count),
                Kind::Gzip => matches!(method, Method::Deflated(_)),
            };
            if !is_good {
                return Err(damaged());
            }
            rows.push((len, method));
        }
        Ok(Self { kind, rows })
    }

    /// How each member of a zip was packed; the last method goes on for ever.
    pub(super) fn methods(&self) -> impl Iterator<Item = Method> + use<> {
        self.rows.clone().into_iter().flat_map(|(count, method)| {
            std::iter::repeat_n(
                method,
                if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) },
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn any_method() -> impl Strategy<Value = Method> {
        let deflated =
            (1..=9_u8, 1..=9_u8, 0..=4_u8, 9..=15_u8).prop_map(|(level, memory_level, strategy, window_log)| {
                Method::Deflated(Deflated { level, memory_level, strategy, window_log })
            });
        prop_oneof![Just(Method::Raw), Just(Method::Stored), deflated]
    }

    proptest! {
        #[test]
        fn there_and_back(methods in proptest::collection::vec(any_method(), 0..20), more: Vec<u8>) {
            let params = Params::of_zip(methods.clone());
            let bytes = [params.encode(), more.clone()].concat();
            let mut rest = &bytes[..];
            prop_assert_eq!(&Params::decode(&mut rest).unwrap(), &params);
            prop_assert_eq!(rest, more);
            prop_assert_eq!(params.methods().take(methods.len()).collect::<Vec<_>>(), methods);
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
    fn a_uniform_jar_costs_four_bytes() {
        let params = Params::of_zip([Method::Deflated(Deflated::usual(6)); 22_521]);
        assert_eq!(params.encode().len(), 4);
    }

    #[test]
    fn to_unpack_only_what_stays_raw_matters() {
        let [six, nine] = [6, 9].map(|level| Method::Deflated(Deflated::usual(level)));
        let params = Params::of_zip([six, nine, nine, Method::Raw, six, nine]).to_unpack();
        let one = Method::Deflated(Deflated::usual(1));
        assert_eq!(params.rows, [(3, one), (1, Method::Raw), (0, one)]);
    }
}
