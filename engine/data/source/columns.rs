//! The columns of a table: their names, and what a file says that they hold.

use super::cell::Cell;
use super::names::squashed;
use std::collections::HashMap;

/// A column and what its file says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// As the file names it.
    pub name: String,
    /// [`squashed`].
    pub squashed: String,
    /// What its header says it holds.
    pub kind: Kind,
}

/// What a header says that a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing is said.
    Any,
    /// A text or an id.
    Token,
    /// Names with blanks between them.
    Tokens,
    /// A number.
    Float,
    /// Numbers with blanks between them.
    Floats,
    /// 1 where the item is of the category that the column names.
    Category,
}

impl Column {
    /// A column of which the file says no more than its name.
    pub fn named(name: &str) -> Column {
        Column { name: name.to_owned(), squashed: squashed(name), kind: Kind::Any }
    }
}

/// The columns of a file, by number and by name.
#[derive(Debug, Default)]
pub struct Columns {
    list: Vec<Column>,
    number: HashMap<String, usize>,
}

/// A file of rows with more different names is no table.
const MOST_COLUMNS: usize = 4096;

impl Columns {
    /// These, in the file's order.
    pub fn of(list: Vec<Column>) -> Columns {
        let number = list.iter().enumerate().map(|(i, c)| (c.name.clone(), i)).collect();
        Columns { list, number }
    }

    /// In the file's order.
    pub fn list(&self) -> &[Column] {
        &self.list
    }

    /// The number of a name, a new one if it was not there; `expected` is where it would stand if
    /// this row were as the one before it.
    pub fn number(&mut self, name: &str, expected: usize) -> Result<usize, String> {
        if self.list.get(expected).is_some_and(|column| column.name == name) {
            return Ok(expected);
        }
        if let Some(&number) = self.number.get(name) {
            return Ok(number);
        }
        if self.list.len() == MOST_COLUMNS {
            return Err(format!(
                "expected at most {MOST_COLUMNS} different fields, got one more, {:?}; are names \
                and values swapped?",
                name.chars().take(40).collect::<String>()
            ));
        }
        self.number.insert(name.to_owned(), self.list.len());
        self.list.push(Column::named(name));
        Ok(self.list.len() - 1)
    }
}

/// A row: a cell for each of [`Columns::list`]; those at the end may be missing.
pub type Row<'r> = Vec<Cell<'r>>;
