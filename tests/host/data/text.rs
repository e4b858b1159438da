use engine::base::{Fault, Philox, Stream};
use engine::data::form::{Candidates, Fields, Form};
use engine::data::intra::{Intra, IntraMode};
use engine::data::numeral::{date, decimal};
use engine::data::record::NO_TIME;
use engine::data::sample::{Prompt, SampleBuilder, SampleOptions};
use engine::data::span::segment;
use engine::data::span::Level;
use engine::data::template::{Answer, Field, Part, Template, Templates};
use engine::data::text::{
    attributes_text, behaviour_text, display_name, Behaviours, Choice, Encoder, Piece, Sampling,
    Windows,
};
use engine::data::Family;
use engine::data::Trie;
use proptest::prelude::*;

use super::sample::SPECIAL;

/// A vocabulary of bytes: what is encoded can be read back.
fn bytes() -> Encoder<'static> {
    Encoder::new(|piece| Ok(piece.bytes().map(u32::from).collect()))
}

fn tokens(text: &str) -> Vec<u32> {
    text.bytes().map(u32::from).collect()
}

fn is_mask(token: u32) -> bool {
    [SPECIAL.mask, SPECIAL.smask, SPECIAL.gmask].contains(&token)
}

fn read(prompt: &Prompt) -> String {
    let text: Vec<u8> =
        prompt.tokens.iter().map(|&t| if is_mask(t) { b'_' } else { t as u8 }).collect();
    String::from_utf8(text).unwrap()
}

fn entities(prompt: &Prompt) -> Vec<String> {
    let entity = |u: &engine::data::span::Unit| {
        String::from_utf8(prompt.tokens[u.range()].iter().map(|&t| t as u8).collect())
    };
    prompt.units.iter().filter(|u| u.entity).map(|u| entity(u).unwrap()).collect()
}

/// The prompt that asks for the item after `history`.
fn sequential_prompt(
    form: &Form,
    user: Option<&[u32]>,
    history: &[&[u32]],
    limit: usize,
) -> anyhow::Result<Prompt> {
    form.fill(&Fields { user, history, ..Fields::default() }, limit)
}

#[test]
fn attributes_are_pairs_in_schema_order_and_lists_are_joined() {
    let row = [
        ("age", "25"),
        ("city", " "),
        ("likes", "Board Games"),
        ("likes", "Puzzles, 3D"),
        ("city", "Paris"),
    ];
    let text = attributes_text(&bytes(), &row).unwrap();
    assert_eq!(read(&text), "age : 25 , likes : Board Games , Puzzles, 3D , city : Paris");
    assert_eq!(entities(&text), [" 25", " Board Games", " Puzzles, 3D", " Paris"]);
    assert!(text.units.iter().filter(|u| !u.entity).all(|u| u.len == 1));
    assert_eq!(attributes_text(&bytes(), &[]).unwrap(), Prompt::default());
}

#[test]
fn behaviours_follow_the_attributes_and_the_oldest_go_first() {
    let items = [tokens(" Gloom"), tokens(" Carcassonne, Basic"), tokens(" 7 Wonders")];
    let items: Vec<&[u32]> = items.iter().map(Vec::as_slice).collect();
    let whole =
        behaviour_text(&bytes(), &[("city", "Paris")], &items, &Choice::recent(), 1000).unwrap();
    let Behaviours { text: whole, begin, kept } = whole;
    assert!(whole.tokens[begin..].starts_with(items[0]) && kept == [0, 1, 2]);
    assert_eq!(read(&whole), "city : Paris , Gloom , Carcassonne, Basic , 7 Wonders");
    let limit = whole.tokens.len();
    assert_eq!(
        behaviour_text(&bytes(), &[("city", "Paris")], &items, &Choice::recent(), limit).unwrap(),
        Behaviours { text: whole, begin, kept }
    );
    let shorter =
        behaviour_text(&bytes(), &[("city", "Paris")], &items, &Choice::recent(), limit - 1)
            .unwrap();
    assert_eq!(shorter.kept, [1, 2]);
    let shorter = shorter.text;
    assert_eq!(
        (read(&shorter).as_str(), shorter.left_out.history),
        ("city : Paris , Carcassonne, Basic , 7 Wonders", 1)
    );
    assert_eq!(
        read(&behaviour_text(&bytes(), &[], &items[..1], &Choice::recent(), 100).unwrap().text),
        " Gloom"
    );
    for (attributes, items, limit) in
        [(&[][..], &[][..], 100), (&[("city", "Paris")][..], &items[..], 20)]
    {
        let error =
            behaviour_text(&bytes(), attributes, items, &Choice::recent(), limit).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
    }
}

