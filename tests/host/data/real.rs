//! The laws on the Toys set: a `.bin` named by `ENGINE_BIN`, or one prepared from
//! `shared/data/toys`.

use std::path::PathBuf;

use engine::base::{Outputs, Philox, Stream};
use engine::cli::prepare::{self, Prepare};
use engine::data::form::Fields;
use engine::data::intra::{Intra, IntraMode};
use engine::data::sample::{Prompt, SampleBuilder, SampleOptions};
use engine::data::span::{segment, Level, Masking};
use engine::data::template::Templates;
use engine::data::text::{behaviour_text, sentence_ends, Choice, Encoder};
use engine::data::{batch, Batch, Dataset};

use super::sample::fill;

fn toys(folder: &tempfile::TempDir) -> Option<Dataset> {
    if let Some(path) = std::env::var_os("ENGINE_BIN") {
        return Some(Dataset::open(path.as_ref()).unwrap());
    }
    let shared = std::env::var_os("ENGINE_SHARED")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let (source, tokenizer) =
        (shared.join("data/toys"), shared.join("tokenizer/glm-10b/tokenizer.json"));
    if !source.exists() || !tokenizer.exists() {
        eprintln!("skipped: no {} or no {}", source.display(), tokenizer.display());
        return None;
    }
    let out = folder.path().join("toys.bin");
    let tokenizer = Some(tokenizer);
    let arguments = Prepare { source, tokenizer, out: out.clone(), ..Prepare::default() };
    prepare::run(&arguments, Outputs::new(false)).unwrap();
    Some(Dataset::open(&out).unwrap())
}

#[test]
fn every_user_becomes_sound_rows_that_pack_well() {
    let folder = tempfile::tempdir().unwrap();
    let Some(data) = toys(&folder) else { return };
    let (vocab, special) = (data.vocab(), data.vocab().special());
    let encoder = Encoder::of(vocab);
    let builder = SampleBuilder::new(
        special,
        Intra::new(data.pool(), IntraMode::default()),
        SampleOptions::default(),
    );
    let (pool, catalogue, ends) = (data.pool(), data.catalogue(), sentence_ends(vocab).unwrap());
    let longest = (0..data.items() as u32).map(|i| data.item(i).tokens.len()).max().unwrap();
    let limit = builder.longest_prompt(longest);
    let templates = Templates::builtin();
    let forms: Vec<_> = ["next", "2-3", "2-13"]
        .iter()
        .map(|id| templates.get(id).unwrap().encode(&encoder, special).unwrap())
        .collect();
    let masking = Masking::default();

    let (mut prompted, mut infilled, mut rows) = (Vec::new(), Vec::new(), Vec::new());
    let (mut dropped, mut levels) = (0, [0; 3]);
    for u in 0..data.users() as u32 {
        let events = data.user(u).items;
        let items: Vec<&[u32]> = events.iter().map(|&i| data.item(i).tokens).collect();
        let (target, history) = items.split_last().unwrap();

        let form = &forms[u as usize % forms.len()];
        let prompt = form.fill(&Fields { history, ..Fields::default() }, limit).unwrap();
        dropped += usize::from(prompt.left_out.history > 0);
        assert!(prompt.tokens.len() <= limit);
        // R3, R4: every rendered item is an entity of the pool and a leaf of the catalogue.
        for unit in prompt.units.iter().filter(|unit| unit.entity) {
            let node = pool.find(&prompt.tokens[unit.range()]).unwrap();
            assert!(
                pool.is_terminal(node) && catalogue.find(&prompt.tokens[unit.range()]).is_some()
            );
        }
        // E25: no item occurs twice in a sequence, so the target is nowhere in its own prompt.
        let held = prompt
            .units
            .iter()
            .filter(|unit| unit.entity)
            .any(|u| prompt.tokens[u.range()] == **target);
        assert!(!held, "user {u}: the prompt holds its target");

        let row = builder.answered(u64::from(u), &prompt, &[target]).unwrap();
        let asked = builder.prompt(u64::from(u), &prompt).unwrap();
        assert!(row.rows() <= 1024 && row.targets.len() == target.len() + 1);
        assert_eq!(asked.tokens[..], row.tokens[..asked.rows()]);
        // R29c: an answer that is one entity is numbered as GLM does.
        assert!(row.positions[1][row.context..].iter().copied().eq(1..=target.len() as u32 + 1));
        prompted.push(row.rows());
        rows.push(row);

        let text =
            behaviour_text(&encoder, &[], history, &Choice::recent(), masking.longest_text(1024))
                .unwrap()
                .text;
        let (level, spans) =
            masking.draw(&text.units, |i| ends[text.tokens[i] as usize], 0, u64::from(u));
        levels[level as usize] += 1;
        let row =
            builder.infilling(u64::from(u), &text.tokens, &text.units, &spans, level).unwrap();
        assert_eq!(row.cut.clamped, 0);
        infilled.push(row.rows());

        if u % 97 == 0 {
            check_text(
                &data,
                &text,
                history.len(),
                &events[text.left_out.history as usize..events.len() - 1],
            );
        }
    }
    // A19: without attributes a history is one sentence.
    assert_eq!(levels[Level::Sentence as usize], 0);
    eprintln!("{dropped} of {} prompts lost some history; levels {levels:?}", data.users());

    for (name, lengths) in [("prompted", prompted), ("infilling", infilled)] {
        for budget in [2048, 4096] {
            let start = std::time::Instant::now();
            let packs = batch::pack(&lengths, budget, 0, 0).unwrap();
            let fill = fill(&lengths, budget, &packs);
            eprintln!(
                "{name}: {} packs of {budget}, fill {fill:.4}, {:?}",
                packs.len(),
                start.elapsed()
            );
            assert!(fill >= 0.995, "{name}: fill {fill} at a budget of {budget}");
            if name == "prompted" {
                let batch = Batch::of(packs[0].iter().map(|&i| &rows[i]));
                assert_eq!(batch.sequences(), packs[0].len());
            }
        }
    }
}

