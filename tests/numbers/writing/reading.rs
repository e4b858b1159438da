//! First tokens and embeddings: rows that are read once.

use super::*;
use engine::base::Fault;
use engine::decode::{embeddings, first_token_each, nearest_each, Grounding};

#[test]
fn first_tokens_are_the_softmax_behind_the_prompt() {
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        let intra = intra();
        let rows = rows(&intra);
        let mut rng = Philox::new(20, Stream::Synthetic, 0);
        let prompts: Vec<Sample> =
            (0..9).map(|_| rows.prompt(0, &text(&mut rng, 1)).unwrap()).collect();
        let words: [&[u32]; 3] = [&[1, 2], &[4, 0, 6], &[]];
        let asked: Vec<(&Sample, &[u32])> =
            prompts.iter().enumerate().map(|(i, prompt)| (prompt, words[i % 3])).collect();
        let found = first_token_each(&model, &asked, 1000).unwrap();
        for (&(prompt, tokens), found) in asked.iter().zip(&found) {
            let found = found.as_ref().unwrap();
            let logits = forced(&model, prompt);
            let all = log_softmax(&logits);
            let of = |all: &[f32]| tokens.iter().map(|&t| all[t as usize]).collect::<Vec<f32>>();
            assert_eq!(found.logits, of(&logits), "the bits of a pass alone");
            for (a, b) in found.log_probs.iter().zip(of(&all)) {
                assert!((a - b).abs() <= 1e-5);
            }
            if let [yes, no] = *tokens {
                let [yes, no] = [yes, no].map(|t| f64::from(logits[t as usize]));
                assert_eq!(found.log_odds(0, 1), yes - no);
                let share = yes.exp() / (yes.exp() + no.exp());
                assert!((found.share(0, 1) - share).abs() <= 1e-12);
            }
        }
        // Whatever stands beside, in however many passes.
        for rows in [0, 1, 12, 30] {
            assert_eq!(first_token_each(&model, &asked, rows).unwrap(), found);
        }
        let beyond: (&Sample, &[u32]) = (&prompts[0], &[12]);
        let error = first_token_each(&model, &[beyond], 10).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Data));
        let damaged = tiny(family, &cpu(2), Damage::FinalNorm);
        assert!(first_token_each(&damaged, &asked[..1], 10).unwrap()[0].is_err());
        assert!(first_token_each(&model, &[], 10).unwrap().is_empty());
    }
}

#[test]
fn a_written_item_is_at_distance_0_and_equals_stay_in_order() {
    for family in FAMILIES {
        let model = tiny(family, &cpu(2), Damage::None);
        // The items are the pool.
        let titles = [vec![0, 1], vec![2], vec![2, 3, 0], vec![3], vec![2, 3, 0], vec![1, 1]];
        let pool = Trie::build(&titles, &[0, 1, 2, 3, 4, 5]);
        let intra = Intra::new(pool, IntraMode::default());
        let rows = rows(&intra);
        let row = |tokens: &[u32]| rows.text(0, tokens).unwrap();
        let items: Vec<Sample> = titles.iter().map(|title| row(title)).collect();
        let items: Vec<&Sample> = items.iter().collect();
        assert_eq!(items[2].tokens, [SPECIAL.cls, 2, 3, 0, SPECIAL.eos]);
        assert_eq!(items[2].positions[1], [0, 1, 2, 3, 0], "an item is an entity");
        assert_eq!(items[2].context, 5);
        let grounding = Grounding::new(&model, &items, 12).unwrap();
        assert_eq!(grounding.items(), 6);
        // The embedding is the last row behind the final norm, whatever stands beside.
        let alone: Vec<f32> =
            items.iter().flat_map(|item| embeddings(&model, &[*item], 1).unwrap()).collect();
        assert_eq!(grounding.table(), alone);
        let last = model.hidden(&Batch::of([items[0]]), |_, _| Ok(())).unwrap();
        let normed = model.finish(&last).unwrap();
        let normed = model.device.download_f32(normed.view().row_range(3..4)).unwrap();
        assert_eq!(grounding.table()[..16], normed);

        let texts: Vec<Sample> =
            titles.iter().map(|title| row(title)).chain([row(&[0, 4]), row(&[])]).collect();
        let texts: Vec<&Sample> = texts.iter().collect();
        let found = nearest_each(&model, &grounding, &texts, 6, 1000).unwrap();
        for (at, near) in found.iter().take(6).enumerate() {
            let near = near.as_ref().unwrap();
            let same = (0..6).filter(|&other| titles[other as usize] == titles[at]);
            for (place, other) in same.enumerate() {
                assert_eq!((near[place].item, near[place].distance), (other, 0.0), "{family}");
            }
            assert_eq!(near.len(), 6);
            assert!(near.is_sorted_by(|a, b| a.distance <= b.distance));
        }
        assert!(found[6].as_ref().unwrap()[0].distance > 0.0);
        assert_eq!(nearest_each(&model, &grounding, &texts, 6, 1).unwrap(), found);
        let few = nearest_each(&model, &grounding, &texts, 2, 9).unwrap();
        assert_eq!(few[6].as_ref().unwrap()[..], found[6].as_ref().unwrap()[..2]);

        let damaged = tiny(family, &cpu(2), Damage::FinalNorm);
        let error = Grounding::new(&damaged, &items, 12).map(|_| ()).unwrap_err();
        assert_eq!(Fault::of(&error), Some(Fault::Model));
        let damaged = tiny(family, &cpu(2), Damage::Word);
        // Of the damaged word alone.
        let found = nearest_each(&damaged, &grounding, &[items[3], items[0]], 1, 9).unwrap();
        assert!(found[0].is_err() && found[1].is_ok());
    }
}
