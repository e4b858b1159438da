//! What columns are called: the names under which published data sets and databases keep what the
//! engine asks for. A name is compared by its letters and digits alone, in lower case, so
//! `User-ID`, `user_id` and `userId` are one.

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Who.
    User,
    /// With what.
    Item,
    /// When.
    Time,
    /// How many seconds after the user's first event.
    SinceFirst,
    /// The place in the user's sequence.
    Place,
    /// How much it was liked.
    Rating,
    /// 0 where the item was shown and not taken.
    Label,
    /// Items before this one, oldest first.
    History,
    /// Items that were shown, each with `-1` behind it where it was taken, otherwise `-0`.
    Shown,
    /// What an item is called.
    Title,
    /// Who made it.
    Brand,
    /// What it belongs to.
    Categories,
    /// A short text that is no title.
    TextId,
    /// The headline of a review.
    Summary,
    /// A review.
    Text,
    /// The sentence of a review that explains the rating.
    Explanation,
    /// What the explanation is about.
    Feature,
    /// Which part of the data a review belongs to.
    Split,
}

/// What the rows of a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// What users did.
    Events,
    /// What items are like.
    Items,
    /// What users are like.
    Users,
}

/// Letters and digits of a name, in lower case.
pub fn squashed(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Names of an item that are good in any table.
const ITEM: &str = "itemid item parentasin asin productid product movieid businessid bookid isbn \
    isbn13 newsid articleid gameid appid artistid artistsid trackid tracksid albumsid songid \
    venueid locationid poiid placeid gmapid recipeid animeid videoid photoid beerid courseid sku \
    itemidx iid goodsid workid contentid";
const USER: &str = "userid user reviewerid customerid visitorid username anonymoususerid \
    accountid memberid profileid steamid studentid personid useridx uid sessionid session sessid";
const TITLE: &str = "title movietitle booktitle itemtitle producttitle gametitle newstitle \
    moviename itemname productname prodname appname gamename bookname trackname songname \
    artistname businessname venuename articletitle songtitle tracktitle originaltitle";
const CATEGORIES: &str = "categories category genres genre class classes subcategory \
    itemcategory productcategory moviegenres venuecategoryname venuecategory";

/// The squashed names of `field` in a table of `rows`, the best first; words with blanks between.
fn names(rows: Rows, field: Field) -> [&'static str; 2] {
    match (rows, field) {
        (Rows::Users, Field::User) => [USER, "id"],
        (Rows::Events, Field::User) => [USER, ""],
        // `id` names the row: an item in a table of items, nothing that is asked for in events.
        (Rows::Items, Field::Item) => ["itemid item id", ITEM],
        (Rows::Events, Field::Item) => [ITEM, ""],
        (Rows::Events, Field::Time) => [
            "unixtime timestamp time unixreviewtime timestampms eventtime interactiontime date \
             datetime dateadded createdat reviewtime ratingtime reviewdate utctimestamp utctime \
             checkintime eventtimestamp ratingtimestamp transactiondate ts posted dateupdated \
             eventdate tdat",
            "created day viewtime addedat updatedat publishedat",
        ],
        (Rows::Events, Field::SinceFirst) => ["secondssincefirst", ""],
        (Rows::Events, Field::Place) => ["pos", ""],
        (Rows::Events, Field::Rating) => {
            ["rating overall stars score bookrating userrating starrating reviewoverall", "ratings"]
        }
        (Rows::Events, Field::Label) => ["label isclick clicked click", ""],
        (Rows::Events, Field::History) => [
            "itemidlist history historyitemid historyitems clickhistory itemseq itemsequence \
             historyids sequence",
            "",
        ],
        (Rows::Events, Field::Shown) => ["impressions", ""],
        // In events `name` is as often the user's.
        (Rows::Events, Field::Title) => [TITLE, ""],
        (Rows::Items, Field::Title) => [TITLE, "name"],
        (Rows::Events | Rows::Items, Field::Brand) => ["brand brandname store", ""],
        (Rows::Events, Field::Categories) => ["categories category genres genre", ""],
        (Rows::Items, Field::Categories) => [CATEGORIES, ""],
        (Rows::Events | Rows::Items, Field::TextId) => ["textid", ""],
        (Rows::Events, Field::Summary) => ["summary reviewtitle reviewheadline headline", ""],
        (Rows::Events, Field::Text) => ["text reviewtext reviewbody review", "comment"],
        (Rows::Events, Field::Explanation) => ["explanation", ""],
        (Rows::Events, Field::Feature) => ["feature", ""],
        (Rows::Events, Field::Split) => ["split", ""],
        _ => ["", ""],
    }
}

/// How good `squashed` is as a name of `field`: 0 is best, `None` if it is none.
pub fn rank(rows: Rows, field: Field, squashed: &str) -> Option<usize> {
    let [names, last] = names(rows, field);
    names.split_whitespace().chain(last.split_whitespace()).position(|name| name == squashed)
}

/// Whether a table of `rows` is asked for `field`.
pub fn is_asked(rows: Rows, field: Field) -> bool {
    !names(rows, field)[0].is_empty()
}

/// Names of categories that count only where no better one is there, as `type` of MovieLens' larger
/// sets; elsewhere they are attributes.
pub const SPARE_CATEGORIES: [&str; 8] = [
    "type",
    "tags",
    "specs",
    "popularshelves",
    "maincategory",
    "maincat",
    "categoryname",
    "categoryid",
];

/// Names of lists that are written with commas, where a name holds no comma itself.
pub fn is_list(squashed: &str) -> bool {
    matches!(
        squashed,
        "categories" | "genres" | "genre" | "class" | "classes" | "moviegenres" | "tags" | "specs"
    )
}

/// Columns of published review files that tell the headline of a review from an item's title.
pub const REVIEWS: [&str; 4] = ["helpfulvote", "verifiedpurchase", "parentasin", "reviewid"];

/// Names that tell rows apart and say nothing about what an item or user is like: never attributes,
/// so that they reach no prompt (E4b).
pub fn is_identifier(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let last = lower.rsplit(['_', '-', ' ']).next().unwrap_or(&lower);
    matches!(last, "id" | "asin" | "raw" | "url" | "uid" | "uuid" | "isbn" | "isbn13")
        || lower.ends_with("asin")
        || matches!(&*squashed(name), "imurl" | "imageurl" | "imageurlhighres" | "reviewerid")
        || ["imageurl", "pictureurl", "imdburl"].iter().any(|url| squashed(name).starts_with(url))
}

/// Names of texts that describe at length: no attributes either, which are entities of a few words.
pub fn is_prose(name: &str) -> bool {
    matches!(
        &*squashed(name),
        "description"
            | "abstract"
            | "overview"
            | "plot"
            | "synopsis"
            | "titleentities"
            | "abstractentities"
            | "friends"
            | "steps"
            | "ingredients"
            | "tagline"
    )
}
