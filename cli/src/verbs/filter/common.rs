//! A column and a literal in a type that both have, so that nothing is rounded before they are compared.

use std::sync::Arc;

use arrow_cast::{CastOptions, cast_with_options};
use qadataswap::arrow_array::types::{Float16Type, Float32Type, Float64Type};
use qadataswap::arrow_array::{
    Array, ArrayRef, ArrowPrimitiveType, BooleanArray, Int64Array, StringArray, cast::AsArray,
};
use qadataswap::arrow_schema::{ArrowError, DataType, TimeUnit};

use super::Literal;

/// Digits of a Decimal256, and how many of them may be behind the point: integers of 64 bits fit before it.
const DIGITS: u8 = 76;
const MOST_SCALE: i8 = 38;

/// The column and the literal in one type: the column's, or one that has both without rounding.
pub(super) fn comparable(
    name: &str,
    column: &ArrayRef,
    literal: &Literal,
) -> Result<(ArrayRef, ArrayRef), ArrowError> {
    let data_type = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    };
    let found = match literal {
        Literal::Number(number) if data_type.is_floating() => float(column, number, data_type),
        Literal::Number(number) if data_type.is_numeric() => exact(column, number, data_type),
        // A bare number is in the unit of the column.
        Literal::Number(number) if data_type.is_temporal() => number
            .parse()
            .ok()
            .map(|units: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![units])) })
            .and_then(|units| cast(&units, data_type))
            .map(|value| (column.clone(), value)),
        Literal::Boolean(value) if *data_type == DataType::Boolean => {
            Some((column.clone(), Arc::new(BooleanArray::from(vec![*value])) as ArrayRef))
        }
        Literal::Text(text) if !data_type.is_numeric() => {
            time(column, text, data_type).or_else(|| {
                let value = cast(&written(text), data_type).filter(|value| value.is_valid(0))?;
                Some((column.clone(), value))
            })
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let (literal, hint) = match literal {
            Literal::Number(number) if is_text(data_type) => {
                (number.clone(), format!("; text is written '{number}'"))
            }
            Literal::Number(text) | Literal::Text(text) => (text.clone(), String::new()),
            Literal::Boolean(value) => (value.to_string(), String::new()),
        };
        ArrowError::CastError(format!(
            "'{}' cannot be compared with column '{name}', which is {data_type}{hint}",
            crate::text::tame(&literal)
        ))
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn written(text: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![text]))
}

/// `None` if a value does not go into that type.
fn cast(array: &ArrayRef, data_type: &DataType) -> Option<ArrayRef> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    cast_with_options(array, data_type, &options).ok()
}

/// Floating point as it is, but for zero: Arrow's order has one below the other.
fn float(column: &ArrayRef, number: &str, data_type: &DataType) -> Option<(ArrayRef, ArrayRef)> {
    let column = one_zero(&cast(column, data_type)?);
    Some((column, one_zero(&cast(&written(number), data_type)?)))
}

fn one_zero(array: &ArrayRef) -> ArrayRef {
    fn positive<T: ArrowPrimitiveType>(array: &ArrayRef) -> ArrayRef
    where
        T::Native: std::ops::Add<Output = T::Native>,
    {
        // -0.0 + 0.0 is 0.0; everything else stays what it is.
        let zero = T::Native::default();
        Arc::new(array.as_primitive::<T>().unary::<_, T>(|value| value + zero))
    }
    match array.data_type() {
        DataType::Float16 => positive::<Float16Type>(array),
        DataType::Float32 => positive::<Float32Type>(array),
        DataType::Float64 => positive::<Float64Type>(array),
        _ => array.clone(),
    }
}

/// Integers and decimals: in their own type if it has the number, else in one with more digits.
fn exact(column: &ArrayRef, number: &str, data_type: &DataType) -> Option<(ArrayRef, ArrayRef)> {
    let scale = match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => *scale,
        _ => 0,
    };
    let wanted = scale_of(number);
    if let Some(wanted) = wanted
        && wanted <= scale
        && let Some(value) = cast(&written(number), data_type)
    {
        return Some((column.clone(), value));
    }
    let column = cast(column, data_type)?;
    if let Some(wanted) = wanted.filter(|wanted| *wanted <= MOST_SCALE) {
        let wide = DataType::Decimal256(DIGITS, wanted.max(scale));
        if let (Some(column), Some(value)) = (cast(&column, &wide), cast(&written(number), &wide)) {
            return Some((column, value));
        }
    }
    // So large or so small that no rounding matters.
    Some((cast(&column, &DataType::Float64)?, cast(&written(number), &DataType::Float64)?))
}

/// Digits behind the point that a number has when it is written without an exponent; `None` if there is no telling.
fn scale_of(number: &str) -> Option<i8> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (number, 0),
    };
    let fraction = mantissa.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = i32::try_from(fraction.trim_end_matches('0').len()).ok()?;
    i8::try_from(digits.saturating_sub(exponent).max(0)).ok()
}

/// Times in text: in nanoseconds, if the column's unit has not all of it.
fn time(column: &ArrayRef, text: &str, data_type: &DataType) -> Option<(ArrayRef, ArrayRef)> {
    let fine = match data_type {
        DataType::Timestamp(TimeUnit::Nanosecond, _) => return None,
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        DataType::Date32 | DataType::Date64 => DataType::Timestamp(TimeUnit::Nanosecond, None),
        _ => return None,
    };
    let value = cast(&written(text), &fine)?;
    let coarse = cast(&value, data_type)?;
    if cast(&coarse, &fine)?.to_data() == value.to_data() {
        return None;
    }
    Some((cast(column, &fine)?, value))
}
