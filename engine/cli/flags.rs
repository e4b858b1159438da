//! The flags of the verbs that share rules: what each is called, its help and what its value may
//! be. What they mean is the settings' business, which have the same names.

use super::word::{share, size, word};
use crate::recommender::budget::Keeps;
use crate::recommender::decision_weight::DecisionWeight;
use crate::recommender::families::{EpochsBy, Share};
use crate::recommender::learning::{MaskUnits, Objective, Order, Parts, TrainIds, Tuned};
use crate::recommender::prior::{Fusion, Prior};
use crate::recommender::rules::{Frame, Match, PartA, PartB, PlainRun, Sampling, Score};
use crate::recommender::settings::{Constrain, Mode, Segment, Way};
use crate::recommender::source::{Curve, Storage};
use crate::recommender::{Family, Listing, RatingTargets, Split, SplitPolicy};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What every verb that writes has.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Overwriting {
    /// Overwrite what is there
    #[arg(long)]
    pub force: bool,
}

/// How rows are made; the same for training and decoding, so that what was learnt is what is asked.
/// Decoding takes from the run what is not typed.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RowFlags {
    /// Ids of the prompt templates; training draws among them, decoding asks with the family's
    /// first. all: every one that training may use of its families; when decoding, every one of the
    /// task, held out or not, one after another [default: the run's, otherwise 2-3, or all where
    /// families are named]
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub template: Option<Vec<String>>,
    /// Templates of your own beside the built-in ones [default: the run's]
    #[arg(long, value_name = "FILE.toml")]
    pub templates: Option<PathBuf>,
    /// Behaviours that a prompt shows at most; 0 = all that fit [default: the run's, otherwise 0]
    #[arg(long, value_name = "K")]
    pub behaviours: Option<usize>,
    /// Which behaviours are shown where not all are: drawn over windows of age, 60 % younger than
    /// 14 days, 30 % than 180, 10 % older; the newest; or drawn from all alike [default: the run's,
    /// otherwise windows]
    #[arg(long, value_parser = word::<Sampling>())]
    pub sampling: Option<Sampling>,
    /// Rows of a sample at most; of the history goes what does not fit [default: the run's,
    /// otherwise 1024]
    #[arg(long, value_name = "N")]
    pub max_row: Option<usize>,
    /// Part B's intra ids: by the entity automaton, or 1, 2, 3 … as GLM [default: the run's,
    /// otherwise entity]
    #[arg(long, value_parser = word::<PartB>())]
    pub intra: Option<PartB>,
    /// Entity tokens of part A: numbered from one, from zero, or all 0 [default: the run's,
    /// otherwise one, and off with --intra glm]
    #[arg(long, value_parser = word::<PartA>())]
    pub enc_intra: Option<PartA>,
    /// Look for an entity inside a failed match, or begin anew behind it [default: the run's,
    /// otherwise rescan]
    #[arg(long, value_parser = word::<Match>())]
    pub trie_match: Option<Match>,
    /// Id with which later units of a span begin [default: the run's, otherwise 1]
    #[arg(long)]
    pub restart: Option<u32>,
    /// Separate tokens in part B: each 1, or a run counted as one unit [default: the run's,
    /// otherwise restart]
    #[arg(long, value_parser = word::<PlainRun>())]
    pub plain_run: Option<PlainRun>,
    /// What stands round a prompt: [CLS] and end-of-text, the same but no end-of-text behind
    /// [gMASK], or nothing as ChatGLM-6B was published [default: the run's, otherwise the model
    /// family's]
    #[arg(long, value_parser = word::<Frame>())]
    pub frame: Option<Frame>,
    /// Candidates: ranked by likelihood and not shown, shown in the prompt by the shortest
    /// beginnings that tell them apart and found by beams, or both shown and ranked by likelihood
    /// [default: the run's, otherwise score]
    #[arg(long, value_parser = word::<Listing>())]
    pub candidates: Option<Listing>,
    /// Over what the probability of an item's token is taken: the whole vocabulary, or what the
    /// catalogue lets follow, so that an item's score is its share [default: the run's, which is
    /// what it learnt by; otherwise full]
    #[arg(long, value_parser = word::<Score>())]
    pub score: Option<Score>,
    /// What logits are divided by where the catalogue decides [default: the run's, otherwise 1]
    #[arg(long, value_name = "T")]
    pub temperature: Option<f64>,
}

