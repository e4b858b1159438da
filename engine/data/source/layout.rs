//! Which file of a source holds what: the project's own names, those of published data sets, and
//! otherwise what the files' columns say.

use super::columns::Column;
use super::delimited::Dialect;
use super::encoding::Encoding;
use super::events::Known;
use super::lines::{Script, Skips};
use super::names::{Field, Rows};
use super::published::{Published, Set, SETS};
use super::roles::{known, Roles};
use super::table::{Go, Table, Writing};
use super::{Format, Reading};
use crate::base::{unreadable, Fault};
use anyhow::Result;
use std::path::{Path, PathBuf};

/// A file and how it is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Where it is.
    pub path: PathBuf,
    /// How it is written.
    pub writing: Writing,
    /// What characters it is expected to hold.
    pub script: Script,
}

impl Part {
    /// Opens the file as a table of `rows`.
    pub fn open(&self, rows: Rows, reading: &Reading, skips: &mut Skips) -> Result<Table> {
        let known = |columns: &[Column]| known(rows, columns, reading);
        Table::open(&self.path, &self.writing, self.script, skips, &known)
    }

    /// The columns of the file, as far as its first rows show them.
    pub fn columns(&self, rows: Rows, reading: &Reading) -> Result<Vec<Column>> {
        let mut skips = Skips::new(usize::MAX);
        let mut table = self.open(rows, reading, &mut skips)?;
        let mut left = 100;
        table.each(&mut skips, |_, _, _| {
            left -= 1;
            Ok(if left == 0 { Go::Enough } else { Go::On })
        })?;
        Ok(table.columns().list().to_vec())
    }
}

/// The files of a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// The reader.
    pub format: Format,
    /// The published set whose files these are, where they are one's.
    pub set: Option<&'static str>,
    /// Files of events, in the order in which they are read.
    pub events: Vec<Part>,
    /// A user and items a line.
    pub sequences: Option<PathBuf>,
    /// The file of items.
    pub items: Option<Part>,
    /// The file of users.
    pub users: Option<Part>,
    /// The file of reviews.
    pub reviews: Option<Part>,
    /// Where the items of events come from.
    pub known: Known,
    /// Items without events are left out.
    pub used_only: bool,
    /// Users and items have at least so many events, where nobody says another number.
    pub core: usize,
}

/// Names of a source's files, without the folder, sorted.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| refuse(folder, &e))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file() && !name(path).starts_with('.'))
        .collect();
    files.sort();
    Ok(files)
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// The name without `.gz`.
fn bare_name(path: &Path) -> &str {
    let name = name(path);
    name.strip_suffix(".gz").unwrap_or(name)
}

fn ending(path: &Path) -> &str {
    bare_name(path).rsplit_once('.').map_or("", |(_, ending)| ending)
}

fn refuse(source: &Path, why: &std::io::Error) -> anyhow::Error {
    unreadable(Fault::Data, "source", source, "a file or a folder", why)
}

/// Finds the files of `source`; guesses the format where none is asked for.
pub fn find(source: &Path, reading: &Reading) -> Result<Layout> {
    source.metadata().map_err(|e| refuse(source, &e))?;
    let finder = Finder {
        source,
        reading,
        files: if source.is_dir() { files(source)? } else { vec![source.to_owned()] },
    };
    match reading.format {
        Some(format) => finder.layout(format),
        None => finder.layout(finder.guess()?),
    }
}

struct Finder<'s> {
    source: &'s Path,
    reading: &'s Reading,
    files: Vec<PathBuf>,
}

