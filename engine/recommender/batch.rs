//! A batch: all questions of a data set, a file or a stream, answered into one output, from where
//! an earlier run stopped.

use super::answer::{Answer, Answered};
use super::id::Id;
use super::identity::Identity;
use super::job::Job;
use super::line::{self, Labelled, RawLines};
use super::open::Recommender;
use super::predictions::{Output, Side};
use super::question::{Asked, Question, Rows, Wishes};
use super::queue::{Limits, Queue};
use crate::base::{Fault, Held};
use crate::data::task::Split;
use crate::data::{Cut, Family};
use crate::decode::Cost;
use anyhow::Result;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where questions come from.
enum Source {
    /// Users or records of the data set, each with the template that asks.
    Data(Vec<(String, u32)>),
    /// A file that can be read again.
    File(PathBuf),
    /// Lines that come when they come: standard input, a pipe.
    Stream(Option<PathBuf>),
}

/// What became of the questions of a batch that were answered now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// How many there were.
    pub questions: usize,
    /// How many could not be asked.
    pub refused: usize,
    /// What the prompts of the others do not say.
    pub cut: Cut,
    /// What searches for items cost.
    pub cost: Cost,
}

/// Told how a batch goes on.
pub trait Watch {
    /// It begins: so many questions in all where that is known, `done` of them answered before.
    fn begun(&mut self, _total: Option<usize>, _done: usize) {}
    /// So many more are answered.
    fn answered(&mut self, _questions: usize) {}
}

impl Watch for () {}

/// Where the questions of a job come from.
fn source_of(job: &Job, recommender: &Recommender, resume: bool) -> Result<Source> {
    let Some(prompts) = &job.prompts else {
        return of_data(job, recommender).map(Source::Data);
    };
    let stream = match prompts.as_str() {
        "-" => None,
        path => match Path::new(path).metadata() {
            Ok(found) if found.is_file() => return Ok(Source::File(PathBuf::from(path))),
            Ok(found) if !found.is_dir() => Some(PathBuf::from(path)),
            Ok(_) => {
                let folder = ErrorKind::IsADirectory.into();
                return Err(line::refuse_file(Path::new(path), &folder));
            }
            Err(error) => return Err(line::refuse_file(Path::new(path), &error)),
        },
    };
    if resume {
        return Err(Fault::Usage.error(format!(
            "decode: setting `resume`: expected setting `prompts` FILE, whose lines can be read \
            again, got \
             {prompts}; put the prompts into a file"
        )));
    }
    Ok(Source::Stream(stream))
}

/// The questions about the data's own users or records. Refuses a family of which the split has
/// none to ask about.
fn of_data(job: &Job, recommender: &Recommender) -> Result<Vec<(String, u32)>> {
    let mut asked = Vec::new();
    for id in recommender.wordings(job.task)? {
        recommender.check_prior(job.task, &id)?;
        let subjects =
            recommender.tasks(|tasks| tasks.subjects(job.task, &id, job.split, job.users))?;
        asked.extend(subjects.into_iter().map(|subject| (id.clone(), subject)));
    }
    if asked.is_empty() && !job.task.is_of_users() {
        return Err(Fault::Data.error(format!(
            "data: {}: expected records of split {} that family {} can ask about, got none; \
            prepare a source with reviews.jsonl or ratings",
            recommender.dataset().name(),
            job.split,
            job.task
        )));
    }
    Ok(asked)
}