#[test]
fn numbers_and_dates() {
    for (x, text) in [
        (25.0, "25"),
        (4.5, "4.5"),
        (0.1 + 0.2, "0.3"),
        (12.345678, "12.3457"),
        (0.00012345678, "0.0001235"),
        (0.001, "0.001"),
        (0.99999, "1"),
        (-0.0, "0"),
        (-2.50, "-2.5"),
        (1e21, "1000000000000000000000"),
        (100.0, "100"),
    ] {
        assert_eq!(decimal(x).as_deref(), Some(text), "{x:e}");
    }
    assert_eq!((decimal(f64::NAN), decimal(f64::INFINITY)), (None, None));
    for (seconds, text) in [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (951_782_400, "2000-02-29"),
        (1_393_632_000, "2014-03-01"),
        (4_107_542_399, "2100-02-28"),
        (4_107_542_400, "2100-03-01"),
    ] {
        assert_eq!(date(seconds), text);
    }
    date(i64::MIN);
    date(i64::MAX);
}

#[test]
fn only_display_names_are_names() {
    assert_eq!(display_name(&[("user_id", "A1"), ("Name", "Ann")]), Some("Ann"));
    assert_eq!(display_name(&[("user_id", "A1"), ("name", " ")]), None);
}

const DAY: i64 = 86_400;

/// Times of `long`, `medium` and `short` behaviours, oldest first, seen from time 0.
fn times(long: i64, medium: i64, short: i64) -> Vec<i64> {
    let of = |count: i64, age: i64| (0..count).map(move |i| -age * DAY - (count - i));
    of(long, 300).chain(of(medium, 50)).chain(of(short, 1)).collect()
}

/// How many long, medium and short ones were kept.
fn kept(times: &[i64], budget: usize) -> [usize; 3] {
    let kept = Windows::default().sample(times, 0, budget, &mut Philox::new(1, Stream::History, 0));
    assert!(kept.windows(2).all(|w| w[0] < w[1]));
    let age = |i: &usize| -times[*i] / DAY;
    let count =
        |range: std::ops::Range<i64>| kept.iter().filter(|i| range.contains(&age(i))).count();
    [count(180..1000), count(14..180), count(0..14)]
}

#[test]
fn histories_are_sampled_by_age() {
    assert_eq!(kept(&times(12, 5, 3), 10), [2, 5, 3]);
    assert_eq!(kept(&times(30, 30, 30), 10), [1, 3, 6]);
    assert_eq!(kept(&times(30, 30, 30), 7), [1, 2, 4]);
    assert_eq!(kept(&times(2, 2, 2), 7), [2, 2, 2]);
    assert_eq!(kept(&times(0, 0, 40), 10), [0, 0, 10]);
    // The borders: exactly 14 days is medium, exactly 180 long.
    let times = [vec![-180 * DAY; 5], vec![-14 * DAY; 5], vec![-14 * DAY + 1; 10]].concat();
    let windows = Windows { shares: [0, 50, 50], ..Windows::default() };
    let kept = windows.sample(&times, 0, 10, &mut Philox::new(1, Stream::History, 0));
    assert_eq!(kept, (0..10).collect::<Vec<_>>());
}

#[test]
fn histories_without_times_are_sampled_by_rank() {
    let mut rng = Philox::new(1, Stream::History, 0);
    let kept = Windows::default().sample(&[NO_TIME; 100], NO_TIME, 10, &mut rng);
    let within = |range: std::ops::Range<usize>| kept.iter().filter(|i| range.contains(i)).count();
    assert_eq!([within(0..50), within(50..80), within(80..100)], [1, 3, 6]);
    assert!(Windows { shares: [60, 30, 20], ..Windows::default() }.check().is_err());
    assert!(Windows { short_days: 200, ..Windows::default() }.check().is_err());
    Windows::default().check().unwrap();
}

