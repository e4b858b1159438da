//! Published data sets that are known by the names of their files: how these are written, where
//! they do not say it themselves.

use super::Format;

/// A file of a published set.
pub struct Published {
    /// How its name begins.
    pub begins: &'static str,
    /// How its name ends, `.gz` apart.
    pub ends: &'static str,
    /// What stands between columns; nothing where it is of JSON lines or Python dicts.
    pub separator: &'static str,
    /// The names of the columns, where no header says them.
    pub columns: Option<&'static [&'static str]>,
    /// Quotation marks are characters like any others.
    pub bare: bool,
    /// A backslash takes the meaning from the character behind it.
    pub escapes: bool,
}

const fn file(begins: &'static str, ends: &'static str, separator: &'static str) -> Published {
    Published { begins, ends, separator, columns: None, bare: false, escapes: false }
}

const fn bare(
    begins: &'static str,
    ends: &'static str,
    separator: &'static str,
    columns: &'static [&'static str],
) -> Published {
    Published { begins, ends, separator, columns: Some(columns), bare: true, escapes: false }
}

const fn escaped(begins: &'static str) -> Published {
    Published { escapes: true, ..file(begins, ".csv", ";") }
}

/// A published set; its events must be there, its items and users may be.
pub struct Set {
    /// What it is called.
    pub name: &'static str,
    /// The reader that it needs.
    pub format: Format,
    /// Its events.
    pub events: Published,
    /// Its items.
    pub items: Option<Published>,
    /// Its users.
    pub users: Option<Published>,
}

const RATING: [&str; 4] = ["user_id", "movie_id", "rating", "timestamp"];

/// The sets that are known by the names of their files; the first that fits counts.
pub const SETS: [Set; 17] = [
    Set {
        name: "MovieLens (ratings.dat)",
        format: Format::Movielens,
        events: bare("ratings", ".dat", "::", &RATING),
        items: Some(bare("movies", ".dat", "::", &["movie_id", "title", "genres"])),
        users: Some(bare(
            "users",
            ".dat",
            "::",
            &["user_id", "gender", "age", "occupation", "zip_code"],
        )),
    },
    Set {
        name: "MovieLens 100K",
        format: Format::Movielens,
        events: bare("u", ".data", "\t", &RATING),
        items: Some(bare(
            "u",
            ".item",
            "|",
            &[
                "movie_id",
                "title",
                "release_date",
                "video_release_date",
                "imdb_url",
                "unknown?",
                "Action?",
                "Adventure?",
                "Animation?",
                "Children's?",
                "Comedy?",
                "Crime?",
                "Documentary?",
                "Drama?",
                "Fantasy?",
                "Film-Noir?",
                "Horror?",
                "Musical?",
                "Mystery?",
                "Romance?",
                "Sci-Fi?",
                "Thriller?",
                "War?",
                "Western?",
            ],
        )),
        users: Some(bare(
            "u",
            ".user",
            "|",
            &["user_id", "age", "gender", "occupation", "zip_code"],
        )),
    },
    Set {
        name: "MovieLens (ratings.csv)",
        format: Format::Movielens,
        events: file("ratings", ".csv", ","),
        items: Some(file("movies", ".csv", ",")),
        users: None,
    },
    Set {
        name: "Book-Crossing",
        format: Format::Csv,
        events: escaped("BX-Book-Ratings"),
        items: Some(escaped("BX-Books")),
        users: Some(escaped("BX-Users")),
    },
    Set {
        name: "MIND",
        format: Format::Csv,
        events: bare(
            "behaviors",
            ".tsv",
            "\t",
            &["impression_id", "user_id", "time", "history", "impressions"],
        ),
        items: Some(bare(
            "news",
            ".tsv",
            "\t",
            &[
                "news_id",
                "category",
                "subcategory",
                "title",
                "abstract",
                "url",
                "title_entities",
                "abstract_entities",
            ],
        )),
        users: None,
    },
    Set {
        name: "Yelp",
        format: Format::Jsonl,
        events: file("yelp_academic_dataset_review", ".json", ""),
        items: Some(file("yelp_academic_dataset_business", ".json", "")),
        users: Some(file("yelp_academic_dataset_user", ".json", "")),
    },
    Set {
        name: "Yelp",
        format: Format::Jsonl,
        events: file("review", ".json", ""),
        items: Some(file("business", ".json", "")),
        users: Some(file("user", ".json", "")),
    },
    Set {
        name: "Steam",
        format: Format::Jsonl,
        events: file("steam_reviews", ".json", ""),
        items: Some(file("steam_games", ".json", "")),
        users: None,
    },
    Set {
        name: "Goodreads",
        format: Format::Jsonl,
        events: file("goodreads_interactions", ".json", ""),
        items: Some(file("goodreads_books", ".json", "")),
        users: None,
    },
    Set {
        name: "Goodreads",
        format: Format::Jsonl,
        events: file("goodreads_reviews", ".json", ""),
        items: Some(file("goodreads_books", ".json", "")),
        users: None,
    },
    Set {
        name: "Google Local",
        format: Format::Jsonl,
        events: file("review-", ".json", ""),
        items: Some(file("meta-", ".json", "")),
        users: None,
    },
    Set {
        name: "Food.com",
        format: Format::Csv,
        events: file("RAW_interactions", ".csv", ","),
        items: Some(file("RAW_recipes", ".csv", ",")),
        users: None,
    },
    Set {
        name: "Last.FM (HetRec)",
        format: Format::Csv,
        events: file("user_artists", ".dat", "\t"),
        items: Some(file("artists", ".dat", "\t")),
        users: None,
    },
    Set {
        name: "Last.FM 1K",
        format: Format::Csv,
        events: bare(
            "userid-timestamp-artid-artname-traid-traname",
            ".tsv",
            "\t",
            &["user_id", "timestamp", "artist_mbid", "brand", "track_id", "track_name"],
        ),
        items: None,
        users: None,
    },
    Set {
        name: "Last.FM 360K",
        format: Format::Csv,
        events: bare(
            "usersha1-artmbid-artname-plays",
            ".tsv",
            "\t",
            &["user_id", "artist_id", "artist_name", "plays"],
        ),
        items: None,
        users: None,
    },
    Set {
        name: "Gowalla",
        format: Format::Csv,
        events: bare(
            "loc-gowalla_totalCheckins",
            ".txt",
            "\t",
            &["user_id", "timestamp", "latitude", "longitude", "location_id"],
        ),
        items: None,
        users: None,
    },
    Set {
        name: "Brightkite",
        format: Format::Csv,
        events: bare(
            "loc-brightkite_totalCheckins",
            ".txt",
            "\t",
            &["user_id", "timestamp", "latitude", "longitude", "location_id"],
        ),
        items: None,
        users: None,
    },
];