/// Trains an adapter, or all weights, to name the next item and to fill blanks in histories.
///
/// Example: engine train --weights glm-10b --data toys.bin
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Train {
    /// The checkpoint folder to start from
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// The prepared .bin
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The run folder [default: runs/<data>-<tune>-<n>]
    #[arg(long, value_name = "RUN")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// What is trained: an adapter or every weight
    #[arg(long, default_value = "lora", value_parser = word::<Tuned>())]
    pub tune: Tuned,
    #[arg(long, default_value_t = 8)]
    pub rank: usize,
    #[arg(long, default_value_t = 16.0)]
    pub alpha: f64,
    #[arg(long, default_value_t = 0.0)]
    pub lora_dropout: f32,
    /// Linears that take an adapter
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "query_key_value,dense,dense_h_to_4h,dense_4h_to_h"
    )]
    pub targets: Vec<String>,
    /// Train both position tables beside the adapter
    #[arg(long)]
    pub train_positions: bool,
    /// Go on from the newest checkpoint of --out, or without it of the newest run under runs/ that
    /// was begun as this one
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,
    /// Families of examples with their weights, such as rating=1,sequential=2 [default: those of
    /// the templates, each with weight 1]
    #[arg(long, value_delimiter = ',', value_name = "FAMILY=WEIGHT", value_parser = share)]
    pub families: Vec<Share>,
    /// What the weights count: examples of each user or record, P5's numbers of these, or shares of
    /// the tokens
    #[arg(long, default_value = "records", value_parser = word::<EpochsBy>())]
    pub epochs_by: EpochsBy,
    /// Passes over the users, or over what the weights of --families make an epoch
    #[arg(long, default_value_t = 8.0)]
    pub epochs: f64,
    /// Examples of an optimiser step
    #[arg(long, default_value_t = 128)]
    pub batch: usize,
    /// Rows computed at once; a step is cut into as many micro-batches as that takes
    #[arg(long, default_value_t = 8192)]
    pub batch_rows: usize,
    #[arg(long, default_value_t = 1e-5)]
    pub learning_rate: f64,
    /// Share of the steps during which the rate rises
    #[arg(long, default_value_t = 0.05)]
    pub warmup: f64,
    #[arg(long, default_value_t = 0.9)]
    pub beta1: f32,
    #[arg(long, default_value_t = 0.95)]
    pub beta2: f32,
    #[arg(long, default_value_t = 0.01)]
    pub weight_decay: f32,
    /// Largest gradient norm; 0 = no clipping
    #[arg(long, default_value_t = 1.0)]
    pub clip: f32,
    /// Dropout of embeddings and sub-layer outputs [default: the config's with --tune full,
    /// otherwise 0]
    #[arg(long)]
    pub dropout: Option<f32>,
    /// Dropout of attention probabilities [default: as --dropout]
    #[arg(long)]
    pub attention_dropout: Option<f32>,
    /// What a layer keeps for its backward; auto = the most that there is memory for. No number
    /// depends on it
    #[arg(long, default_value = "auto", value_parser = word::<Keeps>())]
    pub keep: Keeps,
    /// Where stars are asked for: numbers around them, as P5 has it, or the stars
    #[arg(long, default_value = "gauss", value_parser = word::<RatingTargets>())]
    pub rating_targets: RatingTargets,
    /// Records of the rating, explanation and review families: all for training, as P5 has it, or
    /// without what the other families are asked for
    #[arg(long, default_value = "p5", value_parser = word::<SplitPolicy>())]
    pub split_policy: SplitPolicy,
    /// Among what a token of an item is decided: the whole vocabulary, as in the paper, or what the
    /// catalogue lets follow
    #[arg(long, default_value = "full", value_parser = word::<Objective>())]
    pub objective: Objective,
    /// Weights of an item's first, second, … decision under --objective legal, the last one for all
    /// later ones; an item's decisions together weigh as many as they are. adaptive: by what each
    /// still costs
    #[arg(long, value_delimiter = ',', default_value = "1", value_name = "LIST|adaptive",
        value_parser = DecisionWeight::read)]
    pub decision_weights: Vec<DecisionWeight>,
    /// Which events are learnt from: those that no split asks for, or, with --validate-every 0 and
    /// settings that were chosen before, those of validation as well
    #[arg(long, default_value = "train", value_parser = word::<Parts>())]
    pub parts: Parts,
    /// Share of examples that ask for an event after the one before it alone
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub pairs: f64,
    /// Share of examples that are made of a part of the history, of two events or more
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub crops: f64,
    /// Show events of one day in ever new orders
    #[arg(long)]
    #[serde(default)]
    pub shuffle_days: bool,
    /// Share of examples that ask what the teacher would have after one item alone, any item
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    pub contexts: f64,
    /// A ranker without a language model that says what else might come next, one of those that
    /// decoding may ask beside a model: fitted on the events that are learnt from, each left out of
    /// its own counts
    #[arg(
        long,
        value_name = "none|markov|knn|tfidf|blend|FILE",
        default_value_t,
        value_parser = |word: &str| word.parse::<Prior>()
    )]
    pub teacher: Prior,
    /// Weight of what the teacher says beside what happened
    #[arg(long, default_value_t = 0.6, value_name = "L")]
    pub teacher_weight: f32,
    /// Share of prompts whose answer is drawn from what the teacher says
    #[arg(long, default_value_t = 0.0, value_name = "P")]
    pub teacher_samples: f64,
    /// What the teacher's scores are divided by before they become probabilities
    #[arg(long, default_value_t = 0.6, value_name = "T")]
    pub teacher_temperature: f64,
    /// Share of blank infilling among the examples; the rest answers prompts
    #[arg(long, default_value_t = 0.5)]
    pub mix: f64,
    /// Probability that an example begins at a random event instead of the user's first
    #[arg(long, default_value_t = 0.0)]
    pub windows: f64,
    /// Weights of entity-, sentence- and document-level masks
    #[arg(long, value_delimiter = ',', default_value = "0.4,0.3,0.3")]
    pub levels: Vec<f64>,
    /// Smallest share of the tokens that a document-level span masks
    #[arg(long, default_value_t = 0.5)]
    pub document_min: f64,
    /// Probability that a document-level span is the suffix
    #[arg(long, default_value_t = 0.5)]
    pub document_suffix: f64,
    /// Share of the tokens masked at entity and sentence level
    #[arg(long, default_value_t = 0.15)]
    pub mask_ratio: f64,
    /// What masks take whole: entities, or tokens alone, so that spans cut entities as GLM's do
    #[arg(long, default_value = "entity", value_parser = word::<MaskUnits>())]
    pub mask_units: MaskUnits,
    /// Spans of part B in order, or shuffled as GLM does
    #[arg(long, default_value = "chrono", value_parser = word::<Order>())]
    pub span_order: Order,
    /// Part B's intra ids in training: the automaton's, as in decoding, or those of the entities
    /// that blanks and answers are known to have, which a decoder cannot know: for ablation
    #[arg(long, default_value = "automaton", value_parser = word::<TrainIds>())]
    pub train_ids: TrainIds,
    #[command(flatten)]
    #[serde(flatten)]
    pub rows: RowFlags,
    /// Steps between validations; 0 = none
    #[arg(long, default_value_t = 200)]
    pub validate_every: u64,
    /// Users of a validation; 0 = all
    #[arg(long, default_value_t = 500)]
    pub validate_users: usize,
    /// Beams of a validation
    #[arg(long, default_value_t = 10)]
    pub validate_beams: usize,
    /// alpha of a validation's sum of log-probabilities / length^alpha [default: 1, and 0 with
    /// --score legal]
    #[arg(long)]
    pub validate_length_penalty: Option<f64>,
    /// Validations without gain after which the run ends; 0 = never
    #[arg(long, default_value_t = 0)]
    pub patience: u32,
    /// Steps between checkpoints; 0 = only where the run ends
    #[arg(long, default_value_t = 200)]
    pub checkpoint_every: u64,
    #[arg(long, default_value_t = 2)]
    #[serde(skip)]
    pub keep_checkpoints: usize,
    /// Stop, saved, after this much training; 0 = no limit
    #[arg(long, default_value_t = 0.0)]
    #[serde(skip)]
    pub max_minutes: f64,
    #[arg(long, value_parser = word::<Curve>())]
    pub gelu: Option<Curve>,
    /// Storage of weights and activations [default: f32 on the CPU and with --tune full, otherwise
    /// bf16]
    #[arg(long, value_parser = word::<Storage>())]
    pub dtype: Option<Storage>,
    /// Decides order, spans and dropout
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