proptest! {
    #[test]
    fn sampling_keeps_the_budget_whatever_the_times(
        mut times in prop::collection::vec(
            prop_oneof![-400 * DAY..10 * DAY, Just(NO_TIME), any::<i64>()], 0..60
        ),
        reference in any::<i64>(), budget in 0usize..70, seed in any::<u64>(),
    ) {
        times.sort();
        let mut random = Philox::new(seed, Stream::History, 0);
        let kept = Windows::default().sample(&times, reference, budget, &mut random);
        prop_assert_eq!(kept.len(), budget.min(times.len()));
        prop_assert!(kept.windows(2).all(|w| w[0] < w[1]));
        prop_assert!(kept.iter().all(|&i| i < times.len()));
    }
}

/// Which of behaviours of one token each, seen from time 0, are shown in room for `budget`.
fn chosen(sampling: Sampling, times: &[i64], budget: usize, most: usize) -> Vec<usize> {
    let one: &[u32] = &[7];
    let rng = Philox::new(1, Stream::History, 0);
    let choice = Choice { sampling, times, reference: 0, most, rng };
    // A separator of two tokens stands between them.
    choice.within(&vec![one; times.len()], 2, (3 * budget).saturating_sub(2))
}

#[test]
fn where_the_row_cuts_the_windows_decide_what_stays() {
    let windows = |times: &[i64], budget| {
        let kept = chosen(Sampling::Windows, times, budget, 0);
        let drawn = Windows::default();
        assert_eq!(kept, drawn.sample(times, 0, budget, &mut Philox::new(1, Stream::History, 0)));
        let age = |i: &usize| -times[*i] / DAY;
        [180..1000, 14..180, 0..14].map(|w| kept.iter().filter(|i| w.contains(&age(i))).count())
    };
    assert_eq!(windows(&times(12, 5, 3), 10), [2, 5, 3]);
    assert_eq!(windows(&times(30, 30, 30), 10), [1, 3, 6]);
    assert_eq!(windows(&times(30, 30, 30), 7), [1, 2, 4]);
    let times = times(30, 30, 30);
    assert_eq!(chosen(Sampling::Recent, &times, 10, 0), (80..90).collect::<Vec<_>>());
    let uniform = chosen(Sampling::Uniform, &times, 10, 0);
    assert!(uniform.len() == 10 && uniform.windows(2).all(|w| w[0] < w[1]), "{uniform:?}");
    assert!(uniform.iter().filter(|&&i| i < 60).count() > 3, "{uniform:?}");
    for sampling in Sampling::ALL {
        // The limit of what is shown is one more limit, and what fits is not drawn at all.
        let all = |budget, most| chosen(*sampling, &times, budget, most);
        assert_eq!(all(10, 7), all(7, 0), "{sampling}");
        assert_eq!(all(7, 10), all(7, 0), "{sampling}");
        assert_eq!(all(90, 0), (0..90).collect::<Vec<_>>(), "{sampling}");
        assert_eq!((all(0, 0), all(89, 0).len()), (vec![], 89), "{sampling}");
        assert_eq!(chosen(*sampling, &[], 5, 0), [0; 0], "{sampling}");
    }
}

#[test]
fn what_is_drawn_and_does_not_fit_leaves_the_newest() {
    let long = [5; 50];
    let behaviours: Vec<&[u32]> = [vec![&long[..]; 9], vec![&long[..2]]].concat();
    for sampling in Sampling::ALL {
        let rng = Philox::new(1, Stream::History, 0);
        let choice =
            Choice { sampling: *sampling, times: &[NO_TIME; 10], reference: NO_TIME, most: 0, rng };
        assert_eq!(choice.within(&behaviours, 1, 49), [9], "{sampling}");
        assert_eq!(choice.within(&behaviours, 1, 1), [0; 0], "{sampling}");
    }
}

