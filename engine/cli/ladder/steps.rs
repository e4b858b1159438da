//! The steps of a ladder: what all share, what is a step's own, and which steps it names.

use super::super::decode::Decode;
use super::super::keys::Setting;
use super::super::train::Train;
use super::{Entry, Reader, OF_DECODE, OF_TRAIN, STEP};
use crate::base::meant;
use crate::recommender::sweep::{Step, WRITTEN};
use anyhow::Result;
use toml::de::{DeTable, DeValue};

/// A step before it is known which others there are.
struct Draft {
    name: String,
    line: usize,
    from: Option<(usize, String)>,
    compare: Option<(usize, String)>,
}

impl Reader<'_> {
    /// The steps, each with what all share and what is its own.
    pub(super) fn steps(
        &self,
        entry: Entry,
        (train, decode): (&[Setting], &[Setting]),
        against: &str,
    ) -> Result<Vec<Step>> {
        let DeValue::Array(list) = entry.value else {
            return Err(self.wrong(entry, "[[step]] sections"));
        };
        let (mut drafts, mut steps) = (Vec::<Draft>::new(), Vec::<Step>::new());
        for one in list.iter() {
            let line = self.file.line(one.span().start);
            let DeValue::Table(table) = one.get_ref() else {
                return Err(self.wrong(entry, "[[step]] sections"));
            };
            let (draft, sections) = self.draft(line, table, &drafts)?;
            let from = self.from(&draft, &drafts, sections[0].is_some())?;
            let step = self.step(&draft, from, sections, (train, decode))?;
            let learnt = from.map_or(&step, |from: usize| &steps[from]);
            self.checked(draft.line, &format!("step {}", step.name), step.check(&learnt.learning))?;
            steps.push(step);
            drafts.push(draft);
        }
        for (at, draft) in drafts.iter().enumerate() {
            steps[at].against = self.against(at, draft, &drafts, against)?;
        }
        match steps.is_empty() {
            true => Err(self.wrong(entry, "at least one [[step]]")),
            false => Ok(steps),
        }
    }

    /// A step: what all share, with what is its own in its place.
    fn step(
        &self,
        draft: &Draft,
        from: Option<usize>,
        [own_train, own_decode]: [Option<Entry>; 2],
        (train, decode): (&[Setting], &[Setting]),
    ) -> Result<Step> {
        let (name, line) = (draft.name.clone(), draft.line);
        let (of_train, of_decode) =
            (format!("step {name}: train: "), format!("step {name}: decode: "));
        let own_train =
            self.flags::<Train>("train", self.section(own_train)?, &of_train, OF_TRAIN)?;
        let own_decode =
            self.flags::<Decode>("decode", self.section(own_decode)?, &of_decode, OF_DECODE)?;
        let mut settings: Vec<String> =
            draft.from.iter().map(|(_, other)| format!("from {other}")).collect();
        settings.extend(own_train.iter().map(|setting| shown("train", setting)));
        settings.extend(own_decode.iter().map(|setting| shown("decode", setting)));
        let learning = self.learning(line, &of_train, &over(train, own_train))?;
        let job = self.job(line, &of_decode, &over(decode, own_decode))?;
        Ok(Step { name, from, against: None, settings, learning, job })
    }

    /// A step's own keys: its names of steps, and its sections `train` and `decode`.
    fn draft<'t>(
        &self,
        line: usize,
        table: &'t DeTable<'t>,
        above: &[Draft],
    ) -> Result<(Draft, [Option<Entry<'t>>; 2])> {
        let entries = self.entries(table);
        self.known(&entries, &STEP, "step: ")?;
        let get = |key: &str| entries.iter().find(|entry| entry.key == key).copied();
        let Some(own) = get("name") else {
            let what = "expected a name, got none; add name = \"…\"";
            return Err(self.file.refuse(line, "step", what));
        };
        let (name, line) = (self.text(own)?, own.line);
        let fine = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
        let taken = WRITTEN.folders.iter().chain(WRITTEN.files).any(|taken| *taken == name);
        if name.is_empty() || name.len() > 100 || !name.chars().all(fine) || taken {
            let what = format!(
                "expected letters, digits, -, _ and +, and another name than {}, got {name:?}; it \
                 names a folder",
                WRITTEN.folders.join(" and ")
            );
            return Err(self.file.refuse(line, "name", &what));
        }
        if let Some(other) = above.iter().find(|other| other.name == name) {
            let what = format!(
                "expected distinct names, got that of line {} again; rename it",
                other.line
            );
            return Err(self.file.refuse(line, &format!("step {name}"), &what));
        }
        let named = |key: &str| {
            get(key).map(|entry| anyhow::Ok((entry.line, self.text(entry)?))).transpose()
        };
        let draft = Draft { name, line, from: named("from")?, compare: named("compare")? };
        Ok((draft, [get("train"), get("decode")]))
    }

    /// The number of the step whose training a step asks.
    fn from(&self, draft: &Draft, above: &[Draft], trains: bool) -> Result<Option<usize>> {
        let Some((line, from)) = &draft.from else { return Ok(None) };
        let key = format!("step {}: from", draft.name);
        if trains {
            let what = "expected no `train` beside it, got one; it asks another step's training";
            return Err(self.file.refuse(*line, &key, what));
        }
        let names: Vec<&str> =
            above.iter().filter(|step| step.from.is_none()).map(|step| &*step.name).collect();
        match above.iter().position(|step| step.name == *from && step.from.is_none()) {
            Some(at) => Ok(Some(at)),
            None => {
                let advice = meant(from, &names, "name one");
                let what =
                    format!("expected a step above that trains itself, got {from:?}; {advice}");
                Err(self.file.refuse(*line, &key, &what))
            }
        }
    }

    /// The number of the step that step `at` is compared with, `usual` where it says nothing.
    fn against(
        &self,
        at: usize,
        draft: &Draft,
        all: &[Draft],
        usual: &str,
    ) -> Result<Option<usize>> {
        let (line, word) = match &draft.compare {
            Some((line, word)) => (*line, &**word),
            None => (draft.line, usual),
        };
        match word {
            "previous" => Ok(at.checked_sub(1)),
            "none" => Ok(None),
            name => match all.iter().position(|step| step.name == name) {
                Some(other) => Ok(Some(other).filter(|&other| other != at)),
                None => {
                    let names: Vec<&str> = all.iter().map(|step| &*step.name).collect();
                    let advice = meant(name, &names, "name one");
                    let what = format!("expected previous, none or a step, got {name:?}; {advice}");
                    Err(self.file.refuse(line, &format!("step {}: compare", draft.name), &what))
                }
            },
        }
    }
}

/// A setting of a step in words.
fn shown(verb: &str, setting: &Setting) -> String {
    match setting.words.is_empty() {
        true => format!("{verb} without {}", setting.id.replace('_', "-")),
        false => format!("{verb} {}", setting.words.join(" ")),
    }
}

/// What all share, with what is a step's own in its place.
fn over(shared: &[Setting], own: Vec<Setting>) -> Vec<Setting> {
    let stays = |shared: &&Setting| !own.iter().any(|own| own.id == shared.id);
    let mut all: Vec<Setting> = shared.iter().filter(stays).cloned().collect();
    all.extend(own);
    all
}
