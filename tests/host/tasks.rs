//! The five families: which records they learn from, and rows that ask and answer what they say.

use crate::families::{explanation, headline, source, usual, ITEMS};
use crate::shop::{shared, Shop};
use engine::base::Fault;
use engine::data::legal::Objective;
use engine::data::records::{is_held_out, Part, Records, SplitPolicy};
use engine::data::rules::{Frame, Purpose, Rules};
use engine::data::task::{Example, Listing, Mix, Put, RatingTargets, Split, Tasks};
use engine::data::template::{Answer, Field, Part as Piece, Template, Templates};
use engine::data::text::list_tokens;
use engine::data::{Dataset, Family, Sample, Target};
use std::collections::HashSet;

fn dataset(files: [(&'static str, String); 4]) -> (Shop, Dataset) {
    let shop = Shop::empty();
    files.iter().for_each(|(name, text)| drop(shop.put(name, text)));
    let data = shop.prepare().unwrap();
    (shop, data)
}

#[test]
fn records_are_split_by_eights_and_everybody_is_learnt_from() {
    let (_shop, data) = dataset(usual(60));
    let records = Records::of(&data);
    let all = records.all();
    assert_eq!(all.len(), 420);
    let count = |part: Part| all.iter().filter(|record| record.part == part).count();
    assert_eq!([Part::Training, Part::Validation, Part::Test].map(count), [336, 42, 42]);
    let learnt = || all.iter().filter(|record| record.part == Part::Training);
    assert_eq!(learnt().map(|r| r.user).collect::<HashSet<_>>().len(), 60);
    assert_eq!(learnt().map(|r| r.item).collect::<HashSet<_>>().len(), ITEMS);
    // The same data have the same split, and a record stands where its user's event does.
    let again = Records::of(&data);
    assert!(again.all().iter().map(|r| r.part).eq(all.iter().map(|r| r.part)));
    for user in 0..60 {
        let own = records.of_user(user);
        assert!(own.iter().map(|r| r.item).eq(data.user(user).items.iter().copied()));
        for record in own {
            let review = record.review.map(|number| data.review(number as usize));
            assert!(review.is_none_or(|r| (r.user, r.item) == (record.user, record.item)));
        }
    }
    // A source's own split counts, and what is held out is known.
    let events = |user: usize| (0..7).map(|k| (user * 5 + k * 11) % ITEMS).collect();
    let own = source(20, events, |_, place| place == 6, Some("test"));
    let (_shop, data) = dataset(own);
    for record in Records::of(&data).all() {
        let last = *data.user(record.user).items.last().unwrap() == record.item;
        assert!(!last || record.part == Part::Test);
        let held = data.user(record.user).items[5..].contains(&record.item);
        assert_eq!(is_held_out(&data, record.user, record.item), held);
    }
}

#[test]
fn strange_splits_and_stars_are_refused() {
    let events = |user: usize| (0..7).map(|k| (user * 5 + k * 11) % ITEMS).collect();
    let files = source(5, events, |_, place| place == 6, Some("tset"));
    let shop = Shop::empty();
    files.iter().for_each(|(name, text)| drop(shop.put(name, text)));
    let error = shop.prepare().map(|_| ()).unwrap_err();
    assert_eq!(Fault::of(&error), Some(Fault::Data));
    let said = format!("{error:#}");
    assert!(said.contains("reviews.jsonl:1") && said.contains("\"tset\""), "{said}");

    let mut files = usual(5);
    files[2].1 = files[2].1.replacen("\t3\t", "\t7\t", 1);
    files[3].1 = String::new();
    let (_shop, data) = dataset(files);
    let tasks = tasks(&data, &["1-6"], Listing::Score);
    let error = tasks.learners(Family::Rating, SplitPolicy::P5).unwrap_err();
    assert!(error.to_string().contains("expected stars from 0.5 to 5, got 7"), "{error}");
}

fn tasks<'a>(data: &'a Dataset, ids: &[&str], candidates: Listing) -> Tasks<'a> {
    let template = ids.iter().map(|id| id.to_string()).collect();
    let rules = Rules { template, candidates, ..Rules::default() };
    rules.tasks(data, 1024, Purpose::Decoding, 5).unwrap()
}

fn mix(rating_targets: RatingTargets) -> Mix {
    Mix { rating_targets, ..Mix::default() }
}

/// Part A and the answer of a row, as people read them.
fn read(data: &Dataset, continues: bool, row: &Sample) -> (String, String) {
    let text = |tokens: &[u32]| data.vocab().decode(tokens).unwrap();
    let end = row.targets.len() - 1;
    let answer: Vec<u32> = row.targets[..end].iter().map(|target| target.token).collect();
    // What begins it is learnt too; the last of a list is what was asked for.
    let list = data.vocab().encode(" ,").unwrap();
    let mut members = list_tokens(&answer, &list);
    let answer = if continues { members.pop().unwrap() } else { &answer };
    assert_eq!(row.targets[end].token, data.vocab().special().end);
    (text(&row.tokens[..row.context]), text(answer).trim().to_owned())
}

