//! The rules that a model learnt by, carried beside its numbers: whoever asks it asks as it was
//! taught, unless something else is wanted. Written and read here alone.
//!
//! ```text
//! rules.json       every rule
//! templates.toml   the file of templates, as it was, where one was used
//! ```

use crate::base::named::named;
use crate::base::text::shortened;
use crate::base::{if_there, write_whole, Fault};
use crate::data::rules::{Frame, Rules, Sampling, Score};
use crate::data::task::Listing;
use crate::device::Gelu;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{json, Value};
use std::fmt;
use std::path::{Path, PathBuf};

/// The file of the rules.
pub const RULES: &str = "rules.json";

/// The copy of the file of templates.
pub const TEMPLATES: &str = "templates.toml";

/// alpha of sum of log-probabilities / length^alpha where nobody says. A share of the catalogue is
/// one as it is (E30).
pub fn length_penalty(score: Score) -> f64 {
    match score {
        Score::Full => 1.0,
        Score::Legal => 0.0,
    }
}

/// Bytes of a value in a message.
const LONGEST: usize = 300;

named! {
    /// Which curve is called GELU, where the config's own word is not to decide.
    pub enum Curve: "gelu" {
        /// The form with tanh, with which the GLM weights were trained.
        Tanh = "tanh",
        /// The form with erf.
        Erf = "erf",
    }
}

impl Curve {
    /// The word for a form of GELU.
    pub fn of(gelu: Gelu) -> Curve {
        match gelu {
            Gelu::Erf => Curve::Erf,
            Gelu::Tanh => Curve::Tanh,
        }
    }
}

/// What a model learnt by. Keys of the serde form are the settings' names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Learnt {
    /// How its rows were made.
    #[serde(flatten)]
    pub rules: Rules,
    /// alpha with which its validations chose among its states.
    pub length_penalty: f64,
    /// Its form of GELU.
    pub gelu: Option<Curve>,
}

impl Learnt {
    /// What the model or adapter in a folder learnt by, where the folder says. Refuses rules that
    /// this engine does not know, and rules that lack one that it does.
    pub fn beside(folder: &Path) -> Result<Option<Learnt>> {
        let path = folder.join(RULES);
        let Some(text) = if_there(&path, std::fs::read_to_string)? else { return Ok(None) };
        let refuse = |got: String| {
            Fault::Model.error(format!(
                "rules: {}: expected the rules of this engine's trainings, got {got}; use the \
                engine that trained it, or take the file away and name every rule",
                path.display()
            ))
        };
        let mut said: Value = serde_json::from_str(&text).map_err(|e| refuse(e.to_string()))?;
        if let Some(rules) = said.as_object_mut() {
            // Before it could be chosen, the newest were shown where a row was full, and windows
            // were drawn from where somebody said how many.
            let few = rules.get("behaviours").and_then(Value::as_u64) > Some(0);
            let before = if few { Sampling::Windows } else { Sampling::Recent };
            rules.entry("sampling").or_insert(json!(before));
            // Neither was there to be chosen.
            rules.entry("frame").or_insert(json!(Frame::Glm));
            rules.entry("candidates").or_insert(json!(Listing::Score));
            rules.entry("score").or_insert(json!(Score::Full));
            rules.entry("temperature").or_insert(json!(1.0));
        }
        let learnt: Learnt =
            serde_json::from_value(said.clone()).map_err(|e| refuse(e.to_string()))?;
        if let Some(name) = differing(&said, &json!(learnt)).first() {
            return Err(refuse(format!("others: {name}")));
        }
        let templates = learnt.rules.templates.is_some().then(|| folder.join(TEMPLATES));
        Ok(Some(Learnt { rules: Rules { templates, ..learnt.rules }, ..learnt }))
    }

    /// Writes itself into a folder, the file of templates first.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let write = |name: &str, bytes: &[u8]| write_whole(&folder.join(name), bytes);
        if let Some(path) = &self.rules.templates {
            write(TEMPLATES, &std::fs::read(path).with_context(|| path.display().to_string())?)?;
        }
        let templates = self.rules.templates.as_ref().map(|_| PathBuf::from(TEMPLATES));
        let carried = Learnt { rules: Rules { templates, ..self.rules.clone() }, ..self.clone() };
        write(RULES, (serde_json::to_string_pretty(&carried)? + "\n").as_bytes())
    }

    /// The form in which two are compared: what no answer depends on is the same in all. Asking
    /// takes the first template, and a file of templates is what it holds.
    pub(super) fn compared(&self) -> Value {
        let mut all = json!(self);
        all["template"] = json!(self.rules.template.first());
        let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap_or_default();
        all["templates"] = json!(self.rules.templates.as_ref().map(text));
        all
    }
}

/// `name value, name value …`
impl fmt::Display for Learnt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = json!(self);
        let said = all.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        for (at, (name, value)) in said.enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {}", shown(value))?;
        }
        Ok(())
    }
}

/// `name was a and is b` of each member in which two objects differ.
pub(super) fn differing(before: &Value, now: &Value) -> Vec<String> {
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let (before, now) = (members(before), members(now));
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    let said = names.filter(|name| before.get(*name) != now.get(*name)).map(|name| {
        let [before, now] = [&before, &now].map(|all| all.get(name).map_or("none".into(), shown));
        format!("setting `{name}` was {before} and is {now}")
    });
    said.collect()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => shortened(text, LONGEST).into_owned(),
        Value::Array(list) => list.iter().map(shown).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}
