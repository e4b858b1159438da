//! `engine decode` on prompts: the real binary as a filter and over files, held against the
//! library.

use crate::shop::{self, Shop};
use engine::base::{text::visible_json, Dtype};
use engine::data::free::free_text;
use engine::data::names::Name;
use engine::data::sample::SampleOptions;
use engine::data::{Dataset, Intra, IntraMode, Names, SampleBuilder};
use engine::decode::{greedy, Blanks, Limits};
use engine::device::Device;
use engine::model::{Checkpoint, Config, Model, Tune};
use proptest::prelude::*;
use serde_json::{json, Value};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::sync::OnceLock;
use std::time::Duration;

/// Longer than any answer takes, shorter than a hanging test is borne.
const PATIENCE: Duration = Duration::from_secs(120);

const CONFIG: &str = r#"{"model_type": "glm", "num_layers": 2, "hidden_size": 32,
    "num_attention_heads": 2, "vocab_size": 384, "max_sequence_length": 256}"#;

const PROFILE: &str = "[[template]]\nid = \"who\"\nfamily = \"sequential\"\nanswer = \
    \"item\"\ntext = \"{profile} . {history} , [MASK]\"\n";

/// Prompts of every kind, bad ones among them.
const PROMPTS: [&str; 11] = [
    r#"{"id": 1, "history": [9, "Lego City"]}"#,
    r#"no prompt"#,
    r#"{"id": "unknown", "history": ["Lego City", "Lego Village"]}"#,
    concat!(
        r#"{"id": "choice", "task": "sequential", "history": ["x2"], "#,
        r#""candidates": ["Lego  City", 11, "x5", "red fire truck", 10]}"#
    ),
    r#"{"id": "text", "task": "explanation", "text": "Lego City is liked because [gMASK]"}"#,
    r#"{"id": "texts", "text": "A [MASK] and [CLS] a Lego City [sMASK] . [MASK]"}"#,
    r#"{"id": "typo", "histroy": []}"#,
    r#""#,
    concat!(
        r#"{"id": 2.5, "history": ["Ｌｅｇｏ\u00a0City Police Boat", "x1"], "#,
        r#""profile": {"age": 33, "name": "Ann"}}"#
    ),
    r#"{"id": "ranked text", "text": "Children want a [MASK]", "candidates": ["x1", "x2"]}"#,
    r#"{"id": "neither", "task": "sequential"}"#,
];

/// All but the blank one.
const ANSWERED: usize = PROMPTS.len() - 1;

/// The shop with a random model in `w`, made once.
fn shop() -> &'static Shop {
    static SHOP: OnceLock<Shop> = OnceLock::new();
    SHOP.get_or_init(|| {
        let shop = Shop::new();
        shop.prepare().unwrap();
        shop.put("config.json", CONFIG);
        shop.put("who.toml", PROFILE);
        shop.put("prompts.jsonl", PROMPTS.join("\n"));
        done(&shop, "init --model config.json --tokenizer tokenizer.json --out w");
        shop
    })
}

fn engine(shop: &Shop, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_engine"));
    command.current_dir(shop.folder.path()).args(["--device", "cpu", "--threads", "2", "--quiet"]);
    command.args(words.split(' '));
    command
}

/// Runs to the end; returns standard output.
#[track_caller]
fn done(shop: &Shop, words: &str) -> String {
    let output = engine(shop, words).output().unwrap();
    assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(shop: &Shop, words: &str, code: i32, expected: &[&str]) {
    let output = engine(shop, words).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words}: {error}");
    assert_eq!(error.trim_end().lines().count(), 1, "{error}");
    expected
        .iter()
        .for_each(|word| assert!(error.contains(word), "{words}: expected {word:?} in {error}"));
}

const DECODE: &str = "decode --weights w --data shop.bin --max-new-tokens 8";

/// Lines as JSON, without what differs from run to run.
fn lines(text: &str) -> Vec<Value> {
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    };
    text.lines().map(line).collect()
}

fn file(shop: &Shop, name: &str) -> Vec<Value> {
    lines(&fs::read_to_string(shop.path(name)).unwrap())
}

fn column(line: &Value, key: &str) -> Vec<Value> {
    line["items"].as_array().unwrap().iter().map(|item| item[key].clone()).collect()
}

/// `engine decode --prompts -` at work.
struct Filter {
    child: Child,
    input: Option<ChildStdin>,
    answers: Receiver<Value>,
}