#[test]
fn prompts_and_blanks_show_what_was_chosen() {
    let items: Vec<Vec<u32>> = (0..40).map(|i| tokens(&format!(" item{i:02}"))).collect();
    let items: Vec<&[u32]> = items.iter().map(Vec::as_slice).collect();
    let times = times(20, 10, 10);
    let rng = Philox::new(3, Stream::History, 9);
    let choice = Choice { sampling: Sampling::Windows, times: &times, reference: 0, most: 0, rng };
    let shown = |prompt: &Prompt| entities(prompt);
    let text = behaviour_text(&bytes(), &[], &items, &choice, 100).unwrap().text;
    let kept: Vec<String> =
        choice.within(&items, 2, 100).iter().map(|&i| format!(" item{i:02}")).collect();
    assert_eq!((shown(&text), text.left_out.history), (kept.clone(), 40 - kept.len() as u64));
    assert_ne!(kept, (40 - kept.len()..40).map(|i| format!(" item{i:02}")).collect::<Vec<_>>());
    let form = form("next");
    let fields = Fields { history: &items, choice: Some(&choice), ..Fields::default() };
    let prompt = form.fill(&fields, 150).unwrap();
    assert!(prompt.tokens.len() <= 150 && prompt.left_out.history > 0);
    assert_eq!(shown(&prompt).len() as u64, 40 - prompt.left_out.history);
    // What is more than was wanted is not missed.
    let few = Choice { most: 5, ..choice.clone() };
    let prompt = form.fill(&Fields { choice: Some(&few), ..fields }, 150).unwrap();
    assert_eq!((shown(&prompt).len(), prompt.left_out.history), (5, 0));
    // Where all fit, who chooses makes no difference.
    let whole = form.fill(&fields, 1000).unwrap();
    assert_eq!(whole, form.fill(&Fields { choice: None, ..fields }, 1000).unwrap());
}

fn form(id: &str) -> Form {
    Templates::builtin().get(id).unwrap().encode(&bytes(), SPECIAL).unwrap()
}

/// The table of E1 in evaluation.md: id, family, fields but those that say who is asked, answer.
const PAPER: &str = "
1-1 rating item stars\n1-2 rating item stars\n1-3 rating item,n yes_no\n1-4 rating item like
1-5 rating item stars\n1-6 rating item stars\n1-7 rating item stars\n1-8 rating item,n yes_no
1-9 rating item like\n1-10 rating item stars
2-1 sequential history item\n2-2 sequential history item\n2-3 sequential history item
2-4 sequential history item\n2-5 sequential history item\n2-6 sequential history item
2-7 sequential history,candidates item\n2-8 sequential history,candidates item
2-9 sequential history,candidates item\n2-10 sequential history,candidates item
2-11 sequential history,item yes_no\n2-12 sequential history,item yes_no
2-13 sequential history item
3-1 explanation item text\n3-2 explanation item,headline text\n3-3 explanation item,stars text
3-4 explanation item text\n3-5 explanation item,headline text\n3-6 explanation item,stars text
3-7 explanation item,feature stars_text\n3-8 explanation item stars_text
3-9 explanation item,feature text\n3-10 explanation item,feature text
3-11 explanation item,stars,feature text\n3-12 explanation item,stars,feature text
4-1 review review text\n4-2 review review stars\n4-3 review review text\n4-4 review review stars
5-1 direct item yes_no\n5-2 direct item yes_no\n5-3 direct item yes_no\n5-4 direct item yes_no
5-5 direct candidates item\n5-6 direct candidates item\n5-7 direct candidates item
5-8 direct candidates item";