/// Rows of every template that can be learnt from, with those that are held out asked instead:
/// what is answered is true, and its prompt does not say it (E25).
#[test]
fn rows_of_every_template_ask_and_answer_what_they_say() {
    let (_shop, data) = dataset(usual(40));
    let known = Templates::builtin();
    for template in known.iter() {
        let tasks = tasks(&data, &[&template.id], Listing::Both);
        let (subjects, _) = tasks.learners(template.family, SplitPolicy::P5).unwrap();
        assert!(!subjects.is_empty(), "{template}");
        for (number, &subject) in subjects.iter().enumerate() {
            let number = number as u64;
            let example = Example { family: template.family, subject, number };
            let row = tasks.training(example, &mix(RatingTargets::Int)).unwrap();
            assert_eq!(row, tasks.training(example, &mix(RatingTargets::Int)).unwrap());
            let (prompt, answer) = read(&data, template.continues, &row);
            check(&data, &tasks, template, subject, &prompt, &answer);
        }
        // What is asked is the beginning of what would be learnt of the same record.
        let asked = tasks.subjects(template.family, &template.id, Split::Test, 5).unwrap();
        assert!(!asked.is_empty(), "{template}");
        for subject in asked {
            let put = tasks.put(template.family, &template.id, subject, Split::Test).unwrap();
            asks(&data, &tasks, template, subject, put);
        }
    }
}

/// A history that the answer begins with is learnt as it is asked: every item but the first is a
/// target where a prompt of those before it ends, and [END] is a choice behind the last alone.
#[test]
fn a_history_that_goes_on_is_learnt_where_it_is_asked() {
    let (_shop, data) = dataset(usual(30));
    let tasks = tasks(&data, &["continued"], Listing::Score);
    for objective in [Objective::Full, Objective::Legal] {
        for user in 0..30 {
            let example = Example { family: Family::Sequential, subject: user, number: 5 };
            let row = tasks.training(example, &Mix { objective, ..Mix::default() }).unwrap();
            let events = Split::training(data.user(user).items);
            let mut first_of = Vec::new();
            for (shown, &next) in events.iter().enumerate().skip(1) {
                let prompt = tasks.prompt(None, user, shown).unwrap();
                let rows = prompt.rows();
                assert_eq!(prompt.context, row.context);
                assert_eq!(prompt.tokens, row.tokens[..rows]);
                for kind in [0, 1] {
                    assert_eq!(prompt.positions[kind], row.positions[kind][..rows]);
                }
                first_of.push((rows as u32 - 1, data.item(next).tokens[0]));
            }
            let found = |&(row, token): &(u32, u32)| {
                move |target: &&Target| (target.row, target.token) == (row, token)
            };
            for first in &first_of {
                assert_eq!(row.targets.iter().filter(found(first)).count(), 1, "{objective}");
            }
            assert_eq!(row.targets[0].row, first_of[0].0);
            let ends = data.vocab().special().end;
            let last = row.rows() as u32 - 1;
            let asks_end = |target: &Target| {
                target.among.as_ref().is_none_or(|among| among.tokens.contains(&ends))
            };
            let early = row.targets.iter().filter(|target| target.row + 1 < first_of[4 - 1].0);
            if objective == Objective::Legal {
                assert!(early.filter(|target| asks_end(target)).count() == 0);
            } else {
                assert_eq!(row.targets.last(), Some(&Target::of(last, ends)));
            }
        }
    }
}

fn shows(template: &Template, field: Field) -> bool {
    template.parts.contains(&Piece::Field(field))
}

