//! Parquet files as writers write them: every codec, type, page and group, and what damage does.

use super::*;
use parquet::basic::{BrotliLevel, Compression, GzipLevel};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DoubleType, FixedLenByteArrayType, FloatType, Int32Type,
    Int64Type,
};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use std::sync::Arc;

/// What packs the pages.
pub fn codecs() -> Vec<Compression> {
    vec![
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
    ]
}

/// A column of one group.
#[derive(Clone)]
enum Values {
    Text(Vec<Option<String>>),
    Lists(Vec<Vec<&'static str>>),
    Int(Vec<Option<i32>>),
    Long(Vec<Option<i64>>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Flag(Vec<bool>),
    Fixed(Vec<Vec<u8>>),
}

/// The present values and a level for each row.
fn split<T: Clone>(rows: &[Option<T>]) -> (Vec<T>, Vec<i16>) {
    let levels = rows.iter().map(|row| i16::from(row.is_some()));
    (rows.iter().flatten().cloned().collect(), levels.collect())
}

fn write_column(mut column: SerializedColumnWriter, values: &Values) {
    let bytes = |text: &str| ByteArray::from(text.as_bytes().to_vec());
    match values {
        Values::Text(rows) => {
            let (texts, levels) = split(rows);
            let texts: Vec<ByteArray> = texts.iter().map(|text| bytes(text)).collect();
            column.typed::<ByteArrayType>().write_batch(&texts, Some(&levels), None).unwrap();
        }
        Values::Lists(rows) => {
            let (mut texts, mut levels, mut repeated) = (Vec::new(), Vec::new(), Vec::new());
            for row in rows {
                for (i, name) in row.iter().enumerate() {
                    texts.push(bytes(name));
                    levels.push(3);
                    repeated.push(i16::from(i > 0));
                }
                if row.is_empty() {
                    levels.push(1);
                    repeated.push(0);
                }
            }
            let column = column.typed::<ByteArrayType>();
            column.write_batch(&texts, Some(&levels), Some(&repeated)).unwrap();
        }
        Values::Int(rows) => {
            let (values, levels) = split(rows);
            column.typed::<Int32Type>().write_batch(&values, Some(&levels), None).unwrap();
        }
        Values::Long(rows) => {
            let (values, levels) = split(rows);
            column.typed::<Int64Type>().write_batch(&values, Some(&levels), None).unwrap();
        }
        Values::Float(rows) => drop(column.typed::<FloatType>().write_batch(rows, None, None)),
        Values::Double(rows) => drop(column.typed::<DoubleType>().write_batch(rows, None, None)),
        Values::Flag(rows) => drop(column.typed::<BoolType>().write_batch(rows, None, None)),
        Values::Fixed(rows) => {
            let rows: Vec<_> = rows.iter().map(|row| ByteArray::from(row.clone()).into()).collect();
            column.typed::<FixedLenByteArrayType>().write_batch(&rows, None, None).unwrap();
        }
    }
    column.close().unwrap();
}

/// A file of some groups of columns.
fn file(fields: &[&str], groups: &[Vec<Values>], codec: Compression, dictionary: bool) -> Vec<u8> {
    let schema = format!("message rows {{ {} }}", fields.join(" "));
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let properties = WriterProperties::builder()
        .set_compression(codec)
        .set_dictionary_enabled(dictionary)
        .build();
    let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).unwrap();
    for columns in groups {
        let mut group = file.next_row_group().unwrap();
        for values in columns {
            write_column(group.next_column().unwrap().unwrap(), values);
        }
        group.close().unwrap();
    }
    file.into_inner().unwrap()
}

const LIST: &str = "optional group categories (LIST) { repeated group list { \
    optional binary element (STRING); } }";

/// Events with all that is known about their items, `group` rows in one group; `unit` is how times
/// are written.
pub fn parquet(
    table: &Table,
    unit: usize,
    codec: Compression,
    dictionary: bool,
    group: usize,
) -> Vec<u8> {
    let (time, factor) = match unit {
        0 => ("optional int64 timestamp;", 1),
        1 => ("optional int64 timestamp (TIMESTAMP_MILLIS);", 1_000),
        2 => ("optional int64 timestamp (TIMESTAMP(MICROS,true));", 1_000_000),
        3 => ("optional int64 timestamp;", 1_000),
        _ => ("optional int64 timestamp (TIMESTAMP(NANOS,true));", 1_000_000_000),
    };
    let fields = [
        "optional binary user_id (STRING);",
        "optional binary item_id;",
        ["required float rating;", "required double rating;"][unit % 2],
        time,
        "optional binary title (STRING);",
        LIST,
    ];
    let groups = table.events.chunks(group.max(1)).map(|rows| {
        let text = |of: &dyn Fn(&Event) -> String| {
            Values::Text(rows.iter().map(|row| Some(of(row))).collect())
        };
        vec![
            text(&|row| table.user(row.0)),
            text(&|row| table.item(row.1)),
            match unit % 2 {
                0 => Values::Float(rows.iter().map(|row| row.3.into()).collect()),
                _ => Values::Double(rows.iter().map(|row| row.3.into()).collect()),
            },
            Values::Long(rows.iter().map(|row| Some(row.2 * factor)).collect()),
            text(&|row| table.titles[row.1].clone()),
            Values::Lists(rows.iter().map(|row| table.categories[row.1].clone()).collect()),
        ]
    });
    file(&fields, &groups.collect::<Vec<_>>(), codec, dictionary)
}

/// Two users, three items, with a hole in every column that may have one.
fn small(codec: Compression) -> Vec<u8> {
    let texts = |texts: [&str; 4]| {
        Values::Text(texts.map(|t| (!t.is_empty()).then(|| t.to_owned())).to_vec())
    };
    let fields = [
        "optional binary user_id (STRING);",
        "optional int64 item_id;",
        "optional binary title (STRING);",
        "optional int32 rating;",
        "optional int64 timestamp;",
    ];
    let columns = vec![
        texts(["u", "u", "v", "v"]),
        Values::Long(vec![Some(7), Some(8), Some(9), Some(7)]),
        texts(["Lamp", "Boat", "", "Lamp"]),
        Values::Int(vec![Some(5), None, Some(3), Some(1)]),
        Values::Long([4, 3, 2, 1].map(|day| Some(1_400_000_000 + day * 86_400)).to_vec()),
    ];
    file(&fields, &[columns], codec, true)
}

fn read_bytes(bytes: Vec<u8>, reading: &Reading) -> anyhow::Result<Raw> {
    let folder = source(&[("e.parquet", bytes)]);
    read_path(&folder.path().join("e.parquet"), reading)
}

#[test]
fn holes_and_every_codec() {
    for codec in codecs() {
        let raw = read_bytes(small(codec), &Reading::default()).unwrap();
        assert_eq!((history(&raw, "u"), history(&raw, "v")), (vec!["8", "7"], vec!["7", "9"]));
        assert_eq!((raw.items[0].title(), raw.items[2].title()), (Some("Lamp"), None));
        let rated = raw.events.rating.iter().filter(|rating| !rating.is_nan()).count();
        assert_eq!(rated, 3, "{codec}: {:?}", raw.events.rating);
    }
}

#[test]
fn numbers_of_every_type_are_ratings_ids_and_times() {
    // A third, two thirds and so on of a hundred, in the smallest way in which a decimal is stored.
    let fixed = [[0x01, 0x5e], [0xff, 0x9c], [0x00, 0x00]].map(|bytes| bytes.to_vec()).to_vec();
    let ratings = [
        (
            "required fixed_len_byte_array(2) rating (DECIMAL(4,2));",
            Values::Fixed(fixed),
            [3.5, -1.0, 0.0],
        ),
        (
            "optional int32 rating (DECIMAL(5,1));",
            Values::Int(vec![Some(35), Some(-10), Some(0)]),
            [3.5, -1.0, 0.0],
        ),
        (
            "optional int64 rating (DECIMAL(12,3));",
            Values::Long(vec![Some(3500), Some(-1000), Some(0)]),
            [3.5, -1.0, 0.0],
        ),
        (
            "optional int32 rating (INTEGER(8,true));",
            Values::Int(vec![Some(3), Some(-1), Some(0)]),
            [3.0, -1.0, 0.0],
        ),
        (
            "optional int32 rating (INTEGER(32,false));",
            Values::Int(vec![Some(3), Some(1), Some(0)]),
            [3.0, 1.0, 0.0],
        ),
        ("required float rating;", Values::Float(vec![4.1, -0.5, 0.0]), [4.1, -0.5, 0.0]),
        ("required double rating;", Values::Double(vec![4.1, -0.5, 0.0]), [4.1, -0.5, 0.0]),
        ("required double rating;", Values::Double(vec![4.1, f64::NAN, 0.0]), [4.1, f32::NAN, 0.0]),
        ("required float rating;", Values::Float(vec![4.1, f32::NAN, 0.0]), [4.1, f32::NAN, 0.0]),
        ("required boolean rating;", Values::Flag(vec![true, false, true]), [1.0, 0.0, 1.0]),
    ];
    let times = [
        ("optional int32 timestamp (DATE);", Values::Int(vec![Some(16_203), Some(16_204), None])),
        (
            "optional int32 timestamp;",
            Values::Int(vec![Some(1_399_939_200), Some(1_400_025_600), None]),
        ),
    ];
    for (field, values, expected) in ratings {
        for (time, days) in &times {
            let ids = Values::Int(vec![Some(1), Some(2), Some(3)]);
            let fields = ["optional int32 user_id;", "optional int32 item_id;", field, time];
            let columns = vec![ids.clone(), ids, values.clone(), days.clone()];
            let bytes = file(&fields, &[columns], Compression::SNAPPY, false);
            let reading = Reading { allow: vec![Allowance::NoTitles], ..Reading::default() };
            let raw = read_bytes(bytes, &reading).unwrap();
            let bits = |ratings: &[f32]| ratings.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&raw.events.rating), bits(&expected), "{field}");
            let seconds = [1_399_939_200, 1_400_025_600, i64::MIN];
            assert_eq!(raw.events.time, seconds, "{field} {time}");
            assert_eq!(raw.items.iter().map(|i| i.id()).collect::<Vec<_>>(), ["1", "2", "3"]);
        }
    }
}