#[test]
fn the_papers_47_templates_ask_what_its_table_says() {
    let templates = Templates::builtin();
    let held_out = ["1-10", "2-13", "3-12", "4-4", "5-8"];
    let rows: Vec<&str> = PAPER.lines().filter(|row| !row.is_empty()).collect();
    assert_eq!(rows.len(), 47);
    for row in rows {
        let [id, family, fields, answer] = row.split(' ').collect::<Vec<_>>()[..] else { panic!() };
        let template = templates.get(id).unwrap();
        assert_eq!(template.family, family.parse().unwrap(), "{id}");
        assert_eq!(template.seen, !held_out.contains(&id), "{id}");
        assert!(!template.by_name, "{id}");
        let answered = format!("{:?}", template.answer);
        assert_eq!(answered.to_lowercase(), answer.replace('_', ""), "{id}");
        // Who is asked stands in every one of them; beside that exactly the table's fields do.
        let mut expected: Vec<&str> = fields.split(',').chain(["user", "profile"]).collect();
        let mut shown: Vec<String> = Vec::new();
        for part in &template.parts {
            if let Part::Field(field) = part {
                let name = format!("{field:?}").to_lowercase();
                shown.push(if name == "count" { "n".to_owned() } else { name });
            }
        }
        expected.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, expected, "{id}");
        // R35: prose behind [gMASK], all else behind [MASK].
        let prose = matches!(template.answer, Answer::Text | Answer::StarsText);
        let level = if prose { Level::Document } else { Level::Entity };
        assert!(template.parts.contains(&Part::Mask(level)), "{id}");
        template.encode(&bytes(), SPECIAL).unwrap();
    }
    let counts = Family::ALL.iter().map(|&family| templates.of(family).count());
    assert_eq!(counts.sum::<usize>(), 47);
    for &family in Family::ALL {
        let unseen: Vec<&str> =
            templates.of(family).filter(|t| !t.seen).map(|t| t.id.as_str()).collect();
        assert_eq!(unseen.len(), 1, "{family}: {unseen:?}");
        assert!(templates.training(family).all(|t| t.seen));
    }
    let error = templates.get("2-14").unwrap_err();
    assert!(error.to_string().contains("2-14: expected one of 2-3, 2-1"), "{error}");
}

#[test]
fn a_template_that_no_row_can_be_made_of_is_refused_with_its_line() {
    for (text, family, answer, words) in [
        ("{history} [MASK]", "sequentail", "item", "expected sequential, direct, rating"),
        ("{history} [MASK]", "sequential", "stars", "expected one of item, yes_no of family"),
        ("{user} [MASK]", "sequential", "item", "expected {history} where item is asked"),
        ("{item} [MASK]", "rating", "yes_no", "expected {n} where yes_no is asked"),
        ("{item} {stars} [MASK]", "rating", "stars", "got {stars}"),
        ("{item} {stars} [MASK]", "explanation", "stars_text", "got {stars}"),
        ("{review} {headline} [MASK]", "review", "text", "got {headline}"),
        ("{item} {candidates} [MASK]", "direct", "yes_no", "got {candidates}"),
        ("{item} {review} [MASK]", "explanation", "text", "got {review}"),
        ("{item} no mask", "rating", "stars", "expected exactly one of [MASK]"),
        ("{item} {titel} [MASK]", "rating", "stars", "got {titel}"),
        ("{history} [MASK]", "sequential", "item\"\ncontinues = true #\"", "expected no {history}"),
        ("[MASK]", "direct", "item\"\ncontinues = true #\"", "got item of direct"),
    ] {
        let file = format!(
            "# mine\n[[template]]\nid = \"x\"\nfamily = {family:?}\nanswer = \"{answer}\"\n\
            text = {text:?}"
        );
        let error = Templates::parse(&file, "mine.toml").unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Usage));
        let said = error.to_string();
        assert!(said.starts_with("templates: mine.toml:2: ") && said.contains(words), "{said}");
    }
    let all = "[[template]]\nid = \"all\"\nfamily = \"rating\"\nanswer = \"stars\"\n\
               text = \"{item} [MASK]\"";
    assert!(Templates::parse(all, "mine.toml").is_err());
}

/// A template in words is the template: what differs reads differently, blanks that mean nothing
/// are gone.
#[test]
fn a_template_in_words_is_read_back_as_itself() {
    for template in Templates::builtin().iter() {
        let words = template.to_string();
        let (_, text) = words.split_once("): ").unwrap();
        let (id, family) = (&template.id, template.family.name());
        let answer = match template.answer {
            Answer::Item => "item",
            Answer::YesNo => "yes_no",
            Answer::Stars => "stars",
            Answer::Like => "like",
            Answer::Text => "text",
            Answer::StarsText => "stars_text",
        };
        let file = format!(
            "[[template]]\nid = {id:?}\nfamily = {family:?}\nanswer = {answer:?}\n\
            continues = {}\ntext = {text:?}",
            template.continues
        );
        let again = Templates::parse(&file, "again.toml").unwrap();
        assert_eq!(again.get(id).unwrap().parts, template.parts, "{words}");
    }
}