/// Whether the answer to a prompt of training is right.
fn check(
    data: &Dataset,
    tasks: &Tasks,
    template: &Template,
    subject: u32,
    prompt: &str,
    answer: &str,
) {
    let what = format!("{}: {prompt:?} -> {answer:?}", template.id);
    let surface = |item: u32| data.item(item).surface;
    if matches!(template.family, Family::Sequential | Family::Direct) {
        let name = format!("Pat {}", subject + 1);
        assert!(!shows(template, Field::User) || prompt.contains(&name), "{what}");
        let events = Split::training(data.user(subject).items);
        match template.answer {
            Answer::YesNo => {
                let is_own = |item: &u32| events.contains(item) && prompt.contains(surface(*item));
                // The history is the user's own, so the item asked about is looked for behind it.
                let shown = (0..ITEMS as u32).filter(|&i| prompt.contains(surface(i)));
                let strange = shown.filter(|item| !is_own(item)).count();
                assert_eq!(answer, if strange == 0 { "yes" } else { "no" }, "{what}");
            }
            _ => {
                let target = events.iter().find(|&&item| surface(item) == answer).expect(&what);
                let place = events.iter().position(|item| item == target).unwrap();
                if template.continues {
                    assert!(place == events.len() - 1 && !prompt.contains(answer), "{what}");
                } else if shows(template, Field::History) {
                    let history =
                        events[..place].iter().all(|&item| prompt.contains(surface(item)));
                    assert!(history && place > 0, "{what}");
                }
                let listed = shows(template, Field::Candidates);
                // A list shows the beginning of a title, enough to tell it from the others.
                assert_eq!(prompt.contains(&answer[..8]), listed, "{what}");
            }
        }
        return;
    }
    let record = tasks.records().all()[subject as usize];
    let stars = record.stars as u32;
    let review = record.review.map(|number| data.review(number as usize));
    let feature = review.and_then(|review| review.feature).unwrap_or_default();
    let title = surface(record.item);
    assert!(!shows(template, Field::Item) || prompt.contains(title), "{what}");
    for (field, text) in [
        (Field::Feature, feature.to_owned()),
        (Field::Headline, review.and_then(|r| r.summary).unwrap_or_default().to_owned()),
        (Field::Review, review.and_then(|r| r.text).unwrap_or_default().to_owned()),
        (Field::Stars, format!(" {stars}")),
    ] {
        assert!(!shows(template, field) || prompt.contains(&text), "{what}");
    }
    let expected = match (template.answer, template.family) {
        (Answer::Stars, _) => stars.to_string(),
        (Answer::Like, _) => if stars >= 4 { "like" } else { "dislike" }.to_owned(),
        (Answer::YesNo, _) => {
            let right = prompt.contains(&format!(" {stars} stars"));
            if right { "yes" } else { "no" }.to_owned()
        }
        (Answer::Text, Family::Review) => headline(stars, feature),
        (Answer::Text, _) => explanation(stars, feature),
        (Answer::StarsText, _) => format!("{stars} , {}", explanation(stars, feature)),
        (Answer::Item, _) => unreachable!(),
    };
    assert_eq!(answer, expected, "{what}");
    assert!(template.answer != Answer::Text || !prompt.contains(answer), "{what}");
}

/// Whether a question asks as training would.
fn asks(data: &Dataset, tasks: &Tasks, template: &Template, subject: u32, put: Put) {
    let held = |user: u32| *data.user(user).items.last().unwrap();
    let text = |tokens: &[u32]| data.vocab().decode(tokens).unwrap();
    let distinct = |items: &[u32]| items.iter().collect::<HashSet<_>>().len();
    match put {
        Put::Item { prompt, target } => {
            assert_eq!(target, held(subject));
            assert!(!text(&prompt.tokens).contains(data.item(target).surface));
            assert_eq!(prompt.begun > 0, template.continues);
            assert_eq!(prompt, tasks.prompt(Some(&template.id), subject, 6).unwrap());
        }
        Put::Among { prompt, candidates, target } => {
            assert_eq!((target, candidates.len()), (held(subject), distinct(&candidates)));
            assert!(candidates.contains(&target));
            let others = candidates.iter().filter(|&&item| item != target).copied();
            let stored: HashSet<u32> = data.negatives(subject).iter().copied().collect();
            assert_eq!(others.collect::<HashSet<u32>>(), stored);
            let said = text(&prompt.tokens);
            let listed = shows(template, Field::Candidates);
            for &item in &candidates {
                let known = data.user(subject).items.contains(&item) && item != target;
                assert!(known || said.contains(&data.item(item).surface[..8]) == listed);
            }
        }
        Put::YesNo { prompts, candidates, target, words } => {
            assert_eq!((target, prompts.len()), (held(subject), candidates.len()));
            assert_eq!(candidates.len(), distinct(&candidates));
            for (prompt, &item) in prompts.iter().zip(&candidates) {
                assert!(text(&prompt.tokens).contains(data.item(item).surface));
            }
            assert_eq!(words.map(|word| text(&word)), [" yes", " no"]);
        }
        Put::Written { prompt, item, room } => {
            let record = tasks.records().all()[subject as usize];
            assert_eq!((record.part, record.item), (Part::Test, item));
            assert!(room > 0 && prompt.masks.len() == 1);
            let said = text(&prompt.tokens);
            if let Some(number) = record.review {
                let review = data.review(number as usize);
                let answer = match template.family {
                    Family::Review => review.summary,
                    _ => review.explanation,
                };
                let own = matches!(template.answer, Answer::Text | Answer::StarsText);
                assert!(!own || !said.contains(answer.unwrap()), "{}: {said}", template.id);
            }
        }
    }
}

