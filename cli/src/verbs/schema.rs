//! `qads schema`: what is in a ring, field by field.

use std::io::{self, Write};

use qadataswap::arrow_schema::{DataType, Field, Metadata};
use qadataswap::observe::Observer;
use serde_json::{Value, json};

use crate::failure::{Outcome, failed};
use crate::text::{self, Look, Table, cell, tame};
use crate::verbs::messages;
use crate::verbs::print::write_json;

const EXAMPLES: &str = "\
Examples:
  qads schema ticks
  qads schema ticks --json

It is the schema of the newest message; each message has its own, and the next one may differ.

Exit status: 0 done, 1 failed or nothing published yet, 2 wrong usage, 130 stopped with Ctrl-C.";

/// Show the schema of a ring's newest message
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArguments {
    /// The ring
    name: String,
    /// For programs: an object
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &SchemaArguments) -> Outcome {
    let observer = Observer::open(&arguments.name)?;
    if let Some(fault) = observer.look()?.faults.first() {
        return Err(failed(format!(
            "ring '{}' is being made, or damaged: {fault} ('qads inspect' tells more)",
            arguments.name
        )));
    }
    let newest = observer.newest()?;
    let message =
        newest.ok_or_else(|| failed(format!("ring '{}' has no message yet", arguments.name)))?;
    let out = &mut io::stdout().lock();
    let Some(schema) = messages::schema_of(&message)? else {
        if arguments.json {
            writeln!(out, "{}", json!({ "kind": "bytes", "length": message.bytes.len() }))?;
        } else {
            writeln!(out, "plain bytes; the newest message has {}", message.bytes.len())?;
        }
        return Ok(());
    };
    if arguments.json {
        let fields: Vec<Value> = schema.fields().iter().map(|field| field_json(field)).collect();
        let whole = json!({ "kind": "arrow", "fields": fields, "metadata": metadata_json(schema.metadata()) });
        write_json(out, &whole)?;
        return Ok(());
    }
    let mut table = Table::new(&["COLUMN", "TYPE", "NULL"], &[]);
    for field in schema.fields() {
        add_rows(&mut table, field, 0);
    }
    table.write(out, text::colours())?;
    let mut metadata: Vec<_> = schema.metadata().iter().collect();
    metadata.sort();
    for (key, value) in metadata {
        writeln!(out, "{} = {}", tame(key), tame(value))?;
    }
    Ok(())
}

fn add_rows(table: &mut Table, field: &Field, depth: usize) {
    let null = if field.is_nullable() { "yes" } else { "no" };
    table.row(vec![
        (format!("{}{}", "  ".repeat(depth), tame(field.name())), Look::Bold),
        cell(tame(&type_word(field.data_type()))),
        cell(null),
    ]);
    for child in children(field.data_type()) {
        add_rows(table, child, depth + 1);
    }
}

/// A type in a few words; what is in nested ones comes below.
fn type_word(data_type: &DataType) -> String {
    match data_type {
        DataType::Struct(_) => "Struct".to_owned(),
        DataType::List(_) => "List".to_owned(),
        DataType::LargeList(_) => "LargeList".to_owned(),
        DataType::FixedSizeList(_, size) => format!("FixedSizeList({size})"),
        DataType::Map(..) => "Map".to_owned(),
        DataType::Dictionary(key, value) => format!("{value} by dictionary ({key})"),
        other => other.to_string(),
    }
}

fn children(data_type: &DataType) -> Vec<&Field> {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| field.as_ref()).collect(),
        DataType::List(child)
        | DataType::LargeList(child)
        | DataType::ListView(child)
        | DataType::LargeListView(child)
        | DataType::FixedSizeList(child, _)
        | DataType::Map(child, _) => vec![child.as_ref()],
        DataType::Union(fields, _) => fields.iter().map(|(_, field)| field.as_ref()).collect(),
        _ => Vec::new(),
    }
}

fn field_json(field: &Field) -> Value {
    let inner: Vec<Value> = children(field.data_type()).into_iter().map(field_json).collect();
    json!({
        "name": field.name(),
        "type": type_word(field.data_type()),
        "nullable": field.is_nullable(),
        "children": inner,
        "metadata": metadata_json(field.metadata()),
    })
}

fn metadata_json(metadata: &Metadata) -> Value {
    metadata.iter().map(|(key, value)| (key.clone(), Value::from(value.clone()))).collect()
}
