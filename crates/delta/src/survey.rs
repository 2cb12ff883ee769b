//! What a patch says of each of its outputs, without making any.

use crate::apply::{Patch, Streams, pieces};
use crate::error::Error;
use crate::limits::PIECE_LEN;
use crate::stream::Kind;

/// What one output is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// Instructions.
    pub instructions: u64,
    /// Bytes that the patch carries.
    pub inserted: u64,
    /// Bytes that are copied from bases.
    pub copied: u64,
    /// Those of them that are not as predicted.
    pub differing: u64,
}

impl Patch<'_> {
    /// What each output is made of, in their order.
    ///
    /// # Errors
    /// When the patch cannot be read, or is damaged.
    pub fn survey(&self) -> Result<Vec<Survey>, Error> {
        let mut streams = self.streams()?;
        let mut piece = vec![0; PIECE_LEN];
        let outputs = self.header().outputs.iter();
        let surveys = outputs.map(|output| survey(&mut streams, output.len, &mut piece)).collect::<Result<_, _>>()?;
        streams.finish()?;
        Ok(surveys)
    }
}

fn survey(streams: &mut Streams<'_>, mut todo: u64, piece: &mut [u8]) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    while todo > 0 {
        let (insert, copy) = streams.instruction(&mut todo)?;
        survey.instructions += 1;
        survey.inserted += insert;
        survey.copied += copy;
        pieces(0, insert, |_, len| streams.read(Kind::Insert, &mut piece[..len]))?;
        if copy > 0 {
            streams.number(Kind::Seek)?;
        }
        survey.differing += streams.differing(copy, piece)?;
    }
    Ok(survey)
}