/// Somebody without attributes reads what templates said before they had a profile, token by token.
#[test]
fn a_profile_is_shown_where_there_is_one_and_leaves_nothing_where_there_is_none() {
    let items = [tokens(" Gloom"), tokens(" 7 Wonders")];
    let items: Vec<&[u32]> = items.iter().map(Vec::as_slice).collect();
    let text = |words: &str| {
        let mut text = Prompt::default();
        text.push(Piece::plain(&tokens(words)));
        text
    };
    let [headline, feature, review] = [" Fine", " size", " It is fine."].map(text);
    let [stars, count] = [" 4", " 3"].map(tokens);
    let fields = Fields {
        history: &items,
        candidates: Candidates::Listed { texts: &items, kept: None },
        item: Some(items[1]),
        stars: Some(&stars),
        count: Some(&count),
        headline: Some(&headline),
        feature: Some(&feature),
        review: Some(&review),
        ..Fields::default()
    };
    let mut shown = 0;
    for template in Templates::builtin().iter() {
        let fill = |template: &Template, fields: &Fields| {
            template.encode(&bytes(), SPECIAL).unwrap().fill(fields, 1000).unwrap()
        };
        let mut without = template.clone();
        without.parts.retain(|part| *part != Part::Field(Field::Profile));
        assert_eq!(fill(template, &fields), fill(&without, &fields), "{template}");
        let profile = attributes_text(&bytes(), &[("age", "33"), ("city", "Kyiv")]).unwrap();
        let prompt = fill(template, &Fields { profile: Some(&profile), ..fields });
        shown += usize::from(read(&prompt).contains("age : 33 , city : Kyiv"));
    }
    assert_eq!(shown, 49, "all that name a user");
}

#[test]
fn prompts_are_read_as_they_were_worded() {
    let items = [tokens(" Gloom"), tokens(" 7 Wonders")];
    let items: Vec<&[u32]> = items.iter().map(Vec::as_slice).collect();
    let prompt = sequential_prompt(&form("next"), None, &items, 100).unwrap();
    assert_eq!(read(&prompt), " Gloom , 7 Wonders ,_");
    assert_eq!(
        (entities(&prompt), prompt.left_out.history),
        (vec![" Gloom".to_owned(), " 7 Wonders".to_owned()], 0)
    );
    assert_eq!(prompt.masks, [prompt.tokens.len() - 1]);

    let ann = tokens(" Ann");
    let named = sequential_prompt(&form("2-3"), Some(&ann), &items, 1000).unwrap();
    assert_eq!(
        read(&named),
        "Up to now Ann chose Gloom , 7 Wonders . Which product comes after these?_"
    );
    assert_eq!(entities(&named), [" Ann", " Gloom", " 7 Wonders"]);
    let unnamed = sequential_prompt(&form("2-3"), None, &items, 1000).unwrap();
    assert_eq!(
        read(&unnamed),
        "Up to now the customer chose Gloom , 7 Wonders . Which product comes after these?_"
    );
    assert_eq!(entities(&unnamed), [" Gloom", " 7 Wonders"]);

    let fields = Fields {
        history: &items[..1],
        candidates: Candidates::Listed { texts: &items, kept: None },
        item: Some(items[1]),
        ..Fields::default()
    };
    let choice = form("2-10").fill(&fields, 1000).unwrap();
    assert_eq!(
        read(&choice),
        "After Gloom what would the customer take, if the choice lay between Gloom , 7 Wonders ?_"
    );
    assert!(read(&form("2-11").fill(&fields, 1000).unwrap()).contains("Is 7 Wonders the order"));
}

