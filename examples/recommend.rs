//! Opens a model on a data set and asks it for five items behind a history of titles.
//!
//! `cargo run --release --example recommend -- runs/toys toys.bin "Gloom" "Pandemic"`

use engine::recommender::{Answer, Question, Recommender, Settings};

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [weights, data, history @ ..] = words.as_slice() else {
        anyhow::bail!("usage: recommend WEIGHTS DATA.bin TITLE …");
    };
    let mut settings = Settings::new(weights, data);
    settings.answers.top = 5;
    let recommender = Recommender::open(&settings)?;
    let asked = recommender.ask(&Question::history(history.iter().map(String::as_str)))?;
    for answered in recommender.answer([&asked])? {
        let Answer::Items(items) = answered.answer else { continue };
        for found in items {
            println!("{:8.3}  {}", found.score, recommender.dataset().item(found.item).surface);
        }
    }
    Ok(())
}