/// Recommends: the best items for every user or prompt, one JSON line each, as they are done.
///
/// With --prompts, answers JSON lines: {"id": 1, "history": ["title or id", …]} with the next
/// items; with "candidates": […] beside it, these alone in their order; with "profile": {…}, what
/// is known of the person; {"id": 2, "user": "id"} after all events of a user of the data; and
/// {"id": 3, "text": "… [MASK]"}, a free prompt, with "text". A line may have its own "top",
/// "exclude": [items] and "template". Items of a history that the catalogue lacks are left out and
/// counted ("unknown"), and so are those of a history, and the last values of a profile, for
/// which a row has no room ("truncated", "truncated_profile"); an empty history is answered with
/// what everybody takes ("from": "popularity"). From standard input (--prompts -) lines are
/// answered as they come, in their order, until the input ends; one that cannot be answered yields
/// {"id": …, "error": "…"}.
///
/// Example: engine decode --weights glm-10b --adapter runs/toys-lora-1 --data toys.bin --out
/// predictions.jsonl
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Decode {
    #[arg(long, value_name = "DIR")]
    pub weights: PathBuf,
    /// A PEFT folder or a run folder
    #[arg(long, value_name = "RUN")]
    pub adapter: Option<PathBuf>,
    /// Make the adapter a part of the weights as they are loaded: faster, and the same answers as
    /// of a checkpoint that is merged; they may differ in their last digits from those beside it
    #[arg(long)]
    #[serde(default)]
    pub merge: bool,
    /// The prepared .bin: catalogue, tokenizer and tries, with --prompts as well
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,
    /// JSON lines to answer instead of the data's users; - = standard input, answered as they come
    #[arg(long, value_name = "FILE|-")]
    pub prompts: Option<String>,
    /// What is asked: sequential and direct about the data's users, rating, explanation and review
    /// about its records; of prompts only sequential, beside free texts
    #[arg(long, default_value = "sequential", value_parser = word::<Family>())]
    pub task: Family,
    /// Which event of every user, or which part of the records, is asked for, without --prompts
    #[arg(long, default_value = "test", value_parser = word::<Split>())]
    pub split: Split,
    /// How items are found: beams over the trie of the catalogue; every item's likelihood, the
    /// reference for small catalogues; beams under no trie, whose texts are items' or count as
    /// misses; a text under no trie and the items nearest to it; one text that lists items
    #[arg(long, default_value = "trie", value_parser = word::<Mode>())]
    pub mode: Mode,
    /// How the trie is searched: by beams, or until nothing that is left can be among the best, for
    /// a length penalty of 0
    #[arg(long, default_value = "beam", value_parser = word::<Way>())]
    pub search: Way,
    #[arg(long, default_value_t = 20)]
    pub beams: usize,
    /// Items written a user
    #[arg(long, default_value_t = 10)]
    pub top: usize,
    /// A ranker without a language model that is asked beside the model, and whose best join the
    /// model's list: what follows the last item, items of the same users, nearest titles, all of
    /// these; or a FILE of JSON lines {"item": id, "next": [{"item": id, "score": x}, …]}
    #[arg(
        long,
        value_name = "none|markov|knn|tfidf|blend|FILE",
        default_value_t,
        value_parser = |word: &str| word.parse::<Prior>()
    )]
    pub prior: Prior,
    /// How the model's score and the prior's become one: the weighted sum of both, standardised; a
    /// mixture of both probabilities; the sum, with a weight by the prior's confidence [default:
    /// what the run was found best with, otherwise sum]
    #[arg(long, value_parser = word::<Fusion>())]
    pub fusion: Option<Fusion>,
    /// How many of the prior's best are candidates beside the model's list [default: the run's,
    /// otherwise 100]
    #[arg(long, value_name = "N")]
    pub prior_top: Option<usize>,
    /// alpha of sum of log-probabilities / length^alpha [default: that of the run's validations,
    /// otherwise 1, and 0 with --score legal]
    #[arg(long)]
    pub length_penalty: Option<f64>,
    /// Leave the history's items out of the lists, a target that is bought again too; the beam is
    /// wider by as many
    #[arg(long)]
    #[serde(default)]
    pub filter_history: bool,
    /// Refuse a prompt whose history or exclude has an item that the catalogue lacks, rather than
    /// leave that item out
    #[arg(long)]
    #[serde(default)]
    pub strict: bool,
    /// What may fill a free prompt of one mask: anything, or items of the catalogue
    #[arg(long, default_value = "none", value_parser = word::<Constrain>())]
    pub constrain: Constrain,
    /// Whether entities are recognised in free prompts
    #[arg(long, default_value = "trie", value_parser = word::<Segment>())]
    pub segment_free_text: Segment,
    /// Tokens of a free answer at most
    #[arg(long, default_value_t = 64, value_name = "N")]
    pub max_new_tokens: usize,
    /// Tokens of a free answer at least
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub min_new_tokens: usize,
    /// Beams by which free texts are written; 1 = the likeliest token, one after another
    #[arg(long, default_value_t = 1, value_name = "W")]
    pub text_beams: usize,
    /// Groups of these beams that are kept apart by --diversity
    #[arg(long, default_value_t = 1, value_name = "G")]
    pub groups: usize,
    /// What a group of beams loses for each time that an earlier group took the same token
    #[arg(long, default_value_t = 0.0)]
    pub diversity: f64,
    /// What a token loses that the answer has already: its logit is divided by this where it is
    /// above 0, otherwise multiplied; below 1 repetition is rewarded
    #[arg(long, default_value_t = 1.0)]
    pub repetition_penalty: f64,
    /// Only a seeded sample of this many users or records; 0 = all
    #[arg(long, default_value_t = 0)]
    pub users: usize,
    /// Users or prompts decoded together at most, fewer where memory asks for it; the results do
    /// not depend on it
    #[arg(long, default_value_t = 64)]
    pub batch: usize,
    /// Milliseconds that a prompt from standard input waits for others that are being read; one
    /// that comes alone does not wait
    #[arg(long, default_value_t = 10, value_name = "MS")]
    pub max_wait: u64,
    /// Bytes of a prompt's line at most; a longer one is passed over, unread, and its answer says
    /// so
    #[arg(long, default_value = "1Mi", value_name = "SIZE", value_parser = size)]
    pub max_line: u64,
    /// Bytes of prompts that are held at once, those that wait and those that are being answered;
    /// whoever sends more has to wait
    #[arg(long, default_value = "16Mi", value_name = "SIZE", value_parser = size)]
    pub max_memory: u64,
    #[command(flatten)]
    #[serde(flatten)]
    pub rows: RowFlags,
    /// Where the JSON lines go; - = standard output
    #[arg(long, value_name = "FILE|-", default_value = "-")]
    pub out: String,
    #[command(flatten)]
    #[serde(skip)]
    pub overwriting: Overwriting,
    /// Go on where a killed run stopped
    #[arg(long)]
    #[serde(skip)]
    pub resume: bool,
    /// A line a request with all that recomputes its scores elsewhere
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    #[arg(long, value_parser = word::<Curve>())]
    pub gelu: Option<Curve>,
    /// Storage of weights and activations [default: f32 on the CPU, otherwise bf16]
    #[arg(long, value_parser = word::<Storage>())]
    pub dtype: Option<Storage>,
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

