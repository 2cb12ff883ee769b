//! What a patch says of each of its outputs, without making any.

use crate::apply::Patch;
use crate::error::Error;
use crate::header::Method;
use crate::limits::PIECE_LEN;
use crate::stream::{Kind, Lane};
use crate::streams::{Streams, pieces};

/// What one output is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Survey {
    /// Instructions.
    pub instructions: u64,
    /// Bytes that the patch carries.
    pub inserted: u64,
    /// Bytes that are copied from bases.
    pub copied: u64,
    /// Those of them that are not as predicted; not known of executables, whose references only show while they are made.
    pub differing: Option<u64>,
}

impl Patch<'_> {
    /// What each output is made of, in their order.
    ///
    /// # Errors
    /// When the patch cannot be read, or is damaged.
    pub fn survey(&self) -> Result<Vec<Survey>, Error> {
        let mut surveys = vec![Survey::default(); self.header().outputs.len()];
        let mut piece = vec![0; PIECE_LEN];
        for group in self.groups() {
            let (number, mut streams) = group?;
            let is_native = self.header().groups[number].method == Method::Native;
            for (index, output) in self.outputs_of(number) {
                surveys[index] = if is_native {
                    shape(&mut streams, output.image_len())?
                } else {
                    survey(&mut streams, output.image_len(), &mut piece)?
                };
            }
            if !is_native {
                streams.finish()?;
            }
        }
        Ok(surveys)
    }
}

fn survey(streams: &mut Streams<'_>, mut todo: u64, piece: &mut [u8]) -> Result<Survey, Error> {
    let mut survey = Survey { differing: Some(0), ..Survey::default() };
    while todo > 0 {
        let (insert, copy) = survey.instruction(streams, &mut todo)?;
        pieces(0, insert, |_, len| streams.read(Kind::Insert(Lane::Plain), &mut piece[..len]))?;
        if copy > 0 {
            streams.number(Kind::Seek)?;
        }
        let differing = streams.differing(copy, piece)?;
        survey.differing = survey.differing.map(|sum| sum + differing);
    }
    Ok(survey)
}

/// What the instructions alone tell.
fn shape(streams: &mut Streams<'_>, mut todo: u64) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    while todo > 0 {
        survey.instruction(streams, &mut todo)?;
    }
    Ok(survey)
}

impl Survey {
    fn instruction(&mut self, streams: &mut Streams<'_>, todo: &mut u64) -> Result<(u64, u64), Error> {
        let (insert, copy) = streams.instruction(todo)?;
        self.instructions += 1;
        self.inserted += insert;
        self.copied += copy;
        Ok((insert, copy))
    }
}
