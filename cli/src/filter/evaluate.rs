//! A [`Condition`] on the rows of a batch, by Arrow's own kernels.

use std::sync::Arc;

use arrow_cast::{CastOptions, cast_with_options};
use qadataswap::arrow_array::{
    Array, ArrayRef, BooleanArray, Int64Array, RecordBatch, Scalar, StringArray,
};
use qadataswap::arrow_schema::{ArrowError, DataType};

use super::{Condition, Literal, Operator};

/// For which rows the condition holds; null where that cannot be told.
pub(super) fn evaluate(
    condition: &Condition,
    batch: &RecordBatch,
) -> Result<BooleanArray, ArrowError> {
    use arrow_ord::cmp;
    match condition {
        Condition::And(left, right) => {
            boolean::and(&evaluate(left, batch)?, &evaluate(right, batch)?)
        }
        Condition::Or(left, right) => {
            boolean::or(&evaluate(left, batch)?, &evaluate(right, batch)?)
        }
        Condition::Not(inner) => boolean::not(&evaluate(inner, batch)?),
        Condition::IsNull { column, negated } => {
            let column = find(batch, column)?;
            let nulls = column.logical_nulls();
            let is_null = |row| nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
            Ok((0..column.len()).map(|row| Some(is_null(row) != *negated)).collect())
        }
        Condition::Compare { column: name, operator, literal } => {
            let column = find(batch, name)?;
            let (column, literal) = comparable(name, column, literal)?;
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

/// The column and the literal in one type: the column's, or Float64 for numbers that it does not have.
fn comparable(
    name: &str,
    column: &ArrayRef,
    literal: &Literal,
) -> Result<(ArrayRef, ArrayRef), ArrowError> {
    let data_type = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let (text, written): (&str, ArrayRef) = match literal {
        Literal::Number(number) => (number, Arc::new(StringArray::from(vec![number.as_str()]))),
        Literal::Text(text) => (text, Arc::new(StringArray::from(vec![text.as_str()]))),
        Literal::Boolean(value) => {
            let text = if *value { "true" } else { "false" };
            (text, Arc::new(BooleanArray::from(vec![*value])))
        }
    };
    let unfit = |_| {
        ArrowError::CastError(format!(
            "'{}' cannot be compared with column '{name}', which is {data_type}",
            crate::text::tame(text)
        ))
    };
    let is_number = data_type.is_numeric();
    match literal {
        Literal::Text(_) if is_number => return Err(unfit(())),
        Literal::Boolean(_) if *data_type != DataType::Boolean => return Err(unfit(())),
        Literal::Number(_) if *data_type == DataType::Boolean => return Err(unfit(())),
        Literal::Number(number) if data_type.is_temporal() => {
            // A bare number is in the unit of the column.
            let units: i64 = number.parse().map_err(|_| unfit(()))?;
            let units: ArrayRef = Arc::new(Int64Array::from(vec![units]));
            let value = cast_with_options(&units, data_type, &options).map_err(|_| unfit(()))?;
            return Ok((column.clone(), value));
        }
        _ => {}
    }
    if let Ok(value) = cast_with_options(&written, data_type, &options)
        && value.is_valid(0)
    {
        return Ok((column.clone(), value));
    }
    if !is_number {
        return Err(unfit(()));
    }
    // 100.5 beside a column of integers, or a number that they do not reach.
    let column = cast_with_options(column, &DataType::Float64, &options).map_err(|_| unfit(()))?;
    let value = cast_with_options(&written, &DataType::Float64, &options).map_err(|_| unfit(()))?;
    Ok((column, value))
}

/// Three-valued logic, as in SQL: false and null is false, true or null is true.
mod boolean {
    use super::{ArrowError, BooleanArray};

    pub(super) fn and(
        left: &BooleanArray,
        right: &BooleanArray,
    ) -> Result<BooleanArray, ArrowError> {
        Ok(zip(left, right, |left, right| match (left, right) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }))
    }

    pub(super) fn or(
        left: &BooleanArray,
        right: &BooleanArray,
    ) -> Result<BooleanArray, ArrowError> {
        Ok(zip(left, right, |left, right| match (left, right) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        }))
    }

    pub(super) fn not(values: &BooleanArray) -> Result<BooleanArray, ArrowError> {
        Ok(values.iter().map(|value| value.map(|value| !value)).collect())
    }

    fn zip(
        left: &BooleanArray,
        right: &BooleanArray,
        join: impl Fn(Option<bool>, Option<bool>) -> Option<bool>,
    ) -> BooleanArray {
        left.iter().zip(right).map(|(left, right)| join(left, right)).collect()
    }
}