/// R3: what is rendered reads as it was meant, and the segmentation of it as free text covers the
/// same items.
fn check_text(data: &Dataset, text: &Prompt, history: usize, events: &[u32]) {
    assert_eq!(events.len(), history - text.left_out.history as usize);
    let surfaces: Vec<&str> = events.iter().map(|&i| data.item(i).surface).collect();
    assert_eq!(data.vocab().decode(&text.tokens).unwrap(), format!(" {}", surfaces.join(" , ")));
    assert_eq!(
        data.vocab().encode(&data.vocab().decode(&text.tokens).unwrap()).unwrap(),
        text.tokens
    );
    let free = segment(Some(&data.pool()), &text.tokens, &[]);
    // A title may be the beginning of another that goes on with " ,": longest match then takes
    // more.
    let same = free.iter().filter(|unit| text.units.contains(unit)).count();
    assert!(same * 10 >= text.units.len() * 9, "{same} of {} units found again", text.units.len());
}

/// The catalogue walked with random beams: ids of the automaton are the same stepped and folded, in
/// every item.
#[test]
fn the_pool_numbers_every_item_as_one_entity() {
    let folder = tempfile::tempdir().unwrap();
    let Some(data) = toys(&folder) else { return };
    let start = std::time::Instant::now();
    let intra = Intra::new(data.pool(), IntraMode::default());
    eprintln!("automaton over {} nodes: {:?}", data.pool().nodes(), start.elapsed());
    let mut rng = Philox::new(5, Stream::Synthetic, 0);
    for i in 0..data.items() as u32 {
        let first = data.item(i).tokens;
        assert!(intra.ids(first).eq(2..=first.len() as u32 + 1));
        let second = data.item(rng.below(data.items()) as u32).tokens;
        let comma = data.vocab().encode(" ,").unwrap();
        let list = [first, &comma, second].concat();
        let ids: Vec<u32> = intra.ids(&list).collect();
        if data.pool().longest_match(&list) == first.len()
            && data.pool().longest_match(&list[first.len()..]) == 0
        {
            // Once the tokens after the first item left the trie, the second begins at 1 again.
            let second_ids = &ids[first.len() + comma.len()..];
            assert!(second_ids.iter().copied().eq(1..=second.len() as u32), "{ids:?}");
        }
    }
}