#[test]
fn what_is_shortened_is_counted_and_what_must_stay_stays() {
    let texts: Vec<Vec<u32>> = (0..20).map(|i| tokens(&format!(" item {i}"))).collect();
    let items: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
    let listed = |kept| Fields {
        history: &items[..2],
        candidates: Candidates::Listed { texts: &items, kept },
        ..Fields::default()
    };
    let whole = form("2-7").fill(&listed(Some(17)), 1000).unwrap();
    assert_eq!(whole.left_out.candidates, 0);
    for limit in (100..whole.tokens.len()).rev() {
        for kept in [0, 3, 17, 19] {
            let Ok(prompt) = form("2-7").fill(&listed(Some(kept)), limit) else { continue };
            let text = read(&prompt);
            assert!(prompt.tokens.len() <= limit);
            let (_, list) = text.split_once("One of these follows: ").unwrap();
            let shown: Vec<&str> =
                list.split(" .").next().unwrap().split(" , ").map(str::trim).collect();
            assert!(shown.contains(&&*format!("item {kept}")), "{limit}: {text}");
            assert_eq!(shown.len() as u64 + prompt.left_out.candidates, 20, "{text}");
            // Its place among those that are shown is as far on as among all: it tells nothing.
            let place = shown.iter().position(|&title| title == format!("item {kept}")).unwrap();
            assert_eq!(place, kept * shown.len() / 20, "{text}");
            let dropped = prompt.left_out.history as usize;
            assert!(text.contains(" item 1 .") && dropped < 2);
            // Nothing goes while all fits.
            assert!(prompt.left_out.candidates + prompt.left_out.history > 0);
        }
    }
    let unlisted = Fields { candidates: Candidates::Unlisted, ..listed(None) };
    let prompt = form("2-7").fill(&unlisted, 1000).unwrap();
    assert!(read(&prompt).ends_with("One of these follows: the catalogue . It is_"));

    let mut review = Prompt::default();
    review.push(Piece::plain(&tokens(" I like ")));
    review.push(Piece::entity(&tokens(" Gloom")));
    review.push(Piece::plain(&tokens(" a lot")));
    let fields = Fields { review: Some(&review), ..Fields::default() };
    let whole = form("4-2").fill(&fields, 1000).unwrap();
    assert!(read(&whole).contains(" wrote: I like  Gloom a lot ."));
    for less in 1..review.tokens.len() {
        let short = form("4-2").fill(&fields, whole.tokens.len() - less).unwrap();
        assert_eq!(
            (short.tokens.len(), short.left_out.review),
            (whole.tokens.len() - less, less as u64)
        );
        assert!(read(&short).ends_with(" . The stars that go with it:_"));
        // Half an entity is none.
        assert_eq!(entities(&short).is_empty(), less > 6, "{less}");
    }
    assert!(form("4-2").fill(&fields, whole.tokens.len() - review.tokens.len()).is_err());
    for id in ["1-6", "1-3", "3-3", "3-2", "3-9", "4-1", "2-7"] {
        let error = form(id).fill(&Fields::default(), 1000).unwrap_err();
        assert!(error.to_string().contains("expected a value, got none"), "{error}");
    }
}

