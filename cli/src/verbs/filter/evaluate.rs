//! A [`Condition`] on the rows of a batch, by Arrow's own kernels.

use qadataswap::arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, Scalar};
use qadataswap::arrow_schema::ArrowError;

use super::{Condition, Operator, common};

/// For which rows the condition holds; null where that cannot be told.
pub(super) fn evaluate(
    condition: &Condition,
    batch: &RecordBatch,
) -> Result<BooleanArray, ArrowError> {
    use arrow_ord::cmp;
    match condition {
        Condition::And(all) => fold(all, batch, boolean::and),
        Condition::Or(all) => fold(all, batch, boolean::or),
        Condition::Not(inner) => Ok(boolean::not(&evaluate(inner, batch)?)),
        Condition::IsNull { column, negated } => {
            let column = find(batch, column)?;
            let nulls = column.logical_nulls();
            let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            Ok((0..column.len()).map(|row| Some(is_null(row) != *negated)).collect())
        }
        Condition::Compare { column: name, operator, literal } => {
            let column = find(batch, name)?;
            let (column, literal) = common::comparable(name, column, literal)?;
            let compare = match operator {
                Operator::Equal => cmp::eq,
                Operator::NotEqual => cmp::neq,
                Operator::Less => cmp::lt,
                Operator::LessOrEqual => cmp::lt_eq,
                Operator::Greater => cmp::gt,
                Operator::GreaterOrEqual => cmp::gt_eq,
            };
            compare(&column, &Scalar::new(literal))
        }
    }
}

fn find<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, ArrowError> {
    batch.column_by_name(name).ok_or_else(|| {
        let schema = batch.schema_ref();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        ArrowError::SchemaError(format!(
            "there is no column '{name}'; there are: {}",
            names.join(", ")
        ))
    })
}

/// Joins conditions from left to right. (A condition of none holds for no row; the parser makes none.)
fn fold(
    all: &[Condition],
    batch: &RecordBatch,
    join: impl Fn(&BooleanArray, &BooleanArray) -> BooleanArray,
) -> Result<BooleanArray, ArrowError> {
    let mut joined: Option<BooleanArray> = None;
    for condition in all {
        let next = evaluate(condition, batch)?;
        joined = Some(joined.map_or(next.clone(), |joined| join(&joined, &next)));
    }
    Ok(joined.unwrap_or_else(|| BooleanArray::new_null(batch.num_rows())))
}

/// Three-valued logic, as in SQL: false and null is false, true or null is true.
mod boolean {
    use super::BooleanArray;

    pub(super) fn and(left: &BooleanArray, right: &BooleanArray) -> BooleanArray {
        zip(left, right, |left, right| match (left, right) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        })
    }

    pub(super) fn or(left: &BooleanArray, right: &BooleanArray) -> BooleanArray {
        zip(left, right, |left, right| match (left, right) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })
    }

    pub(super) fn not(values: &BooleanArray) -> BooleanArray {
        values.iter().map(|value| value.map(|value| !value)).collect()
    }

    fn zip(
        left: &BooleanArray,
        right: &BooleanArray,
        join: impl Fn(Option<bool>, Option<bool>) -> Option<bool>,
    ) -> BooleanArray {
        left.iter().zip(right).map(|(left, right)| join(left, right)).collect()
    }
}
