//! Which schemas can be read and written: what arrow-rs can hold and an Arrow stream can carry.

use arrow_schema::{ArrowError, DataType, Schema};

use super::walk::children;
use super::{fault, in_field};

/// How deep tables may nest: what arrow-rs' own readers accept, so that they can read our streams.
pub(super) const MAX_DEPTH: usize = 64;

/// Refuses the union type ids that arrow-ipc truncates to a byte, or panics on.
pub(super) fn check_union_ids(field: &arrow_ipc::Field<'_>) -> Result<(), ArrowError> {
    let children = field.children();
    if let Some(union) = field.type_as_union() {
        let count = children.map_or(0, |children| children.len());
        let ids = union.typeIds();
        if count > 128 || ids.is_some_and(|ids| ids.iter().any(|id| !(0..128).contains(&id))) {
            return Err(fault(format!(
                "union {:?} has type ids that do not fit into 0 to 127",
                field.name().unwrap_or_default()
            )));
        }
    }
    children.into_iter().flatten().try_for_each(|child| check_union_ids(&child))
}

/// Refuses types that arrow-rs cannot hold or that cannot be written, and too deep nesting.
pub(super) fn check_types(schema: &Schema) -> Result<(), ArrowError> {
    schema.fields().iter().try_for_each(|field| {
        check_type(field.data_type(), 1).map_err(|error| in_field(field.name(), error))
    })
}

fn check_type(data_type: &DataType, depth: usize) -> Result<(), ArrowError> {
    if depth > MAX_DEPTH {
        return Err(fault(
            "the schema is nested deeper than Arrow readers accept (about 60 levels)",
        ));
    }
    match data_type {
        DataType::FixedSizeBinary(size) | DataType::FixedSizeList(_, size) if *size < 0 => {
            return Err(fault(format!("fixed size {size} is negative")));
        }
        DataType::Decimal32(precision, _) if !(1..=9).contains(precision) => {
            return Err(fault(format!("{data_type} has no such precision")));
        }
        DataType::Decimal64(precision, _) if !(1..=18).contains(precision) => {
            return Err(fault(format!("{data_type} has no such precision")));
        }
        DataType::Decimal128(precision, _) if !(1..=38).contains(precision) => {
            return Err(fault(format!("{data_type} has no such precision")));
        }
        DataType::Decimal256(precision, _) if !(1..=76).contains(precision) => {
            return Err(fault(format!("{data_type} has no such precision")));
        }
        DataType::RunEndEncoded(ends, _)
            if ends.is_nullable() || !ends.data_type().is_run_ends_type() =>
        {
            return Err(fault("run ends must be 16, 32 or 64-bit integers and not nullable"));
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(fields)
                if fields.len() == 2 && !fields[0].is_nullable() && !entries.is_nullable() => {}
            _ => {
                return Err(fault(
                    "map entries must be a struct of a key and a value, the key not nullable",
                ));
            }
        },
        DataType::Dictionary(keys, values) => {
            if !keys.is_dictionary_key_type() {
                return Err(fault("dictionary keys must be integers"));
            }
            if matches!(values.as_ref(), DataType::Dictionary(_, _)) {
                return Err(fault("an Arrow stream cannot carry a dictionary of dictionaries"));
            }
            return check_type(values, depth + 1);
        }
        _ => {}
    }
    children(data_type, 0)
        .into_iter()
        .try_for_each(|(child, _)| check_type(child.data_type(), depth + 1))
}