/// The mean answer of noised training stars is the middle of their class; nothing else is noised.
#[test]
fn stars_are_noised_for_training_alone() {
    let (_shop, data) = dataset(usual(60));
    let tasks = tasks(&data, &["1-6"], Listing::Score);
    let (subjects, _) = tasks.learners(Family::Rating, SplitPolicy::P5).unwrap();
    let mut off = 0;
    for (number, &subject) in (0..).zip(&subjects) {
        let example = Example { family: Family::Rating, subject, number };
        let (_, answer) =
            read(&data, false, &tasks.training(example, &mix(RatingTargets::Gauss)).unwrap());
        let stars = f64::from(tasks.records().all()[subject as usize].stars);
        let drawn: f64 = answer.parse().unwrap();
        assert!((drawn - stars).abs() < 1.0 && answer.len() == 3, "{answer}");
        off += usize::from(drawn != stars);
    }
    assert!(off > subjects.len() / 2);
    let strict = tasks.learners(Family::Rating, SplitPolicy::Strict).unwrap().0;
    let held = |&number: &u32| {
        let record = tasks.records().all()[number as usize];
        is_held_out(&data, record.user, record.item)
    };
    assert!(strict.len() < subjects.len() && !strict.iter().any(held));
    assert_eq!(strict.len() + subjects.iter().filter(|n| held(n)).count(), subjects.len());
}

/// Stars that a user gave others are shown, those of the record in question are not.
#[test]
fn ratings_show_everything_but_the_answer() {
    let (_shop, data) = dataset(usual(60));
    let tasks = tasks(&data, &["stars"], Listing::Score);
    let (subjects, _) = tasks.learners(Family::Rating, SplitPolicy::P5).unwrap();
    for (number, &subject) in (0..).zip(&subjects) {
        let record = tasks.records().all()[subject as usize];
        let example = Example { family: Family::Rating, subject, number };
        let row = tasks.training(example, &mix(RatingTargets::Int)).unwrap();
        let (prompt, answer) = read(&data, false, &row);
        assert_eq!(answer, record.stars.to_string());
        for other in tasks.records().of_user(record.user) {
            let said = format!("{} : {}", data.item(other.item).surface, other.stars);
            let held = is_held_out(&data, record.user, other.item);
            let shown = other.item != record.item && other.part == Part::Training && !held;
            assert_eq!(prompt.contains(&said), shown, "{prompt}");
        }
    }
}

#[test]
fn toys_has_the_papers_number_of_records() {
    let source = shared().join("data/toys");
    if !source.is_dir() {
        eprintln!("skipped: toys_has_the_papers_number_of_records: no {}", source.display());
        return;
    }
    let shop = Shop::empty();
    let arguments = engine::cli::prepare::Prepare { source, ..shop.arguments() };
    engine::cli::prepare::run(&arguments, engine::base::Outputs::new(true)).unwrap();
    let data = Dataset::open(&arguments.out).unwrap();
    let records = Records::of(&data);
    let count = |part: Part| records.all().iter().filter(|r| r.part == part).count();
    // 167,492 records with stars: 8:1:1, rounded.
    assert_eq!(
        [Part::Training, Part::Validation, Part::Test].map(count),
        [133_994, 16_749, 16_749]
    );
}

/// What stands round a text, in training and asking alike (R20); ids count what is there.
#[test]
fn a_frame_stands_round_every_row() {
    let (_shop, data) = dataset(usual(12));
    let special = data.vocab().special();
    for (frame, id, before, behind) in [
        (Frame::Glm, "2-3", true, true),
        (Frame::Glm, "3-1", true, true),
        (Frame::GlmGenerator, "2-3", true, true),
        (Frame::GlmGenerator, "3-1", true, false),
        (Frame::ChatGlm, "2-3", false, false),
        (Frame::ChatGlm, "3-1", false, false),
    ] {
        let rules = Rules { template: vec![id.to_owned()], frame, ..Rules::default() };
        let tasks = rules.tasks(&data, 1024, Purpose::Training, 5).unwrap();
        let family = tasks.families()[0];
        let (subjects, _) = tasks.learners(family, SplitPolicy::P5).unwrap();
        let example = Example { family, subject: subjects[0], number: 0 };
        let row = tasks.training(example, &mix(RatingTargets::Int)).unwrap();
        let part_a = &row.tokens[..row.context];
        assert_eq!(part_a[0] == special.cls, before);
        assert_eq!(*part_a.last().unwrap() == special.eos, behind);
        assert!(!part_a[1..row.context - 1].contains(&special.cls));
        let ids: Vec<u32> = (0..row.context as u32).collect();
        assert_eq!(row.positions[0][..row.context], ids[..]);
        let masks = [special.mask, special.gmask];
        let mask = part_a.iter().position(|token| masks.contains(token)).unwrap();
        assert_eq!(row.tokens[row.context], special.start);
        assert!(row.positions[0][row.context..].iter().all(|&id| id == mask as u32));
    }
}
