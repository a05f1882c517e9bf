//! The lists of words.
//!
//! Common words of reviews and messages, chosen and weighted by hand for this example,
//! from 1 (mild) to 2.5 (strong), positive or negative. A weight follows what the word
//! usually means in an opinion: *like* is a verb, *cold* is a fault.

/// The weight of a word, in lower case, if it is in the list.
pub(crate) fn weight(word: &str) -> Option<f32> {
    let place = WEIGHTS.binary_search_by_key(&word, |(known, _)| known);
    place.ok().map(|place| WEIGHTS[place].1)
}

/// The factor of a word that changes the weight of the next word.
pub(crate) fn boost(word: &str) -> Option<f32> {
    match word {
        "absolutely" | "completely" | "extremely" | "incredibly" | "totally" | "utterly" => {
            Some(1.6)
        }
        "especially" | "highly" | "most" | "quite" | "really" | "so" | "such" | "too" | "truly"
        | "very" => Some(1.3),
        "almost" | "fairly" | "kinda" | "mildly" | "partly" | "rather" | "slightly"
        | "somewhat" => Some(0.6),
        _ => None,
    }
}

/// Whether a word inverts the weights of the next words.
pub(crate) fn is_negation(word: &str) -> bool {
    matches!(
        word,
        "cannot"
            | "hardly"
            | "lack"
            | "neither"
            | "never"
            | "no"
            | "nobody"
            | "none"
            | "nor"
            | "not"
            | "nothing"
            | "without"
    ) || word.ends_with("n't")
}