#[test]
fn the_question_stays_when_the_history_is_too_long() {
    let items: Vec<Vec<u32>> = (0..200).map(|i| tokens(&format!(" item {i}"))).collect();
    let items: Vec<&[u32]> = items.iter().map(Vec::as_slice).collect();
    let form = form("2-13");
    let builder = SampleBuilder::new(
        SPECIAL,
        Intra::new(Trie::build::<Vec<u32>>(&[], &[]), IntraMode::default()),
        SampleOptions::default(),
    );
    let answer = [1; 60];
    let limit = builder.longest_prompt(answer.len());
    let prompt = sequential_prompt(&form, None, &items, limit).unwrap();
    let text = read(&prompt);
    assert!(text.starts_with("In this order the customer acquired item "));
    assert!(
        text.ends_with(" item 198 , item 199 . A good guess for what is bought now would be_"),
        "{text}"
    );
    let left_out = prompt.left_out.history as usize;
    assert_eq!(left_out, 200 - text.matches(" item ").count());
    // One more would not have fitted, and the row with the longest answer is exactly within the
    // limit.
    assert!(prompt.tokens.len() <= limit && prompt.tokens.len() + " item 100 ,".len() > limit);
    assert!(builder.answered(0, &prompt, &[&answer]).unwrap().rows() <= 1024);

    let long = vec![7; 1000];
    for (history, words) in
        [(&[&long[..]][..], "1000 of the newest"), (&[][..], "history: expected a value, got none")]
    {
        let error = sequential_prompt(&form, None, history, limit).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn template_files_are_refused_with_their_line() {
    let head = "[[template]]\nid = \"a\"\nfamily = \"sequential\"\nanswer = \"item\"\n";
    let text = |text: &str| format!("{head}text = \"{text}\"\n");
    for (file, words) in [
        (text("{histroy} , [MASK]"), "expected one of {user}, {profile}, {history}, "),
        (text("{history} ,"), "exactly one of [MASK], [sMASK], [gMASK], got 0"),
        (text("[MASK] {history} , [gMASK]"), "got 2"),
        (text("{history [MASK]"), "expected `}`"),
        (text("history} [MASK]"), "expected `{`"),
        (text("({history}) [MASK]"), "expected a blank before {history}"),
        (text("{history} {history} [MASK]"), "at most once"),
        (
            text("{history} [MASK]") + &text("{history} [MASK]"),
            "mine.toml:6: a: expected distinct ids",
        ),
        (text("[MASK]") + "colour = 3", "mine.toml:6: expected a list of templates"),
        (head.into(), "missing field `text`"),
        ("[[template]\n".into(), "mine.toml:1:"),
    ] {
        let error = Templates::parse(&file, "mine.toml").unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Usage));
        let error = error.to_string();
        assert!(
            error.contains(words) && error.starts_with("templates: mine.toml:"),
            "{error} (expected: {words})"
        );
        assert!(!error.contains('\n'));
    }
    let mut templates = Templates::builtin();
    templates.extend(Templates::parse(&text("{history} [gMASK]"), "mine.toml").unwrap()).unwrap();
    assert!(templates.get("a").is_ok());
    assert!(templates.extend(Templates::builtin()).is_err());
    assert!(Templates::load("no/such.toml".as_ref())
        .unwrap_err()
        .to_string()
        .contains("no/such.toml"));
}

/// Histories of distinct items, the last of them the target.
fn histories() -> impl Strategy<Value = Vec<u32>> {
    prop::sample::subsequence((0u32..30).collect::<Vec<_>>(), 2..12).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// E25: no field of a prompt holds the target; R3: every item of it is found in the trie, and
    /// what is rendered is what was meant.
    #[test]
    fn a_prompt_never_holds_its_target(
        events in histories(), template in 0usize..8, limit in 120usize..400,
    ) {
        let surfaces: Vec<Vec<u32>> =
            (0..30).map(|i| tokens(&format!(" toy {i:02} set"))).collect();
        let pool = Trie::build(&surfaces, &(0..30).collect::<Vec<_>>());
        let (target, history) = events.split_last().unwrap();
        let history: Vec<&[u32]> = history.iter().map(|&i| &surfaces[i as usize][..]).collect();
        let id = ["next", "2-1", "2-2", "2-3", "2-4", "2-5", "2-6", "2-13"][template];
        let prompt = sequential_prompt(&form(id), None, &history, limit).unwrap();
        prop_assert!(prompt.tokens.len() <= limit);
        let entities = prompt.units.iter().filter(|u| u.entity);
        let items: Vec<&[u32]> = entities.map(|u| &prompt.tokens[u.range()]).collect();
        prop_assert_eq!(&items, &history[prompt.left_out.history as usize..]);
        let target = &surfaces[*target as usize][..];
        prop_assert!(!prompt.tokens.windows(target.len()).any(|window| window == target));
        prop_assert!(items.iter().all(|item| pool.is_terminal(pool.find(item).unwrap())));
        // Free segmentation finds the very units that the renderer knew (R5).
        prop_assert_eq!(segment(Some(&pool), &prompt.tokens, &[]), prompt.units);
    }
}