#[test]
fn what_needs_another_library_is_refused_by_name() {
    // Nothing here packs with zstd: the number of the codec is changed wherever it may stand.
    let whole = small(Compression::SNAPPY);
    let footer = whole.len() - 8;
    let length = u32::from_le_bytes(whole[footer..footer + 4].try_into().unwrap()) as usize;
    let mut named = 0;
    for at in (footer - length..footer).filter(|&at| whole[at] == 2) {
        let mut bytes = whole.clone();
        bytes[at] = 12;
        if let Err(error) = read_bytes(bytes, &Reading::default()) {
            assert_eq!(Fault::of(&error), Some(Fault::Data), "{error:#}");
            named += usize::from(format!("{error:#}").contains("got zstd"));
        }
    }
    assert_eq!(named, 5, "one of each column");
}

#[test]
fn a_cut_file_is_never_read() {
    for codec in [Compression::UNCOMPRESSED, Compression::LZ4_RAW] {
        let whole = small(codec);
        for end in 0..whole.len() {
            let error = read_bytes(whole[..end].to_vec(), &Reading::default()).unwrap_err();
            assert_eq!(Fault::of(&error), Some(Fault::Data), "{end}: {error:#}");
        }
    }
}

#[test]
fn a_flipped_bit_never_loses_a_row_without_a_word() {
    let allow = vec![Allowance::NoTitles, Allowance::EqualTitles, Allowance::NoTimes];
    let reading = Reading { allow, ..Reading::default() };
    for codec in [Compression::UNCOMPRESSED, Compression::GZIP(GzipLevel::default())] {
        let whole = small(codec);
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            match read_bytes(bytes, &reading) {
                Err(error) => assert!(
                    matches!(Fault::of(&error), Some(Fault::Data | Fault::Usage)),
                    "{at}: {error:#}"
                ),
                Ok(raw) => {
                    let said =
                        raw.events.len() == 4 || raw.notes.iter().any(|n| n.contains("left out"));
                    assert!(said, "{codec} {at}: {} events {:?}", raw.events.len(), raw.notes);
                }
            }
        }
    }
}