#[cfg(test)]
mod tests {
    use crate::cli::settings::of_flags;
    use crate::cli::{eval::Eval, init::Init};
    use crate::recommender::create::Creation;
    use crate::recommender::identity::{BY_CONTENTS, NOTHING_TO_ANSWERS, NOTHING_TO_TRAINING};
    use crate::recommender::job::Job;
    use crate::recommender::learnt::Learnt;
    use crate::recommender::report::Judging;
    use crate::recommender::{Learning, Rules, Settings};
    use clap::Args;

    /// The settings of a verb with these flags alone.
    fn settings<F: Args + serde::Serialize, T>(words: &str) -> T
    where
        T: serde::Serialize + serde::de::DeserializeOwned,
    {
        let command = F::augment_args(clap::Command::new("verb"));
        let matches = command.try_get_matches_from(format!("verb {words}").split(' ')).unwrap();
        of_flags(&F::from_arg_matches(&matches).unwrap())
    }

    #[test]
    fn what_nobody_says_is_what_the_settings_have_by_themselves() {
        let learning: Learning = settings::<super::Train, _>("--weights w --data d");
        assert_eq!(learning, Learning::new("w", "d"));
        let job: Job = settings::<super::Decode, _>("--weights w --data d");
        assert_eq!(job, Job { settings: Settings::new("w", "d"), ..Job::default() });
        let judging: Judging = settings::<Eval, _>("p --data d");
        let (predictions, data) = (vec!["p".into()], "d".into());
        assert_eq!(judging, Judging { predictions, data, ..Judging::default() });
        let creation: Creation = settings::<Init, _>("--model m --out o");
        let (model, out) = ("m".into(), "o".into());
        assert_eq!(creation, Creation { model, out, ..Creation::default() });
    }