impl Filter {
    fn start(words: &str) -> Filter {
        let mut child = engine(shop(), &format!("{DECODE} --prompts - {words}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let _ = sender.send(lines(&line.unwrap()).remove(0));
            }
        });
        let input = child.stdin.take();
        Filter { child, input, answers }
    }

    fn send(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.flush().unwrap();
    }

    #[track_caller]
    fn answer(&self) -> Value {
        self.answers.recv_timeout(PATIENCE).expect("an answer in time")
    }

    /// The remaining answers and the exit code.
    fn end(mut self) -> (Vec<Value>, Option<i32>) {
        let rest = self.answers.iter().collect();
        (rest, self.child.wait().unwrap().code())
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn answers_come_before_the_input_ends_and_bad_lines_end_nothing() {
    let mut filter = Filter::start("--max-wait 1");
    for prompt in PROMPTS {
        filter.send(prompt);
        filter.send("\n");
        if prompt.is_empty() {
            continue;
        }
        let sent: Value = serde_json::from_str(prompt).unwrap_or(Value::Null);
        let answer = filter.answer();
        assert_eq!(answer["id"], sent["id"], "{prompt}");
        let error = answer["error"].as_str();
        match sent["id"].as_str() {
            Some("unknown") => assert_eq!((&answer["unknown"], error), (&json!(1), None)),
            Some("typo") => assert!(error.unwrap().contains("histroy"), "{answer}"),
            Some("neither") => assert!(error.unwrap().contains("history or a text"), "{answer}"),
            _ => assert_eq!(error.is_some(), sent.is_null(), "{answer}"),
        }
    }
    // Many at once: the order stays, and the last one needs no line end.
    let many: Vec<String> =
        (0..40).map(|i| format!("{{\"id\": {i}, \"history\": [{}]}}", 9 + i % 6)).collect();
    filter.send(&many.join("\n"));
    filter.input = None;
    let (rest, code) = filter.end();
    assert_eq!(
        rest.iter().map(|line| line["id"].clone()).collect::<Vec<_>>(),
        (0..40).collect::<Vec<_>>()
    );
    // Item 14 is not there: its lines have no history.
    let popular = |line: &Value| line["from"] == "popularity" && line["unknown"] == 1;
    assert!(rest.iter().enumerate().all(|(i, line)| popular(line) == (i % 6 == 5)), "{rest:?}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_signal_lets_what_was_read_be_answered() {
    let mut filter = Filter::start("--batch 1");
    let prompts: Vec<String> =
        (0..5).map(|i| format!("{{\"id\": {i}, \"history\": [10, 11]}}\n")).collect();
    // One write of less than a page is one read.
    filter.send(&prompts.concat());
    assert_eq!(filter.answer()["id"], 0);
    let killed =
        Command::new("kill").args(["-TERM", &filter.child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // The input stays open.
    let input = filter.input.take();
    let (rest, code) = filter.end();
    drop(input);
    assert_eq!(rest.iter().map(|line| line["id"].clone()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!(code, Some(143));
}

#[test]
fn a_group_is_its_members_alone_and_a_file_is_a_stream() {
    let shop = shop();
    let alone = lines(&done(shop, &format!("{DECODE} --prompts prompts.jsonl --batch 1")));
    assert_eq!(alone.len(), ANSWERED);
    for batch in [3, 64] {
        let together =
            lines(&done(shop, &format!("{DECODE} --prompts prompts.jsonl --batch {batch}")));
        assert_eq!(together, alone, "bit for bit");
    }
    let mut filter = Filter::start("--batch 5 --max-wait 200");
    filter.send(&PROMPTS.join("\n"));
    filter.input = None;
    assert_eq!(filter.end(), (alone, Some(0)));
}

#[test]
fn a_prompt_is_answered_as_the_user_whose_history_it_is() {
    let shop = shop();
    let who = "--templates who.toml --template who --trace";
    // bob has no attributes: only alice has a profile to show, so only her prompt can be asked.
    let prompt = json!({"id": "alice", "history": ["9", "Gloom (Atlas) #2", 10],
        "profile": {"age": 33, "city": " Kyiv"}});
    shop.put("alice.jsonl", prompt.to_string());
    let mut sequences = String::from("user_id\titem_id\trating\tunix_time\n");
    sequences.extend(
        shop::INTERACTIONS.lines().filter(|l| l.starts_with("alice")).map(|l| format!("{l}\n")),
    );
    let alone = Shop::empty();
    for (name, text) in [
        ("items.jsonl", shop::ITEMS),
        ("interactions.tsv", &sequences),
        ("users.jsonl", shop::USERS),
    ] {
        alone.put(name, text);
    }
    let words = "prepare . --tokenizer tokenizer.json --out alice.bin";
    fs::copy(shop.path("tokenizer.json"), alone.path("tokenizer.json")).unwrap();
    done(&alone, words);
    fs::copy(alone.path("alice.bin"), shop.path("alice.bin")).unwrap();
    let decode = "decode --weights w --data alice.bin --beams 4";
    let user = lines(&done(shop, &format!("{decode} {who} user.trace")));
    let asked = lines(&done(shop, &format!("{decode} --prompts alice.jsonl {who} asked.trace")));
    assert_eq!(user[0]["items"], asked[0]["items"]);
    let (user, asked) = (file(shop, "user.trace"), file(shop, "asked.trace"));
    assert_eq!(user, asked, "the same rows, the same numbers");
    let data = Dataset::open(&shop.path("alice.bin")).unwrap();
    let tokens: Vec<u32> = serde_json::from_value(asked[0]["prompt"]["input_ids"].clone()).unwrap();
    let text = data.vocab().decode(&tokens).unwrap();
    assert!(
        text.contains("age : 33 , city : Kyiv . Gloom (Atlas) , Gloom (Atlas) #2 , Lego City"),
        "{text}"
    );
}

#[test]
fn candidates_are_ranked_as_the_whole_catalogue_is() {
    let shop = shop();
    let scored = lines(&done(
        shop,
        &format!("{DECODE} --prompts prompts.jsonl --mode score-all --top 100 --trace all.trace"),
    ));
    let beamed =
        lines(&done(shop, &format!("{DECODE} --prompts prompts.jsonl --beams 1000 --top 100")));
    assert_eq!(scored, beamed, "a wide beam finds what scoring all finds, bit for bit");
    let wanted = ["10", "11", "x5", "x1"];
    let choice = &beamed[3];
    assert_eq!(choice["items"].as_array().unwrap().len(), wanted.len(), "every candidate once");

    // The same history over the whole catalogue, of which the candidates are kept.
    shop.put("x2.jsonl", "{\"id\": 1, \"history\": [\"x2\"]}\n");
    let whole =
        lines(&done(shop, &format!("{DECODE} --prompts x2.jsonl --mode score-all --top 100")));
    let items = whole[0]["items"].as_array().unwrap();
    assert_eq!(items.len(), 10, "all of the catalogue");
    let is_wanted = |item: &&Value| wanted.contains(&item["item"].to_string().trim_matches('"'));
    let kept: Vec<&Value> = items.iter().filter(is_wanted).collect();
    assert_eq!(choice["items"].as_array().unwrap().iter().collect::<Vec<_>>(), kept);
    let scores: Vec<f64> = kept.iter().map(|item| item["score"].as_f64().unwrap()).collect();
    assert!(scores.windows(2).all(|pair| pair[0] > pair[1]), "{scores:?}");

    // The trace recomputes the scores.
    for (line, traced) in scored.iter().zip(file(shop, "all.trace")) {
        let Some(items) = line["items"].as_array() else { continue };
        for (item, traced) in items.iter().zip(traced["items"].as_array().unwrap()) {
            let log_probs: Vec<f64> = serde_json::from_value(traced["log_probs"].clone()).unwrap();
            let score = log_probs.iter().sum::<f64>() / log_probs.len() as f64;
            assert!((score - item["score"].as_f64().unwrap()).abs() < 1e-5);
            assert_eq!(traced["tokens"].as_array().unwrap().len(), log_probs.len());
        }
    }
    assert_eq!(column(&beamed[8], "item").len(), 2, "a text is ranked among its candidates");
}

#[test]
fn free_prompts_are_the_librarys_greedy_answers() {
    let shop = shop();
    let data = Dataset::open(&shop.path("shop.bin")).unwrap();
    let config = Config::read(&shop.path("w/config.json")).unwrap();
    let device = Device::open("cpu", 2).unwrap();
    let checkpoint = Checkpoint::open(&shop.path("w")).unwrap();
    let model = Model::load(&device, config, checkpoint, Dtype::F32, &Tune::Nothing, 0).unwrap();
    let special = data.vocab().special();
    let options = SampleOptions { max_row: 256, last_position: 256, ..SampleOptions::default() };
    let rows = SampleBuilder::new(special, Intra::new(data.pool(), IntraMode::default()), options);
    let specials = data.vocab().specials();
    let limits = Limits {
        intra: rows.intra(),
        start: special.start,
        end: special.end,
        specials: &specials,
        tokens: 8,
    };
    let answers =
        lines(&done(shop, &format!("{DECODE} --prompts prompts.jsonl --trace text.trace")));
    let traces = file(shop, "text.trace");
    for at in [4, 5] {
        let text = serde_json::from_str::<Value>(PROMPTS[at]).unwrap()["text"]
            .as_str()
            .unwrap()
            .to_owned();
        let prompt = free_text(data.vocab(), Some(&data.pool()), &text).unwrap();
        let (part_a, masks) = rows.part_a(0, &prompt).unwrap();
        let expected = greedy(&model, &[&Blanks { part_a, masks }], limits).unwrap().remove(0);
        let texts: Vec<String> = expected
            .iter()
            .map(|a| data.vocab().decode(&a.tokens).unwrap().trim().to_owned())
            .collect();
        assert_eq!(answers[at]["text"], texts.join("\n"));
        for (traced, expected) in traces[at]["answers"].as_array().unwrap().iter().zip(&expected) {
            assert_eq!(traced["tokens"], json!(expected.tokens));
            assert_eq!(traced["positions"][1], json!(expected.ids));
        }
        if at == 5 {
            assert_eq!(answers[at]["texts"], json!(texts));
            let tokens: Vec<u32> =
                serde_json::from_value(traces[at]["prompt"]["input_ids"].clone()).unwrap();
            let of = |id: u32| tokens.iter().filter(|&&token| token == id).count();
            assert_eq!((of(special.mask), of(special.smask)), (2, 1), "names of masks are masks");
            assert_eq!(of(special.cls), 1, "the name of another special token is text");
            let ids: Vec<u32> =
                serde_json::from_value(traces[at]["prompt"]["positions"][1].clone()).unwrap();
            assert!(
                ids[..tokens.len() - 1].iter().any(|&id| id > 1),
                "an entity in the text is recognised"
            );
        }
    }
    // One mask may be held to the catalogue.
    let held =
        lines(&done(shop, &format!("{DECODE} --prompts prompts.jsonl --constrain trie --beams 4")));
    assert_eq!(held[4]["items"].as_array().unwrap().len(), 4);
    assert_eq!(held[5], answers[5], "several masks are free");
}

#[test]
fn a_run_cut_off_anywhere_goes_on_without_loss() {
    let own = Shop::empty();
    let command = |extra: &str| {
        let folder = own.folder.path().display().to_string();
        format!(
            "{DECODE} --prompts prompts.jsonl --batch 2 --out {folder}/p.jsonl --trace \
            {folder}/t.jsonl {extra}"
        )
    };
    let whole_command = command("").trim_end().to_owned();
    done(shop(), &whole_command);
    let (answers, traces) = (file(&own, "p.jsonl"), file(&own, "t.jsonl"));
    assert_eq!(answers.len(), ANSWERED);
    let settings = fs::read_to_string(own.path("p.jsonl.settings.json")).unwrap();
    let settings: Value = serde_json::from_str(settings.lines().next().unwrap()).unwrap();
    assert_eq!(settings["decode"]["weights"], "w");
    assert!(
        settings["prompts_hash"].is_string() && settings["data_hash"].is_number(),
        "{settings}"
    );
    let [out, trace] = ["p.jsonl", "t.jsonl"].map(|name| fs::read(own.path(name)).unwrap());
    for (left, traced) in
        [(0, 0), (1, 40), (out.len() / 3, trace.len()), (out.len() - 1, trace.len() / 2)]
    {
        fs::write(own.path("p.jsonl"), &out[..left]).unwrap();
        fs::write(own.path("t.jsonl"), &trace[..traced]).unwrap();
        done(shop(), &command("--resume"));
        assert_eq!(file(&own, "p.jsonl"), answers, "cut at {left}");
        assert_eq!(file(&own, "t.jsonl"), traces, "trace cut at {traced}");
    }
    refused(shop(), &command("--resume --top 3"), 2, &["settings.json", "top was 10 and is 3"]);
    fs::write(own.path("p.jsonl"), "{\"id\": 9}\n").unwrap();
    refused(shop(), &command("--resume"), 3, &["p.jsonl:1", "answer to 1"]);
    fs::remove_file(own.path("p.jsonl.settings.json")).unwrap();
    refused(shop(), &command("--resume"), 2, &["settings.json", "got none"]);
}

#[test]
fn items_of_the_history_are_left_out() {
    let shop = shop();
    let decode = format!("{DECODE} --split test --top 100 --beams 1000");
    let all = lines(&done(shop, &decode));
    let filtered = lines(&done(shop, &format!("{decode} --filter-history")));
    let narrow = lines(&done(shop, &format!("{DECODE} --split test --beams 4 --filter-history")));
    let data = Dataset::open(&shop.path("shop.bin")).unwrap();
    for ((all, filtered), narrow) in all.iter().zip(&filtered).zip(&narrow) {
        let user = data.user(data.find_user(all["id"].as_str().unwrap()).unwrap());
        let (_, history) = user.items.split_last().unwrap();
        let item = |item: &Value| data.find_item(item.to_string().trim_matches('"')).unwrap();
        let kept: Vec<Value> =
            column(all, "item").into_iter().filter(|i| !history.contains(&item(i))).collect();
        assert!(kept.len() < column(all, "item").len());
        assert_eq!(column(filtered, "item"), kept);
        assert!(column(narrow, "item").len() >= 4, "the beam is wider by what is left out");
    }
}

#[test]
fn what_cannot_be_asked_is_refused_with_a_sentence() {
    let shop = shop();
    refused(shop, "decode --weights w --prompts prompts.jsonl", 2, &["--data", "prompts"]);
    refused(shop, &format!("{DECODE} --task rating"), 3, &["rating", "split test", "reviews"]);
    refused(
        shop,
        &format!("{DECODE} --prompts - --resume --out x.jsonl"),
        2,
        &["--resume", "--prompts FILE"],
    );
    refused(
        shop,
        &format!("{DECODE} --prompts prompts.jsonl --resume"),
        2,
        &["--resume", "--out to name a file"],
    );
    refused(shop, &format!("{DECODE} --prompts nowhere.jsonl"), 2, &["--prompts", "nowhere.jsonl"]);
    refused(shop, &format!("{DECODE} --top 0"), 2, &["--top"]);
    let refusals = [
        (json!({"id": 1, "task": "rating", "history": [9]}), "task: expected sequential"),
        (json!({"id": 1, "history": [9], "top": 0}), "top: expected"),
        (json!({"id": 1, "history": [9], "template": "9-9"}), "template: expected one"),
        (json!({"id": 1, "history": [9], "template": "2-7"}), "candidates"),
        (json!({"id": 1, "history": [9], "template": "next", "profile": {"age": 3}}), "profile"),
        (json!({"id": 1, "user": "zoe"}), "user: \"zoe\""),
        (json!({"id": 1, "user": "alice", "history": [9]}), "got both"),
        (json!({"id": 1, "user": "alice", "profile": {"age": 3}}), "profile"),
        (json!({"id": 1, "text": "[MASK]", "top": 3}), "top and exclude"),
        (json!({"id": 1, "text": "[MASK]", "template": "2-4"}), "no template"),
        (json!({"id": 1, "history": [9], "candidates": []}), "candidates: expected at least one"),
        (json!({"id": 1, "history": [9], "text": "[MASK]"}), "got both"),
        (json!({"id": 1, "text": "no blank"}), "[gMASK]"),
        (
            json!({"id": 1, "text": "[MASK]", "profile": {}}),
            "profile: expected it beside a history",
        ),
        (json!({"id": 1, "text": "[MASK] [MASK]", "candidates": [9]}), "one mask"),
        (json!({"id": 1, "text": format!("{} [MASK]", "x".repeat(300))}), "shorten it"),
        (json!({"id": 1, "history": [9], "profile": {"age": {}}}), "profile: age"),
    ];
    let prompts: Vec<String> = refusals.iter().map(|(prompt, _)| prompt.to_string()).collect();
    shop.put("refusals.jsonl", prompts.join("\n"));
    let answers = lines(&done(shop, &format!("{DECODE} --prompts refusals.jsonl")));
    for ((prompt, words), answer) in refusals.iter().zip(&answers) {
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{prompt}: {answer}"));
        assert!(error.contains(words) && answer["id"] == 1, "{prompt}: {answer}");
    }
}

#[test]
fn items_are_found_by_id_and_by_title() {
    let own = Shop::new();
    let more = "{\"id\": 1984, \"title\": \"Ninety\"}\n{\"id\": 5, \"title\": \"1984\"}\n\
        {\"id\":6,\"title\":\"x1\"}\n";
    own.put("items.jsonl", format!("{}{more}", shop::ITEMS));
    let data = own.prepare().unwrap();
    let names = Names::new(&data);
    let id = |name: Value| {
        serde_json::from_value(name)
            .map_err(anyhow::Error::from)
            .and_then(|name: Name| names.find(&name))
            .map(|item| data.item(item).id.to_owned())
    };
    for (name, expected) in [
        (json!(10), "10"),
        (json!("10"), "10"),
        (json!(" Lego\u{3000}City "), "10"),
        (json!("red fire truck"), "x1"),
        (json!("Wide Café 🙂"), "x5"),
        (json!("Ｗｉｄｅ Café 🙂"), "x5"),
        // Ids that are words come before titles, titles that are numbers before ids.
        (json!("x1"), "x1"),
        (json!(1984), "1984"),
        (json!("1984"), "5"),
    ] {
        assert_eq!(id(name.clone()).unwrap(), expected, "{name}");
    }
    for name in [json!("lego city"), json!(10.0), json!(""), json!("Gloom")] {
        let error = id(name.clone()).unwrap_err().to_string();
        assert!(error.contains(&format!("item: {name}: expected")), "{error}");
    }
    for name in [json!(null), json!([10]), json!({"id": 10}), json!(true)] {
        let error = id(name.clone()).unwrap_err().to_string();
        assert!(error.contains("expected the id or the title of an item"), "{name}: {error}");
    }
}

/// The answers to lines of a file, with these flags.
fn answers_to(name: &str, prompts: &[Value], flags: &str) -> Vec<Value> {
    let text: Vec<String> = prompts.iter().map(Value::to_string).collect();
    shop().put(name, text.join("\n"));
    lines(&done(shop(), format!("{DECODE} --beams 100 --prompts {name} {flags}").trim()))
}

#[test]
fn a_line_has_wishes_of_its_own() {
    let history = json!([10, "Gloom (Atlas)"]);
    let line = |more: Value| {
        let mut line = json!({"id": 1, "history": history});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line
    };
    let answer = |prompt: Value, flags: &str| answers_to("own.jsonl", &[prompt], flags).remove(0);
    let usual = answer(line(json!({})), "");
    let items = column(&usual, "item");
    assert_eq!(items.len(), 10);
    let top = answer(line(json!({"top": 3})), "");
    assert_eq!(column(&top, "item"), items[..3]);
    assert_eq!(column(&answer(line(json!({"top": 10})), "--top 1"), "item"), items);
    let exclude = json!({"exclude": [items[0], items[4], "no such thing"]});
    let kept: Vec<&Value> = items.iter().filter(|i| **i != items[0] && **i != items[4]).collect();
    let narrowed = column(&answer(line(exclude.clone()), ""), "item");
    assert_eq!(narrowed.iter().collect::<Vec<_>>(), kept);
    let strict = answer(line(exclude), "--strict");
    assert!(strict["error"].as_str().unwrap().contains("no such thing"), "{strict}");
    let worded = answer(line(json!({"template": "2-4"})), "");
    assert_eq!(worded, answer(line(json!({})), "--template 2-4"));
    assert_ne!(worded["items"], usual["items"]);

    // A user of the data: all events, and what is known.
    let data = Dataset::open(&shop().path("shop.bin")).unwrap();
    let alice = data.user(data.find_user("alice").unwrap());
    let events: Vec<&str> = alice.items.iter().map(|&item| data.item(item).id).collect();
    let told = json!({"id": 1, "history": events, "profile": {"age": 33, "city": "Kyiv"}});
    assert_eq!(answer(json!({"id": 1, "user": "alice"}), ""), answer(told, ""));
    done(shop(), &format!("{DECODE} --prompts own.jsonl --trace own.trace"));
    let tokens = file(shop(), "own.trace")[0]["prompt"]["input_ids"].clone();
    let tokens: Vec<u32> = serde_json::from_value(tokens).unwrap();
    let text = data.vocab().decode(&tokens).unwrap();
    assert!(text.contains("the customer age : 33 , city : Kyiv chose"), "{text}");
    let unseen = answer(json!({"id": 1, "user": "alice"}), "--filter-history");
    assert!(column(&unseen, "item")
        .iter()
        .all(|item| !events.contains(&item.to_string().trim_matches('"'))));
}

#[test]
fn who_is_known_by_nothing_is_shown_what_everybody_takes() {
    let prompts = [
        json!({"id": 1, "history": []}),
        json!({"id": 2, "history": [], "profile": {"name": "Ann"}, "top": 4}),
        json!({"id": 3, "history": ["no such thing", 77], "candidates": ["x5", 9]}),
        json!({"id": 4, "history": [], "exclude": [9]}),
    ];
    let answers = answers_to("empty.jsonl", &prompts, "--trace empty.trace");
    for (answer, items) in answers.iter().zip([10, 4, 2, 9]) {
        assert_eq!(answer["from"], "popularity");
        let scores = column(answer, "score");
        let scores: Vec<f64> = scores.iter().map(|score| score.as_f64().unwrap()).collect();
        assert_eq!(scores.len(), items, "{answer}");
        assert!(scores.windows(2).all(|pair| pair[0] >= pair[1]) && scores[0] < 0.0);
    }
    // alice's first two events and carol's one are all that training sees.
    let first: Vec<Value> = column(&answers[0], "item").drain(..4).collect();
    assert!(first.contains(&json!(9)) && first.contains(&json!("x5")), "{first:?}");
    assert_eq!(answers[2]["unknown"], 2);
    assert_eq!(answers[3]["unknown"], Value::Null);
    assert!(!column(&answers[3], "item").contains(&json!(9)));
    let strict = answers_to("strict.jsonl", &prompts, "--strict");
    let error = strict[2]["error"].as_str().unwrap();
    assert!(error.contains("history: item: \"no such thing\""), "{error}");
}

/// Any JSON as text, as other programs write it.
fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,40})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,4})?",
        any::<String>().prop_map(|text| json!(text).to_string()),
        // What a terminal obeys, which goes out as JSON's own escapes.
        "[é\u{2028}\u{2029}\u{202e}\u{7f}]{1,4}".prop_map(|text| json!(text).to_string()),
        "\"(\\\\u[0-9a-cA-C][0-9a-fA-F]{3}|[a-z]|\\\\[\"/bfnrt\\\\])*\"",
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|l| format!("[{}]", l.join(" , "))),
            inner.prop_map(|value| format!("{{ \"id\":{value}}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4)
    })]

    #[test]
    fn random_lines_come_back_with_their_own_ids(
        sent in prop::collection::vec((json_text(), 0usize..6, any::<bool>()), 1..60),
    ) {
        let line = |(id, kind, blank): &(String, usize, bool)| {
            let rest = match kind {
                0 => r#""history":[9]"#,
                1 => r#""history":[]"#,
                2 => r#""text":"[MASK]""#,
                3 => r#""user":"bob""#,
                4 => r#""histroy":1"#,
                _ => r#""history":[{}]"#,
            };
            let blank = if *blank { " \t\r\n\n" } else { "" };
            format!("{{ {rest} , \"id\" : {id} }}\n{blank}")
        };
        let text: String = sent.iter().map(line).collect();
        shop().put("random.jsonl", format!("\u{feff}{text}"));
        let answers = done(shop(), &format!("{DECODE} --beams 2 --top 1 --prompts random.jsonl"));
        prop_assert_eq!(answers.lines().count(), sent.len());
        for ((id, kind, _), answer) in sent.iter().zip(answers.lines()) {
            let id = visible_json(id);
            prop_assert!(answer.starts_with(&format!("{{\"id\":{id},")), "{}: {}", id, answer);
            prop_assert_eq!(answer.contains("\"error\":"), *kind > 3, "{}", answer);
        }
    }
}

#[test]
fn who_asks_alone_does_not_wait() {
    let mut filter = Filter::start("--max-wait 600000");
    for id in 0..3 {
        filter.send(&format!("{{\"id\": {id}, \"history\": [9]}}\n"));
        assert_eq!(filter.answer()["id"], id);
    }
}
