//! Conditions on columns, as `--where` takes them: `price > 100 and (side = 'B' or size is not null)`.

mod common;
mod evaluate;
mod parse;

use std::str::FromStr;

use qadataswap::arrow_array::RecordBatch;
use qadataswap::arrow_schema::ArrowError;

/// What `--help` tells of conditions.
pub const HELP: &str = "\
Conditions: COLUMN OPERATOR LITERAL, with = != < <= > >=, or COLUMN is [not] null; joined by 'and', 'or' and 'not',
with parentheses. Literals are numbers, 'text', true and false; times are written as text ('2023-12-25T18:00:00Z'; in
the zone of the column, if none is given). Column names that are not plain words go in double quotes. NaN is larger
than any number.";

/// A condition that was parsed.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    Compare {
        column: String,
        operator: Operator,
        literal: Literal,
    },
    IsNull {
        column: String,
        negated: bool,
    },
    Not(Box<Condition>),
    /// All of them. (A list, so that a long chain is no deep tree.)
    And(Vec<Condition>),
    /// At least one of them.
    Or(Vec<Condition>),
}

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a column is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    /// A number, as it was written.
    Number(String),
    Text(String),
    Boolean(bool),
}

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse::parse(text)
    }
}

impl Condition {
    /// The columns that it is on, some of them perhaps twice.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Self::Compare { column, .. } | Self::IsNull { column, .. } => vec![column],
            Self::Not(inner) => inner.columns(),
            Self::And(all) | Self::Or(all) => all.iter().flat_map(Self::columns).collect(),
        }
    }

    /// The rows of `batch` that it holds for. (Not those for which it is null.)
    ///
    /// # Errors
    /// If the batch has no such column, or one that cannot be compared with the literal.
    pub fn filter(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let mask = evaluate::evaluate(self, batch)?;
        arrow_select::filter::filter_record_batch(batch, &mask)
    }
}
