//! Tables whose columns hardly change from one row to the next: each column is a list of runs.
//!
//! A run is two little-endian numbers of four bytes: how many rows, and their value. The last run of a column has 0 rows, which
//! means all others, so that one more member does not change every column.

use super::Error;

/// Longest encoded table, in bytes.
pub(super) const COLUMNS_LEN_MAX: u32 = 32 << 20;

/// One row.
pub(super) type Row = [u32; COUNT];
/// How many columns there are.
pub(super) const COUNT: usize = 25;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    rows: u32,
    value: u32,
}

/// A table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Columns {
    runs: [Vec<Run>; COUNT],
}

impl Columns {
    /// Appends a row.
    pub(super) fn push(&mut self, row: &Row) {
        for (runs, value) in self.runs.iter_mut().zip(row) {
            match runs.last_mut() {
                Some(run) if run.value == *value => run.rows += 1,
                _ => runs.push(Run { rows: 1, value: *value }),
            }
        }
    }

    /// As it lies in an image.
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let len = self.runs.iter().map(|runs| runs.len().max(1) as u64 * 8).sum::<u64>();
        if len > COLUMNS_LEN_MAX.into() {
            return Err(Error::Limit { what: "a table", found: len, max: COLUMNS_LEN_MAX.into() });
        }
        let mut bytes = Vec::with_capacity(len as usize);
        for runs in &self.runs {
            let (last, others) = runs.split_last().unwrap_or((&Run { rows: 0, value: 0 }, &[]));
            for Run { rows, value } in others.iter().chain([&Run { rows: 0, ..*last }]) {
                bytes.extend(rows.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
        }
        Ok(bytes)
    }

    /// Reads a table.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let damaged = || Error::Shape("the table of its image is damaged");
        let mut columns = Self::default();
        let mut rest = bytes;
        for runs in &mut columns.runs {
            loop {
                let (run, behind) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
                rest = behind;
                let [a, b, c, d, value @ ..] = *run;
                let run = Run { rows: u32::from_le_bytes([a, b, c, d]), value: u32::from_le_bytes(value) };
                runs.push(run);
                if run.rows == 0 {
                    break;
                }
            }
        }
        if rest.is_empty() { Ok(columns) } else { Err(damaged()) }
    }

    /// Its rows, without end.
    pub(super) fn into_rows(self) -> Rows {
        Rows { columns: self, at: [(0, 0); COUNT] }
    }
}

/// The rows of a table, one after the other.
#[derive(Debug)]
pub(super) struct Rows {
    columns: Columns,
    /// For each column, which run is next, and how many of its rows were read.
    at: [(usize, u32); COUNT],
}

impl Rows {
    /// The next row.
    pub(super) fn next(&mut self) -> Row {
        let mut row = [0; COUNT];
        for ((value, runs), (run, read)) in row.iter_mut().zip(&self.columns.runs).zip(&mut self.at) {
            let Run { rows, value: found } = runs[*run];
            *value = found;
            *read += u32::from(rows > 0);
            if rows > 0 && *read == rows {
                (*run, *read) = (*run + 1, 0);
            }
        }
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn there_and_back(rows in proptest::collection::vec(proptest::array::uniform25(0..3_u32), 0..20)) {
            let mut columns = Columns::default();
            rows.iter().for_each(|row| columns.push(row));
            let mut back = Columns::decode(&columns.encode().unwrap()).unwrap().into_rows();
            for row in rows {
                prop_assert_eq!(back.next(), row);
            }
        }

        #[test]
        fn whatever_is_read_can_be_read_on(bytes in proptest::collection::vec(0..2_u8, 200..400)) {
            if let Ok(columns) = Columns::decode(&bytes) {
                let mut rows = columns.into_rows();
                for _ in 0..100 {
                    rows.next();
                }
            }
        }
    }
}