impl Finder<'_> {
    /// The format that the names of the files speak for.
    fn guess(&self) -> Result<Format> {
        let any = |test: &dyn Fn(&Path) -> bool| self.files.iter().any(|path| test(path));
        let has = |stem: &str, endings: &[&str]| {
            any(&|path| endings.iter().any(|e| bare_name(path) == format!("{stem}.{e}")))
        };
        let folder = self.source.is_dir();
        if any(&|path| ending(path) == "inter") {
            return Ok(Format::Recbole);
        }
        let ordered = || has("sequences", &["txt"]) || has("interactions", &["tsv"]);
        if folder && has("items", &["jsonl"]) && ordered() {
            return Ok(Format::Folder);
        }
        if let Some((set, _)) = self.published(|_| true) {
            return Ok(set.format);
        }
        if folder && any(&|path| bare_name(path).starts_with("meta_")) {
            return Ok(Format::Amazon);
        }
        let formats = [
            (Format::Parquet, &["parquet", "pq"][..]),
            (Format::Jsonl, &["jsonl", "json", "ndjson"]),
            (Format::Csv, &["csv", "tsv", "dat", "txt"]),
        ];
        let owns = |endings: &[&str]| has("interactions", endings) || has("events", endings);
        let own = formats.iter().find(|(_, endings)| folder && owns(endings));
        let some = formats.iter().find(|(_, endings)| any(&|path| endings.contains(&ending(path))));
        match own.or(some) {
            Some((format, _)) => Ok(*format),
            None if folder && has("items", &["jsonl"]) => Ok(Format::Folder),
            None => Err(Fault::Data.error(format!(
                "{}: expected files of one of the formats {}, got {}; say which with setting \
                `format`",
                self.source.display(),
                Format::NAMES.join(", "),
                self.listed()
            ))),
        }
    }

    fn listed(&self) -> String {
        let names: Vec<&str> = self.files.iter().take(8).map(|path| name(path)).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => names.join(", "),
        }
    }

    /// The published set whose files are there, events at least, and items where it has them and
    /// the source is a folder.
    fn published(&self, wants: impl Fn(&Set) -> bool) -> Option<(&'static Set, Layout)> {
        SETS.iter().filter(|set| wants(set)).find_map(|set| {
            let one = |file: &Published| -> Option<PathBuf> {
                let fits = |path: &&PathBuf| {
                    let name = bare_name(path);
                    let stem = name.strip_suffix(file.ends);
                    stem.is_some_and(|stem| match file.begins.ends_with(['_', '-']) {
                        true => stem.starts_with(file.begins),
                        false => {
                            stem == file.begins || stem.starts_with(&format!("{}_", file.begins))
                        }
                    })
                };
                // Of several the shortest name is the whole.
                self.files.iter().filter(fits).min_by_key(|path| name(path).len()).cloned()
            };
            let part = |file: &Published| Some(self.part(one(file)?, file));
            let events = part(&set.events)?;
            let items = set.items.as_ref().and_then(part);
            // A name as plain as ratings.csv says little without the other one.
            let plain = matches!(set.events.begins, "ratings" | "review");
            if items.is_none() && plain && set.events.separator != "::" {
                return None;
            }
            let layout = Layout {
                set: Some(set.name),
                events: vec![events],
                items,
                users: set.users.as_ref().and_then(part),
                known: Known::More,
                ..self.empty(set.format)
            };
            Some((set, layout))
        })
    }

    fn part(&self, path: PathBuf, file: &Published) -> Part {
        let script = Script { otherwise: Some(Encoding::Latin1), ..self.script() };
        let writing = match file.separator {
            "" => Writing::Json,
            separator => Writing::Delimited(Dialect {
                separator: Some(self.separator().unwrap_or_else(|| separator.to_owned())),
                columns: file.columns,
                bare: file.bare,
                escapes: file.escapes,
                ..Dialect::default()
            }),
        };
        Part { path, writing, script }
    }

    fn empty(&self, format: Format) -> Layout {
        Layout {
            format,
            set: None,
            events: Vec::new(),
            sequences: None,
            items: None,
            users: None,
            reviews: None,
            known: Known::All,
            used_only: false,
            core: 0,
        }
    }

    fn script(&self) -> Script {
        Script { asked: self.reading.script(), otherwise: None }
    }

    fn separator(&self) -> Option<String> {
        self.reading.separator.clone()
    }

    /// A file of the project's own kinds.
    fn plain(&self, path: PathBuf) -> Part {
        let writing = match ending(&path) {
            "parquet" | "pq" => Writing::Parquet,
            "jsonl" | "json" | "ndjson" => Writing::Json,
            _ => Writing::Delimited(Dialect {
                separator: self.separator(),
                numbered: self.reading.is_numbered(),
                ..Dialect::default()
            }),
        };
        Part { path, writing, script: self.script() }
    }

    fn layout(&self, format: Format) -> Result<Layout> {
        match format {
            Format::Folder => self.folder(),
            Format::Amazon => self.amazon(),
            Format::Recbole => self.recbole(),
            Format::Movielens => self.movielens(),
            Format::Jsonl => self.tables(format, &["jsonl", "json", "ndjson"]),
            Format::Csv => self.tables(format, &["csv", "tsv", "dat", "txt", "data"]),
            Format::Parquet => self.tables(format, &["parquet", "pq"]),
        }
    }

    /// The one file named `stem` with one of `endings`; two are one too many.
    fn one_of(&self, stem: &str, endings: &[&str]) -> Result<Option<PathBuf>> {
        let fits = |path: &&PathBuf| {
            let name = bare_name(path);
            endings.iter().any(|ending| name == format!("{stem}.{ending}"))
        };
        let found: Vec<&PathBuf> = self.files.iter().filter(fits).collect();
        match found.as_slice() {
            [] => Ok(None),
            [path] => Ok(Some((*path).clone())),
            several => Err(Fault::Data.error(format!(
                "{}: expected one file of {stem}, got {}; keep one",
                self.source.display(),
                several.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    fn folder(&self) -> Result<Layout> {
        let shown = self.source.display();
        if !self.source.is_dir() {
            return Err(Fault::Data.error(format!(
                "{shown}: expected a folder with items.jsonl, got a file; give the source folder"
            )));
        }
        let items = match self.one_of("items", &["jsonl"])? {
            Some(items) => items,
            None => {
                return Err(Fault::Data.error(format!(
                    "{}: expected a readable file, got none{}; check the path",
                    self.source.join("items.jsonl").display(),
                    match self.published(|_| true) {
                        Some((set, _)) => format!(
                            " (these are the files of {}: setting `format = {}`)",
                            set.name, set.format
                        ),
                        None => String::new(),
                    }
                )))
            }
        };
        let interactions = self.one_of("interactions", &["tsv"])?;
        let sequences = self.one_of("sequences", &["txt"])?;
        if interactions.is_none() && sequences.is_none() {
            return Err(Fault::Data.error(format!(
                "{shown}: expected interactions.tsv, interactions.tsv.gz or sequences.txt, got \
                none of them; add one, or choose another setting `format`"
            )));
        }
        let part = |path: PathBuf| match ending(&path) {
            "tsv" => {
                let separator = Some(self.separator().unwrap_or_else(|| "\t".to_owned()));
                let writing =
                    Writing::Delimited(Dialect { separator, bare: true, ..Dialect::default() });
                Part { path, writing, script: self.script() }
            }
            _ => self.plain(path),
        };
        Ok(Layout {
            events: interactions.into_iter().map(part).collect(),
            sequences,
            items: Some(part(items)),
            users: self.one_of("users", &["jsonl"])?.map(part),
            reviews: self.one_of("reviews", &["jsonl"])?.map(part),
            ..self.empty(Format::Folder)
        })
    }

    /// Events and the metadata of one category, of 2014, 2018 or 2023.
    fn amazon(&self) -> Result<Layout> {
        let shown = self.source.display();
        let ends = |path: &&PathBuf| matches!(ending(path), "json" | "jsonl");
        let one = |what: &str, found: Vec<&PathBuf>| -> Result<PathBuf> {
            if let [path] = found.as_slice() {
                return Ok((*path).clone());
            }
            let names: Vec<&str> = found.iter().map(|path| name(path)).collect();
            let got = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(Fault::Data.error(format!(
                "{shown}: expected exactly one file {what}, got {got}; put one set into a folder"
            )))
        };
        let is_meta = |path: &Path| name(path).to_ascii_lowercase().starts_with("meta_");
        let meta: Vec<&PathBuf> =
            self.files.iter().filter(ends).filter(|path| is_meta(path)).collect();
        let meta = one("meta_*.json, meta_*.jsonl or the same with .gz", meta)?;
        let others = || self.files.iter().filter(|path| !is_meta(path));
        let named: Vec<&PathBuf> =
            others().filter(ends).filter(|path| name(path).starts_with("reviews_")).collect();
        let reviews: Vec<&PathBuf> =
            if named.is_empty() { others().filter(ends).collect() } else { named };
        let ratings: Vec<&PathBuf> = others().filter(|path| ending(path) == "csv").collect();
        let events = if reviews.is_empty() && !ratings.is_empty() {
            let path = one("of ratings", ratings)?;
            // The two older collections have no header, and differ in the order of two columns.
            let columns: Option<&'static [&'static str]> = match self.headless(&path)? {
                false => None,
                true if name(&path).starts_with("ratings_") => {
                    Some(&["user_id", "item_id", "rating", "timestamp"])
                }
                true => Some(&["item_id", "user_id", "rating", "timestamp"]),
            };
            let dialect = Dialect { columns, ..Dialect::default() };
            Part { path, writing: Writing::Delimited(dialect), script: self.script() }
        } else {
            self.plain(one("reviews_*.json or reviews_*.json.gz (or *.jsonl of 2023)", reviews)?)
        };
        Ok(Layout {
            events: vec![events],
            items: Some(self.plain(meta)),
            known: Known::More,
            used_only: true,
            core: 5,
            ..self.empty(Format::Amazon)
        })
    }

    /// Whether the first line of a file names no column that is asked for.
    fn headless(&self, path: &Path) -> Result<bool> {
        let part = Part {
            path: path.to_owned(),
            writing: Writing::Delimited(Dialect::default()),
            script: self.script(),
        };
        let columns = part.columns(Rows::Events, self.reading)?;
        Ok(known(Rows::Events, &columns, self.reading) == 0)
    }

    /// X.inter, or X.train.inter, X.valid.inter and X.test.inter, with X.item and X.user.
    fn recbole(&self) -> Result<Layout> {
        let inter: Vec<&PathBuf> =
            self.files.iter().filter(|path| ending(path) == "inter").collect();
        let stem = |path: &Path| {
            let name = bare_name(path);
            let stem = name.strip_suffix(".inter").unwrap_or(name);
            let parts = ["train", "valid", "test"];
            let part = parts.iter().position(|part| stem.ends_with(&format!(".{part}")));
            let cut = part.map_or(0, |part| parts[part].len() + 1);
            (stem[..stem.len() - cut].to_owned(), part)
        };
        let mut parts: Vec<(Option<usize>, PathBuf)> =
            inter.iter().map(|path| (stem(path).1, (*path).clone())).collect();
        parts.sort();
        let stems: Vec<String> = inter.iter().map(|path| stem(path).0).collect();
        let one = stems.first().filter(|first| stems.iter().all(|stem| stem == *first));
        let whole = parts.iter().filter(|(part, _)| part.is_none()).count();
        let Some(stem) = one.filter(|_| whole == 0 || parts.len() == 1) else {
            return Err(Fault::Data.error(format!(
                "{}: expected a folder with one file X.inter (or X.train.inter, X.valid.inter and \
                X.test.inter), got {}; give the folder of one data set",
                self.source.display(),
                if inter.is_empty() { self.listed() } else { format!("{} of them", inter.len()) }
            )));
        };
        let part = |path: PathBuf| Part {
            path,
            writing: Writing::Delimited(Dialect {
                separator: self.separator(),
                bare: true,
                typed: true,
                ..Dialect::default()
            }),
            script: self.script(),
        };
        let folder = if self.source.is_dir() { self.source } else { parent(self.source) };
        let beside = |ending: &str| {
            let names = [format!("{stem}.{ending}"), format!("{stem}.{ending}.gz")];
            names.iter().map(|name| folder.join(name)).find(|path| path.is_file())
        };
        Ok(Layout {
            events: parts.into_iter().map(|(_, path)| part(path)).collect(),
            items: beside("item").map(part),
            users: beside("user").map(part),
            known: Known::More,
            ..self.empty(Format::Recbole)
        })
    }

    fn movielens(&self) -> Result<Layout> {
        match self.published(|set| set.format == Format::Movielens) {
            Some((_, layout)) => Ok(layout),
            None => Err(Fault::Data.error(format!(
                "{}: expected ratings.dat and movies.dat, ratings.csv and movies.csv, or u.data \
                and u.item, got {}; give the folder of one MovieLens set",
                self.source.display(),
                self.listed()
            ))),
        }
    }

    /// A file of events, or a folder: the project's names first, then those of published sets,
    /// then whatever the columns of the files say.
    fn tables(&self, format: Format, endings: &[&str]) -> Result<Layout> {
        let delimited = |set: &Set| format == Format::Csv && set.format == Format::Movielens;
        let published = || self.published(|set| set.format == format || delimited(set));
        if !self.source.is_dir() {
            if let Some((_, layout)) = published().filter(|_| !self.reading.is_numbered()) {
                return Ok(Layout { format, ..layout });
            }
            let part = match (format, self.plain(self.source.to_owned())) {
                (Format::Jsonl, part) => Part { writing: Writing::Json, ..part },
                (Format::Parquet, part) => Part { writing: Writing::Parquet, ..part },
                (_, part) if matches!(part.writing, Writing::Delimited(_)) => part,
                (_, part) => Part { writing: Writing::Delimited(Dialect::default()), ..part },
            };
            return Ok(Layout { events: vec![part], known: Known::More, ..self.empty(format) });
        }
        if let Some(events) = self.one_of("interactions", endings)? {
            let items = self.one_of("items", endings)?;
            return Ok(Layout {
                events: vec![self.plain(events)],
                known: if items.is_some() { Known::All } else { Known::More },
                items: items.map(|path| self.plain(path)),
                users: self.one_of("users", endings)?.map(|path| self.plain(path)),
                ..self.empty(format)
            });
        }
        if let Some((_, layout)) = published() {
            return Ok(Layout { format, ..layout });
        }
        self.by_columns(format, endings)
    }

    /// What the columns of each file say that it holds.
    fn by_columns(&self, format: Format, endings: &[&str]) -> Result<Layout> {
        let files = self.files.iter().filter(|path| endings.contains(&ending(path)));
        let (mut events, mut items, mut users) = (Vec::new(), Vec::new(), Vec::new());
        for path in files.take(64) {
            let part = self.plain(path.clone());
            let Ok(columns) = part.columns(Rows::Events, self.reading) else { continue };
            let of = |rows| Roles::of(rows, &columns, self.reading, None);
            let event = of(Rows::Events);
            let taken = event.has(Field::Item) || event.has(Field::Shown);
            if event.has(Field::User) && taken {
                events.push(part);
            } else if of(Rows::Items).has(Field::Item) && of(Rows::Items).has(Field::Title) {
                items.push(part);
            } else if event.has(Field::User) {
                users.push(part);
            }
        }
        // Shards of one table have the same columns and names that differ in numbers.
        let shards = events.len() > 1
            && events.windows(2).all(|pair| {
                let stem = |part: &Part| -> String {
                    bare_name(&part.path).chars().filter(|c| !c.is_ascii_digit()).collect()
                };
                stem(&pair[0]) == stem(&pair[1])
            });
        if (events.len() == 1 || shards) && items.len() <= 1 && users.len() <= 1 {
            return Ok(Layout {
                events,
                items: items.pop(),
                users: users.pop(),
                known: Known::More,
                ..self.empty(format)
            });
        }
        let names = |parts: &[Part]| {
            let names: Vec<&str> = parts.iter().map(|part| name(&part.path)).collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(" and ")
            }
        };
        Err(Fault::Data.error(format!(
            "{}: expected interactions.{} with columns of users and items, and items.{}, got {} \
            (events in {}, items in {}); name the files so, or give a single file of events",
            self.source.display(),
            endings[0],
            endings[0],
            self.listed(),
            names(&events),
            names(&items)
        )))
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