/// Answers all questions of `job`, in the order in which they were asked, each line written as it
/// is done. With `resume` it goes on behind the last whole line. After `stop` says so, no further
/// group is begun; lines that were read are still answered.
/// `_held` is the right to write where they go: what [`claim`](super::predictions::claim) gave with
/// the same `resume`.
pub fn run(
    recommender: &Recommender,
    job: &Job,
    _held: &Held,
    resume: bool,
    stop: fn() -> bool,
    watch: &mut dyn Watch,
) -> Result<Done> {
    let dataset = recommender.dataset();
    let source = source_of(job, recommender, resume)?;
    let prompts_hash = match &source {
        Source::File(path) => Some(line::hash(path)?),
        _ => None,
    };
    let total = match &source {
        Source::Data(asked) => Some(asked.len()),
        _ => None,
    };
    let side = Side {
        decode: Job { settings: recommender.settings().clone(), ..job.clone() },
        asked: total,
        identity: Identity::of_answers(recommender, job, prompts_hash)?,
    };
    let ids: Box<dyn Iterator<Item = Result<Id>>> = match &source {
        Source::Data(asked) => {
            Box::new(asked.iter().map(|&(_, subject)| Ok(recommender.id_of(job.task, subject))))
        }
        Source::File(path) => Box::new(line::ids(path, job.max_line as usize)?),
        Source::Stream(_) => Box::new(std::iter::empty()),
    };
    // Fitted before the first question comes, which would wait for it.
    if let Some(companion) = recommender.companion() {
        let split = if job.prompts.is_some() { Split::Test } else { job.split };
        companion.knowing(dataset, split);
    }
    let (mut output, done) = Output::open(&side, resume, ids)?;
    watch.begun(total, done);
    let mut next = groups(recommender, job, &source, done, stop)?;
    let mut told = Done::default();
    while let Some(questions) = next()? {
        let answers = recommender.answer(questions.iter().map(|question| &question.asked))?;
        let cannot = |answered: &&Answered| matches!(answered.answer, Answer::Refused(_));
        let asked = |(question, answered): (&Labelled, &Answered)| {
            let refused = matches!(question.asked.rows, Rows::Refused(_));
            let Answer::Refused(why) = &answered.answer else { return Ok(()) };
            // A host lives on with a line that says so; a file of answers would look whole.
            match refused || matches!(source, Source::Stream(_)) {
                true => Ok(()),
                false => Err(Fault::Model.error(format!("{}: {why}", question.id))),
            }
        };
        questions.iter().zip(&answers).try_for_each(asked)?;
        told.questions += questions.len();
        told.refused += answers.iter().filter(cannot).count();
        questions.iter().for_each(|question| told.cut += question.asked.cut());
        output.write(dataset, &questions, &answers)?;
        watch.answered(questions.len());
    }
    output.settle()?;
    told.cost = recommender.cost();
    Ok(told)
}

impl Recommender {
    /// The id of whom a question about the data's own users or records is about.
    fn id_of(&self, family: Family, subject: u32) -> Id {
        let user = match family.is_of_users() {
            true => subject,
            false => self.tasks(|tasks| tasks.records().all()[subject as usize].user),
        };
        Id::of_source(self.dataset().user(user).id)
    }
}

/// Questions of a group, `None` when there are no more or somebody asked us to stop.
type Next<'a> = Box<dyn FnMut() -> Result<Option<Vec<Labelled>>> + 'a>;

/// The questions behind the first `done`, group by group.
fn groups<'a>(
    recommender: &'a Recommender,
    job: &'a Job,
    source: &'a Source,
    done: usize,
    stop: fn() -> bool,
) -> Result<Next<'a>> {
    let of_data = |(template, subject): &(String, u32)| -> Result<Labelled> {
        let (family, subject, split) = (job.task, *subject, job.split);
        let question = Question::Of { family, subject, split };
        let wishes = Wishes { template: Some(template.clone()), ..Wishes::default() };
        let asked = match recommender.ask_with(&question, &wishes) {
            // What fits into no row is one line that says so, and not the end of all others.
            Err(why) if Fault::of(&why) == Some(Fault::Data) => Asked::refused(format!("{why:#}")),
            asked => asked?,
        };
        Ok(Labelled { id: recommender.id_of(family, subject), task: family.to_string(), asked })
    };
    let of_line = |raw: &line::RawLine| line::ask(recommender, raw, job.task);
    let (longest, most) = (job.max_line as usize, job.max_memory as usize);
    Ok(match source {
        Source::Data(asked) => {
            let mut chunks = asked[done..].chunks(job.batch);
            Box::new(move || match chunks.next() {
                Some(asked) if !stop() => {
                    asked.iter().map(of_data).collect::<Result<_>>().map(Some)
                }
                _ => Ok(None),
            })
        }
        Source::File(path) => {
            let mut lines = RawLines::open(path)?.at_most(longest);
            for _ in 0..done {
                lines.read()?;
            }
            Box::new(move || {
                let (mut questions, mut bytes) = (Vec::new(), 0);
                while questions.len() < job.batch && bytes <= most / 2 && !stop() {
                    let Some(raw) = lines.read()? else { break };
                    bytes += raw.held();
                    questions.push(of_line(&raw));
                }
                Ok(Some(questions).filter(|questions| !questions.is_empty()))
            })
        }
        Source::Stream(path) => {
            let lines = match path {
                Some(path) => RawLines::open(path)?,
                None => RawLines::standard_input()?,
            };
            let wait = Duration::from_millis(job.max_wait);
            let limits = Limits { lines: job.batch, bytes: most, wait };
            let queue = Queue::start(lines.at_most(longest), limits, stop);
            Box::new(move || Ok(queue.next()?.map(|lines| lines.iter().map(of_line).collect())))
        }
    })
}