/// In the order of the words.
#[rustfmt::skip]
const WEIGHTS: &[(&str, f32)] = &[
    ("abysmal", -2.5), ("adorable", 1.7), ("agreeable", 1.0), ("amazing", 2.5),
    ("amusing", 1.7), ("angry", -1.7), ("annoyed", -1.7), ("annoying", -1.7),
    ("appalling", -2.5), ("atrocious", -2.5), ("average", -1.0), ("awesome", 2.5),
    ("awful", -2.5), ("bad", -1.7), ("badly", -1.7), ("beautiful", 2.5), ("beautifully", 1.7),
    ("best", 2.5), ("better", 1.0), ("bland", -1.7), ("bore", -1.7), ("bored", -1.7),
    ("boredom", -1.0), ("boring", -1.7), ("brilliant", 2.5), ("broke", -1.7), ("broken", -1.7),
    ("calm", 1.0), ("captivating", 1.7), ("charming", 1.7), ("cheap", -1.0), ("clever", 1.0),
    ("cliche", -1.0), ("clichéd", -1.7), ("clumsy", -1.0), ("cold", -1.0),
    ("comfortable", 1.0), ("compelling", 1.7), ("complicated", -1.0), ("confused", -1.0),
    ("confusing", -1.0), ("contrived", -1.7), ("cool", 1.0), ("crap", -2.5), ("crash", -1.7),
    ("crashes", -1.7), ("cute", 1.0), ("damaged", -1.7), ("decent", 1.0), ("delayed", -1.0),
    ("delight", 1.7), ("delighted", 1.7), ("delightful", 2.5), ("delightfully", 1.7),
    ("despise", -2.5), ("despised", -2.5), ("difficult", -1.0), ("dirty", -1.7),
    ("disappoint", -1.7), ("disappointed", -1.7), ("disappointing", -1.7),
    ("disappointment", -1.7), ("disaster", -2.5), ("disastrous", -2.5), ("disgusting", -2.5),
    ("dreadful", -2.5), ("dreary", -1.7), ("dull", -1.7), ("easy", 1.0), ("elegant", 1.7),
    ("empty", -1.0), ("enchanting", 1.7), ("engaging", 1.7), ("enjoy", 1.7),
    ("enjoyable", 1.7), ("enjoyed", 1.7), ("enjoying", 1.7), ("entertaining", 1.7),
    ("excellent", 2.5), ("exceptional", 2.5), ("exciting", 1.7), ("exquisite", 2.5),
    ("extraordinary", 2.5), ("fabulous", 2.5), ("fail", -1.0), ("failed", -1.7),
    ("failing", -1.0), ("fails", -1.7), ("failure", -1.7), ("fair", 1.0), ("fake", -1.7),
    ("familiar", -1.0), ("fantastic", 2.5), ("fascinating", 1.7), ("fast", 1.0),
    ("favorite", 1.0), ("favourite", 1.0), ("fine", 1.0), ("flat", -1.0), ("flawless", 2.5),
    ("forced", -1.0), ("fresh", 1.0), ("friendly", 1.0), ("frustrated", -1.7),
    ("frustrating", -1.7), ("fun", 1.7), ("funny", 1.7), ("garbage", -2.5), ("gentle", 1.0),
    ("genuine", 1.0), ("glad", 1.7), ("good", 1.7), ("gorgeous", 2.5), ("grateful", 1.7),
    ("great", 2.5), ("gripping", 1.7), ("happy", 1.7), ("hard", -1.0), ("hate", -2.5),
    ("hated", -2.5), ("hateful", -2.5), ("hates", -2.5), ("helpful", 1.0), ("hideous", -2.5),
    ("hilarious", 1.7), ("honest", 1.0), ("hope", 1.7), ("horrible", -2.5), ("horribly", -2.5),
    ("horrid", -2.5), ("horrific", -2.5), ("impressed", 1.7), ("impressive", 1.7),
    ("incoherent", -1.7), ("incredible", 2.5), ("inept", -1.7), ("inspired", 1.7),
    ("inspiring", 1.7), ("insufferable", -2.5), ("insulting", -1.7), ("interesting", 1.0),
    ("irritating", -1.7), ("joy", 1.7), ("joyful", 1.7), ("lacking", -1.0), ("lacks", -1.0),
    ("lame", -1.7), ("late", -1.0), ("laugh", 1.7), ("laughed", 1.7), ("laughs", 1.7),
    ("lie", -1.7), ("lies", -1.7), ("lifeless", -1.7), ("like", 1.0), ("liked", 1.0),
    ("likes", 1.0), ("loathe", -2.5), ("long", -1.0), ("lost", -1.7), ("loud", -1.0),
    ("lousy", -1.7), ("love", 2.5), ("loved", 2.5), ("lovely", 1.7), ("loves", 2.5),
    ("magnificent", 2.5), ("marvellous", 2.5), ("marvelous", 2.5), ("masterful", 2.5),
    ("masterpiece", 2.5), ("mediocre", -1.7), ("memorable", 1.7), ("mess", -1.0),
    ("miserable", -1.7), ("missing", -1.0), ("moving", 1.7), ("nasty", -2.5), ("nice", 1.0),
    ("noisy", -1.0), ("nonsense", -1.7), ("odd", -1.0), ("old", -1.0), ("original", 1.0),
    ("outstanding", 2.5), ("overlong", -1.0), ("painful", -1.7), ("pathetic", -1.7),
    ("perfect", 2.5), ("perfection", 2.5), ("perfectly", 2.5), ("phenomenal", 2.5),
    ("pleasant", 1.0), ("pleased", 1.7), ("pleasure", 1.7), ("pointless", -1.7),
    ("polished", 1.0), ("poor", -1.7), ("poorly", -1.7), ("powerful", 1.7),
    ("predictable", -1.0), ("pretty", 1.0), ("problem", -1.0), ("problems", -1.0),
    ("quick", 1.0), ("recommend", 1.7), ("recommended", 1.7), ("refreshing", 1.7),
    ("refund", -1.7), ("regret", -1.7), ("reliable", 1.0), ("remarkable", 2.5),
    ("repetitive", -1.0), ("rewarding", 1.7), ("rich", 1.0), ("rubbish", -2.5), ("rude", -1.7),
    ("ruined", -1.7), ("sad", -1.0), ("safe", 1.0), ("satisfying", 1.7), ("shallow", -1.0),
    ("silly", -1.7), ("sincere", 1.0), ("slow", -1.0), ("smart", 1.7), ("solid", 1.0),
    ("sorry", -1.0), ("soulless", -1.7), ("spectacular", 2.5), ("splendid", 2.5),
    ("stale", -1.7), ("strange", -1.0), ("strong", 1.0), ("stunning", 2.5), ("stupid", -1.7),
    ("sublime", 2.5), ("success", 1.7), ("successful", 1.7), ("superb", 2.5), ("sweet", 1.0),
    ("talented", 1.7), ("tedious", -1.7), ("tender", 1.0), ("terrible", -2.5),
    ("terrific", 2.5), ("thank", 1.0), ("thanked", 1.0), ("thanks", 1.0), ("thin", -1.0),
    ("thoughtful", 1.7), ("thrilling", 1.7), ("tired", -1.0), ("tiresome", -1.7),
    ("torture", -2.5), ("touching", 1.7), ("trash", -2.5), ("triumph", 1.7), ("ugly", -1.7),
    ("unbearable", -2.5), ("unconvincing", -1.7), ("uneven", -1.0), ("unfortunately", -1.0),
    ("unfunny", -1.7), ("unhappy", -1.7), ("unpleasant", -1.7), ("unwatchable", -2.5),
    ("upset", -1.7), ("useful", 1.0), ("useless", -1.7), ("vile", -2.5), ("vivid", 1.7),
    ("warm", 1.7), ("warmth", 1.0), ("waste", -1.7), ("wasted", -1.7), ("wasting", -1.7),
    ("weak", -1.0), ("weird", -1.0), ("well", 1.0), ("winning", 1.7), ("wise", 1.7),
    ("witty", 1.7), ("wonderful", 2.5), ("wonderfully", 2.5), ("wooden", -1.0), ("work", 1.0),
    ("works", 1.0), ("worn", -1.0), ("worse", -1.7), ("worst", -2.5), ("worth", 1.0),
    ("worthless", -2.5), ("worthwhile", 1.0), ("worthy", 1.0), ("wrong", -1.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_order_so_that_every_word_is_found() {
        assert!(WEIGHTS.is_sorted_by(|a, b| a.0 < b.0));
        for (word, expected) in WEIGHTS {
            assert_eq!(weight(word), Some(*expected), "{word}");
        }
        for word in ["", "table", "GOOD", "goodish"] {
            assert_eq!(weight(word), None, "{word}");
        }
    }

    #[test]
    fn words_have_one_meaning_each() {
        for (word, weight) in WEIGHTS {
            assert!((1.0..=2.5).contains(&weight.abs()), "{word}");
            assert!(!is_negation(word) && boost(word).is_none(), "{word}");
            assert!(
                word.len() <= 24 && word.chars().all(char::is_lowercase),
                "{word}"
            );
        }
    }
}
