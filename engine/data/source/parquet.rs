//! Parquet files as rows. The format's own crate reads them, without Arrow; what is behind its door
//! is contained, since it panics on some files that are none.

use super::cell::Cell;
use super::columns::{Column, Row};
use super::moment::{Moment, ONE};
use crate::base::{contained, open_file, unreadable, Fault};
use anyhow::Result;
use parquet::basic::Compression;
use parquet::data_type::Decimal;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::Field;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// Reads rows one at a time.
pub struct Rows {
    path: PathBuf,
    rows: RowIter<'static>,
    number: usize,
}

impl Rows {
    /// Opens a file. Refuses one that is damaged or packed in a way that this binary lacks.
    pub fn open(path: &Path) -> Result<(Vec<Column>, Rows)> {
        let wrong = |got: String| {
            Fault::Data.error(format!(
                "{}: expected a readable Parquet file, got: {got}; check the path and the file",
                path.display()
            ))
        };
        let file = open_file(path)
            .map_err(|e| unreadable(Fault::Data, "source", path, "a Parquet file", &e))?;
        let opened = contained(|| -> parquet::errors::Result<_> {
            let reader = SerializedFileReader::new(file)?;
            let metadata = reader.metadata();
            let chunks = metadata.row_groups().iter().flat_map(|group| group.columns());
            let packed = chunks.map(|chunk| chunk.compression()).find(|c| !is_unpacked(c));
            let schema = metadata.file_metadata().schema();
            let names = schema.get_fields().iter().map(|field| Column::named(field.name()));
            let columns: Vec<Column> = names.collect();
            Ok((columns, packed, RowIter::from_file_into(Box::new(reader))))
        });
        let (columns, packed, rows) = match opened {
            Ok(opened) => opened.map_err(|e| wrong(e.to_string()))?,
            Err(words) => return Err(wrong(words)),
        };
        if let Some(packed) = packed {
            return Err(Fault::Data.error(format!(
                "{}: expected columns packed with snappy, gzip, brotli, lz4 or not at all, got {}; \
                write the file again with one of these",
                path.display(),
                packed.to_string().to_lowercase().split('(').next().unwrap_or_default()
            )));
        }
        Ok((columns, Rows { path: path.to_owned(), rows, number: 0 }))
    }

    /// The next row with its number from 1, `None` at the end. A file that breaks off ends in an
    /// error.
    pub fn next(&mut self) -> Result<Option<(usize, Row<'static>)>> {
        let wrong = |path: &Path, number: usize, got: String| {
            Fault::Data.error(format!(
                "{}: row {number}: expected rows to the end of the file, got: {got}; write the \
                file again",
                path.display()
            ))
        };
        self.number += 1;
        let row = match contained(|| self.rows.next()) {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(row))) => row,
            Ok(Some(Err(e))) => return Err(wrong(&self.path, self.number, e.to_string())),
            Err(words) => return Err(wrong(&self.path, self.number, words)),
        };
        let cells = row.into_columns().into_iter().map(|(_, field)| cell(field)).collect();
        Ok(Some((self.number, cells)))
    }
}

/// Zstandard is C, and what else there is has no writer any more.
fn is_unpacked(packed: &Compression) -> bool {
    matches!(
        packed,
        Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::BROTLI(_)
            | Compression::LZ4
            | Compression::LZ4_RAW
    )
}

fn cell(field: Field) -> Cell<'static> {
    let at = |count: i64, per_second: i64| {
        let rest = count.rem_euclid(per_second) as u64;
        let (whole, fraction) = (count.div_euclid(per_second), rest * (ONE / per_second as u64));
        Cell::At(Moment { whole, fraction })
    };
    match field {
        Field::Null => Cell::Null,
        // As tables have it that know no holes in columns of numbers.
        Field::Float(x) if x.is_nan() => Cell::Null,
        Field::Double(x) if x.is_nan() => Cell::Null,
        Field::Bool(b) => Cell::Flag(b),
        Field::Byte(n) => Cell::Whole(n.into()),
        Field::Short(n) => Cell::Whole(n.into()),
        Field::Int(n) | Field::TimeMillis(n) => Cell::Whole(n.into()),
        Field::Long(n) | Field::TimeMicros(n) => Cell::Whole(n),
        Field::UByte(n) => Cell::Whole(n.into()),
        Field::UShort(n) => Cell::Whole(n.into()),
        Field::UInt(n) => Cell::Whole(n.into()),
        Field::ULong(n) => Cell::of(n.into()),
        Field::Float16(x) => Cell::Real(x.to_f64()),
        Field::Float(x) => Cell::Real(shortest(x)),
        Field::Double(x) => Cell::Real(x),
        Field::Decimal(number) => Cell::Real(real(&number)),
        Field::Str(text) => Cell::Text(Cow::Owned(text)),
        // Some writers do not say that their texts are texts.
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Cell::Text(Cow::Owned(text.to_owned())),
            Err(_) => Cell::Null,
        },
        Field::Date(day) => at(i64::from(day) * 86_400, 1),
        Field::TimestampMillis(count) => at(count, 1_000),
        Field::TimestampMicros(count) => at(count, 1_000_000),
        nested => Cell::Nested(Box::new(value(nested))),
    }
}

/// 4.1 is 4.1, not what a float of half the bits makes of it.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

fn real(number: &Decimal) -> f64 {
    let negative = number.data().first().is_some_and(|byte| byte & 0x80 != 0);
    let begin = if negative { -1i128 } else { 0 };
    let whole = number.data().iter().fold(begin, |sum, &byte| sum << 8 | i128::from(byte));
    whole as f64 / 10f64.powi(number.scale())
}

fn value(field: Field) -> Value {
    match field {
        Field::Group(row) => {
            Value::Object(row.into_columns().into_iter().map(|(k, v)| (k, value(v))).collect())
        }
        Field::ListInternal(list) => list.elements().iter().cloned().map(value).collect(),
        Field::MapInternal(map) => {
            let pairs = map.entries().iter().cloned().map(|(key, held)| {
                let key = cell(key).text().map(Cow::into_owned).unwrap_or_default();
                (key, value(held))
            });
            Value::Object(pairs.collect::<Map<String, Value>>())
        }
        scalar => match cell(scalar) {
            Cell::Flag(b) => b.into(),
            Cell::Whole(n) => n.into(),
            Cell::Real(x) => x.into(),
            Cell::Text(text) => Value::String(text.into_owned()),
            Cell::At(moment) => moment.whole.into(),
            Cell::Null | Cell::Nested(_) => Value::Null,
        },
    }
}
