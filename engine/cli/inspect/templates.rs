//! `engine inspect TEMPLATES.toml --data FILE`: templates with examples, and what a row of them
//! teaches.

use super::sheet::{Cell, Sheet};
use crate::recommender::specimen::{specimens, Specimen, BUILTIN};
use anyhow::Result;
use serde_json::json;
use std::path::Path;

/// Whether a path is a file of templates, rather than a model or data.
pub fn is_one(path: &Path) -> bool {
    path == Path::new(BUILTIN) || path.extension().is_some_and(|ending| ending == "toml")
}

/// Every template with an example; of each family one row token by token, of all of them in JSON.
pub fn describe(path: &Path, data: &Path, all_rows: bool, sheet: &mut Sheet) -> Result<()> {
    let all = specimens(path, data)?;
    sheet.plain("kind", "templates");
    sheet.count("templates", all.len());
    let mut shown = Vec::new();
    for one in &all {
        let mut part = Sheet::default();
        part.plain("family", one.family.name());
        part.fact("seen", if one.seen { "yes" } else { "held out" }, one.seen);
        part.plain("text", one.text.as_str());
        match &one.example {
            None => part.fact("example", "nothing in the data fills it", json!(null)),
            Some(example) => {
                part.plain("prompt", example.prompt.as_str());
                part.plain("answer", example.answer.as_str());
            }
        }
        let first = !shown.contains(&one.family) && one.example.is_some();
        if all_rows || first {
            shown.push(one.family);
            row(one, &mut part);
        }
        sheet.part(&format!("template {}", one.id), part);
    }
    Ok(())
}

fn row(one: &Specimen, sheet: &mut Sheet) {
    let Some(example) = &one.example else { return };
    let text = |text: &str| Cell(format!("{text:?}"), text.into());
    let number = |n: u32| Cell(n.to_string(), n.into());
    let cells = example.row.iter().map(|token| {
        let target = match &token.target {
            Some(target) => text(target),
            None => Cell("-".to_owned(), json!(null)),
        };
        vec![
            text(&token.text),
            number(token.id),
            Cell(token.part.to_owned(), token.part.into()),
            number(token.inter),
            number(token.intra),
            target,
        ]
    });
    sheet.table("row", &["token", "id", "part", "inter", "intra", "learns"], cells.collect());
}