    /// Every flag counts when a run is gone on with, or stands in a list of those that do not.
    #[test]
    fn whether_a_flag_decides_numbers_is_known() {
        /// What is no setting of the work itself.
        const OF_THE_PROCESS: [&str; 6] = ["resume", "config", "quiet", "verbose", "help", "force"];
        let command = crate::cli::command();
        for (verb, settings, idle) in [
            ("train", serde_json::json!(Learning::default()), NOTHING_TO_TRAINING),
            ("decode", serde_json::json!(Job::default()), NOTHING_TO_ANSWERS),
        ] {
            let verb = command.find_subcommand(verb).unwrap();
            let all = verb.get_arguments().chain(command.get_arguments());
            let flags: Vec<&str> = all.filter_map(|flag| flag.get_long()).collect();
            let counts = |flag: &str| settings.get(flag).is_some();
            for flag in flags.iter().filter(|flag| !counts(flag)) {
                let named = [idle, BY_CONTENTS, &OF_THE_PROCESS].concat().contains(flag);
                assert!(
                    named,
                    "{verb} --{flag}: does a number depend on it? say so in identity.rs"
                );
            }
            for listed in idle {
                assert!(flags.contains(listed), "{verb}: --{listed} is listed, but no flag");
            }
        }
    }

    /// Every flag of the two verbs is a rule that a run hands on to whoever asks it, or stands in a
    /// list of those that are none.
    #[test]
    fn whether_a_flag_is_a_rule_is_known() {
        /// What a training is told of the way, not of the goal: its numbers hold what came of it.
        const TRAINS: &str = "out tune rank alpha lora-dropout targets train-positions families \
            epochs-by epochs rating-targets split-policy batch batch-rows learning-rate warmup \
            beta1 beta2 weight-decay clip dropout attention-dropout keep objective \
            decision-weights parts pairs crops shuffle-days contexts teacher teacher-weight \
            teacher-samples teacher-temperature mix windows levels document-min document-suffix \
            mask-ratio mask-units train-ids span-order validate-every validate-users \
            validate-beams patience checkpoint-every keep-checkpoints max-minutes";
        /// What is asked, and how much of the answer is wanted.
        const ASKS: &str = "adapter merge prompts task split mode search beams top prior fusion \
            prior-top filter-history constrain segment-free-text max-new-tokens min-new-tokens \
            text-beams groups diversity repetition-penalty users batch max-wait max-line \
            max-memory strict out trace";
        /// What both are told anew each time: which files, on what, from which seed.
        const BOTH: &str = "weights data seed dtype device threads resume force config quiet \
            verbose";
        let rules = Rules::default();
        let learnt = serde_json::json!(Learnt { rules, length_penalty: 1.0, gelu: None });
        let rules: Vec<&str> = learnt.as_object().unwrap().keys().map(|name| &**name).collect();
        let command = crate::cli::command();
        for (verb, listed) in [("train", TRAINS), ("decode", ASKS)] {
            let verb = command.find_subcommand(verb).unwrap();
            let all = verb.get_arguments().chain(command.get_arguments());
            let named = all.filter_map(|flag| flag.get_long());
            // The parser adds its own when it begins.
            let flags: Vec<&str> = named.filter(|flag| *flag != "help").collect();
            let known: Vec<&str> = listed.split(' ').chain(BOTH.split(' ')).collect();
            // A training has the rule of its validations.
            let rule = |flag: &str| flag.strip_prefix("validate-").unwrap_or(flag).to_owned();
            for flag in &flags {
                let is_rule = rules.contains(&&*rule(flag));
                let words = "is it a rule that a run hands on? say so in learnt.rs, or here";
                assert!(is_rule != known.contains(flag), "{}: --{flag}: {words}", verb.get_name());
            }
            for name in rules.iter().chain(&known) {
                let there = flags.iter().any(|flag| flag == name || rule(flag) == *name);
                assert!(there, "{}: {name} is listed, but no flag", verb.get_name());
            }
        }
    }

    #[test]
    fn what_is_said_arrives() {
        let words = "--weights w --data d --tune full --keep no-qkv --levels 1,2,3 --intra glm \
                     --template a,b --learning-rate 0.1 --beta2 0.7 --seed 9223372036854775807";
        let learning: Learning = settings::<super::Train, _>(words);
        assert_eq!((learning.tune.name(), learning.keep.name()), ("full", "no-qkv"));
        assert_eq!((learning.levels, learning.beta2), (vec![1.0, 2.0, 3.0], 0.7));
        let intra = learning.rules.intra.unwrap().name();
        assert_eq!((intra, learning.seed), ("glm", i64::MAX as u64));
        assert_eq!(learning.rules.template.unwrap(), ["a", "b"]);
    }
}
