//! `engine inspect`: what a path is; the memory of a run before anything is loaded.

mod advice;
mod kinds;
pub mod memory;
pub mod sheet;
mod templates;

use super::{say, Global};
use crate::base::Fault;
use advice::Wanted;
use anyhow::Result;
use memory::PlanFlags;
use serde::{Deserialize, Serialize};
use sheet::Sheet;
use std::path::{Path, PathBuf};

/// Says what a checkpoint, config.json, adapter, run, .bin or file of templates is; plans the
/// memory of a run before anything is loaded.
///
/// A plan counts tensors, as memory_bytes of metrics.jsonl does; what a device needs for itself
/// comes on top. It plans for full batches: every row a target, every prompt of --max-row rows,
/// --item-tokens produced by each beam. Without --device it is made for the device that a run would
/// take here; the device itself is not opened, so that any machine can plan for any other. One that
/// does not fit --limit ends with exit code 5 and says which changes would make it fit.
///
/// Example: engine inspect glm-10b --plan train --device cuda:0 --limit 80G
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inspect {
    /// A weights folder or its name, a config.json, an adapter, a run, a .bin, or a .toml of
    /// templates (builtin: those that come with the engine)
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// One JSON object instead of a table
    #[arg(long)]
    pub json: bool,
    /// Compare every checksum of a .bin
    #[arg(long)]
    pub verify: bool,
    /// The prepared .bin of which templates show examples
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// Plan the memory of such a run
    #[arg(long, value_parser = ["train", "decode"], value_name = "train|decode")]
    pub plan: Option<String>,
    #[command(flatten)]
    #[serde(flatten)]
    pub flags: PlanFlags,
}

/// Prints what there is to say.
pub fn run(args: &Inspect, global: &Global) -> Result<()> {
    if let Some(data) = &args.data {
        return of_templates(args, data);
    }
    if templates::is_one(&args.path) {
        return Err(Fault::Usage.error(format!(
            "--data: {}: expected the prepared .bin of which templates show examples, got none; \
            name it",
            args.path.display()
        )));
    }
    let path = kinds::find(&args.path)?;
    let mut sheet = Sheet::default();
    sheet.plain("path", path.display().to_string());
    let mut checked = Sheet::default();
    if args.verify {
        kinds::verify(&path, &mut checked)?;
    }
    let base = kinds::describe(&path, &mut sheet)?;
    if args.verify {
        sheet.part("verify", checked);
    }
    let mut refused = None;
    if let Some(plan) = &args.plan {
        let place = global.place()?;
        let base = base.ok_or_else(|| {
            Fault::Usage.error(format!(
                "--plan: {}: expected a model (weights, config.json, or an adapter whose base is \
                at its place), got none; name the weights",
                path.display()
            ))
        })?;
        let train = plan == "train";
        let (memory, takes) = args.flags.plan(&base, place, train)?;
        sheet.part("memory", memory);
        refused = args.flags.limit.filter(|limit| takes > *limit).map(|limit| {
            let (flags, base) = (&args.flags, &base);
            Wanted { flags, base, place, train, limit }.refuse(takes)
        });
    }
    show(args, &sheet)?;
    refused.map_or(Ok(()), Err)
}

fn show(args: &Inspect, sheet: &Sheet) -> Result<()> {
    match args.json {
        true => say::json(&(serde_json::to_string_pretty(&sheet.json())? + "\n")),
        false => say::result(&sheet.text()),
    }
    Ok(())
}

/// Templates with examples of `data`.
fn of_templates(args: &Inspect, data: &Path) -> Result<()> {
    if !templates::is_one(&args.path) {
        kinds::find(&args.path)?;
    }
    if !templates::is_one(&args.path) || args.verify || args.plan.is_some() {
        return Err(Fault::Usage.error(format!(
            "--data: {}: expected a file of templates, or builtin, whose examples it shows, got \
            something else; leave --data out, or name the templates",
            args.path.display()
        )));
    }
    let mut sheet = Sheet::default();
    sheet.plain("path", args.path.display().to_string());
    templates::describe(&args.path, data, args.json, &mut sheet)?;
    show(args, &sheet)
}
