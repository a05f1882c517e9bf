"""The sentences of the golden answers: all our own, none from any data set.

Three groups: plain reviews, lengths around a model's token limit, and text that
tokenizers, JSON or terminals get wrong. Everything outside ASCII is spelled as an
escape, so that what is tested can be read here and survives any editor.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """A named text: `unit`, written `count` times in a row."""

    name: str
    unit: str
    count: int = 1

    @property
    def text(self) -> str:
        return self.unit * self.count


# A word that every vocabulary we test holds whole, with the space in front that
# byte-level BPE wants: n repetitions are n tokens, special tokens aside.
LIMIT_UNIT = " film"

LONG_REVIEW = (
    "I went in with low hopes and came out humming. The opening act is patient, warm "
    "and quietly funny: a retired ferry captain, played with enormous grace, decides "
    "to teach his granddaughter how to read the tide. Nothing much happens for twenty "
    "minutes, and I would not cut a second of it. The camera likes faces, the score "
    "knows when to be silent, and the dialogue sounds like people who have known each "
    "other for years. When the storm arrives it is frightening in the way weather is "
    "frightening, without villains or explosions, and the long crossing in the dark is "
    "the best sequence I have seen this year. I gripped the seat; so did the stranger "
    "next to me, who laughed at himself afterwards and offered me a mint. "
    "The middle hour is nearly as good. We learn why the captain stopped sailing, and "
    "the answer is small and human instead of grand and tragic. The granddaughter gets "
    "a subplot about a school play which should be filler and is anything but. A scene "
    "in a hardware shop, of all places, made half the audience cry. There are lovely "
    "details everywhere: a radio that only catches one station, a dog that refuses to "
    "board, a map folded so often that the island has worn away. If the story had ended "
    "there, at about ninety minutes, I would be telling everyone to buy a ticket today. "
    "Sadly it goes on. Somebody, somewhere, decided that a quiet drama needs a chase, "
    "and so the last forty minutes belong to a gang of smugglers who wander in from a "
    "much worse movie. The jokes turn sour, the editing becomes frantic, and the sea, "
    "so convincing before, is suddenly a cheap blue blur behind actors on a wet floor. "
    "The captain, who has been careful and kind all along, throws a man off a pier and "
    "makes a pun. The granddaughter vanishes for half an hour and returns with a flare "
    "gun. I kept waiting for somebody to wake up. Nobody did. The final speech explains "
    "the moral twice, in case we slept through it the first time, and the closing song "
    "is the kind that follows you home like a bad smell. What a waste of a wonderful "
    "beginning. It is hard to be angry with a film that gave me so much, but I am angry, "
    "and I suspect the people who made the first half are angrier still. See it on a "
    "night when you can leave early, walk out when the lights of the harbour appear, "
    "and invent your own ending on the way to the bus. You will do better than they did. "
    "The projectionist told me that the studio asked for the chase after a test showing "
    "in a shopping centre, where eleven people out of two hundred wrote the word slow on "
    "a card. Eleven people! I would have liked to meet the other hundred and eighty-nine, "
    "shake each of them by the hand, and ask where they were when the vote was counted. "
    "Two stars for the captain, two for the dog, and minus three for the smugglers."
)

PLAIN = (
    Sample("praise", "An absolute delight from the first scene to the last."),
    Sample("praise-short", "Loved it."),
    Sample("praise-one-word", "brilliant"),
    Sample("praise-comparison", "Easily the best film about bees I have ever seen."),
    Sample("praise-service", "The staff were kind and the room was spotless."),
    Sample("blame", "A dull, lazy mess that wastes a talented cast."),
    Sample("blame-short", "Awful."),
    Sample("blame-product", "The handle broke on the second day. I want a refund."),
    Sample("blame-understated", "I have had more fun at the dentist."),
    Sample("neutral", "The film opens on Friday and runs for two hours."),
    Sample("neutral-factual", "The box contains a charger, a cable and a manual."),
    Sample("mixed", "Great music, terrible script, average acting."),
    Sample("mixed-but", "It starts slowly, but the ending is wonderful."),
    Sample("mixed-reversed", "The ending is wonderful, but it starts so slowly."),
    Sample("negation", "This is not a good movie."),
    Sample("negation-positive", "Not bad at all!"),
    Sample("negation-double", "I can't say that I didn't enjoy it."),
    Sample("negation-far", "I don't think that anybody will find this funny."),
    Sample("question", "Why would anyone pay to see this?"),
    Sample("question-open", "Have you seen the new one yet?"),
    Sample("sarcasm", "Oh great, another sequel. Just what we needed."),
    Sample("numbers", "I'd give it 3.5/10, maybe 4 if you're under 12."),
    Sample("money", "Worth every cent of the $1,299.00 (incl. 20% VAT)."),
    Sample("url", "See https://example.com/reviews?id=42&sort=new#top for more."),
    Sample("email", "Write to fan.club+films@example.org, they answer fast!"),
    Sample("handle", "@someone this #movie is fire, 10/10 would watch again"),
    Sample("upper-case", "THE WORST EVENING OF MY LIFE"),
    Sample("mixed-case", "iT wAs AmAzInG, tHe CaSt Is SuPeRb"),
    Sample("typos", "defintely a greta moive, i recomend it to evryone"),
    Sample("elongated", "sooooooo goooooood!!!"),
    Sample("long-word", "Antidisestablishmentarianism is a funny word."),
    Sample("hyphens", "A well-made, wide-eyed, never-quite-boring thriller."),
    Sample("contractions", "It's what they'd've wanted; y'all shouldn't miss it."),
    Sample("abbreviations", "Dr. Who vs. Mr. X, e.g. in the U.S. at 9 p.m."),
    Sample("quotation", '"Breathtaking," she said, and I agree.'),
    Sample("list", "1. plot: weak\n2. cast: strong\n3. music: loud"),
    Sample("tweet", "RT: lol this movie tho... smh :( >_<"),
    Sample("tokenised", "it 's a warm , funny and n't-too-long film ."),
    Sample("german", "Der Film war gro\u00dfartig, die Musik \u00fcberw\u00e4ltigend."),
    Sample("french", "C'\u00e9tait na\u00eff, mais tr\u00e8s dr\u00f4le \u00e0 la fin."),
    Sample("spanish", "\u00bfPor qu\u00e9 es tan mala? \u00a1Qu\u00e9 pena, ni\u00f1o!"),
    Sample("russian", "\u041e\u0447\u0435\u043d\u044c \u0445\u043e\u0440\u043e\u0448\u0438\u0439 \u0444\u0438\u043b\u044c\u043c."),
    Sample("greek", "\u0395\u03be\u03b1\u03b9\u03c1\u03b5\u03c4\u03b9\u03ba\u03ae \u03c4\u03b1\u03b9\u03bd\u03af\u03b1, \u039f\u0394\u03a5\u03a3\u03a3\u0395\u03a5\u03a3."),
)  # fmt: skip

LONG = (
    Sample("long-review", LONG_REVIEW),
    Sample("long-positive", "The cast is superb and the story is a joy. ", 80),
    Sample("long-many-lines", "A tired joke, badly told.\n\n", 100),
)

EMOJI = (
    Sample("emoji", "\U0001f600"),
    Sample("emoji-in-text", "great film \U0001f44d\U0001f389, sad end \U0001f622"),
    Sample("emoji-heart-variation", "I \u2764\ufe0f it, not \u2764 or \u2764\ufe0e"),
    Sample("emoji-zwj-family", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 loved it"),
    Sample("emoji-zwj-flag", "\U0001f3f3\ufe0f\u200d\U0001f308 and \U0001f3f4\u200d\u2620\ufe0f"),
    Sample("emoji-skin-tones", "\U0001f44d\U0001f3fb\U0001f44d\U0001f3fd\U0001f44d\U0001f3ff"),
    Sample("emoji-flags", "\U0001f1eb\U0001f1f7\U0001f1ef\U0001f1f5\U0001f1e7"),
    Sample("emoji-keycap", "1\ufe0f\u20e3 place, #\ufe0f\u20e3 tag"),
)  # fmt: skip

UNICODE = (
    Sample("nfc", "Caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \uac01"),
    Sample("nfd", "Cafe\u0301 nai\u0308ve A\u030angstro\u0308m \u1100\u1161\u11a8"),
    Sample("compatibility", "\u212b \u2126 \ufb01ne \u00b2 \u2460 \u33a5"),
    Sample("combining-stack", "z\u0351\u0352\u0353\u0354a\u0300\u0301\u0302\u0303\u0304l\u0334\u0335\u0336g\u035c\u0361o"),
    Sample("combining-alone", "\u0301"),
    Sample("combining-first", "\u0301 accent first, then \u20dd"),
    Sample("chinese", "\u8fd9\u90e8\u7535\u5f71\u975e\u5e38\u597d\u770b\uff01"),
    Sample("japanese", "\u3068\u3066\u3082\u9762\u767d\u3044\u6620\u753b\u3067\u3057\u305f\u3002\u30ac\u30ae\u30b0"),
    Sample("korean", "\uc815\ub9d0 \uc7ac\ubbf8\uc788\ub294 \uc601\ud654\uc608\uc694"),
    Sample("cjk-latin", "good\u7535\u5f71movie \u597d\u597dok2\u4e2a"),
    Sample("cjk-extension-b", "\U00020000\U0002a6d6 \U0002f800 rare"),
    Sample("arabic", "\u0641\u064a\u0644\u0645 \u0631\u0627\u0626\u0639 \u062c\u062f\u0627\u064b\u060c \u0661\u0662\u0663"),
    Sample("hebrew-points", "\u05e1\u05b6\u05e8\u05b6\u05d8 \u05d8\u05d5\u05d1 \u05de\u05d0\u05d5\u05d3"),
    Sample("bidi-marks", "\u200fgood \u202ebad\u202c \u2067film\u2069 \u200eend \u061c."),
    Sample("thai", "\u0e2b\u0e19\u0e31\u0e07\u0e40\u0e23\u0e37\u0e48\u0e2d\u0e07\u0e19\u0e35\u0e49\u0e2a\u0e19\u0e38\u0e01\u0e21\u0e32\u0e01"),
    Sample("devanagari", "\u092f\u0939 \u092b\u093f\u0932\u094d\u092e \u0905\u091a\u094d\u091b\u0940 \u0939\u0948\u0964"),
    Sample("tamil", "\u0ba8\u0bb2\u0bcd\u0bb2 \u0baa\u0b9f\u0bae\u0bcd"),
    Sample("turkish-i", "\u0130STANBUL \u0131\u015f\u0131k I i \u0130i\u0307"),
    Sample("sharp-s", "stra\u00dfe STRASSE \u1e9e \u017f"),
    Sample("final-sigma", "\u03a3\u03a3 \u03c3\u03c2 \u039f\u03a3"),
    Sample("cherokee-georgian", "\u13a0\uab70 \u10d0\u1c90"),
    Sample("mathematical", "\U0001d4d6\U0001d4fb\U0001d4ee\U0001d4ea\U0001d4fd \U0001d417\U0001d7d9 film"),
    Sample("fullwidth", "\uff27\uff52\uff45\uff41\uff54\u3000\uff11\uff12\uff01 \uff76\uff9e"),
    Sample("ligatures", "\ufb00\ufb01\ufb02\ufb03\ufb04 \u0153uvre \u00c6on \ufdfa"),
    Sample("superscripts", "E=mc\u00b2 H\u2082O 1\u00bd \u2122 \u00aa"),
    Sample("astral-letters", "\U00010400\U00010428 \U00010330 \U0001f130"),
    Sample("private-use", "a\ue000b \U000f0000 \U0010fffd"),
    Sample("unassigned", "a\u0378b \U0003fffd \U000e0080"),
    Sample("non-characters", "a\ufffe\uffff\ufdd0 \U0010ffff b"),
    Sample("tag-characters", "flag \U0001f3f4\U000e0067\U000e0062\U000e007f ok"),
)  # fmt: skip

INVISIBLE = (
    Sample("empty", ""),
    Sample("space", " "),
    Sample("spaces", " ", 50),
    Sample("newlines", "\n", 10),
    Sample("tabs-newlines", "\t\r\n\x0b\x0c \t\n"),
    Sample("space-around", "  \t good film \n "),
    Sample("space-inside", "good     film\t\tbad\r\n\r\nend"),
    Sample("carriage-return", "good\rfilm"),
    Sample(
        "unicode-spaces",
        "a\u00a0b\u1680c\u2000d\u2001e\u2002f\u2003g\u2004h\u2005i\u2006j\u2007k"
        "\u2008l\u2009m\u200an\u2028o\u2029p\u202fq\u205fr\u3000s\u0085t",
    ),
    Sample("unicode-spaces-only", "\u00a0\u2003\u3000\u2028\u0085"),
    Sample("nul", "\x00"),
    Sample("nul-inside", "good\x00film \x00 end"),
    Sample("control-c0", "a\x01b\x02c\x07d\x08e\x0bf\x0cg\x1bh\x1fi"),
    Sample("control-c1", "a\x7fb\x80c\x8dd\x9fe"),
    Sample("ansi-escape", "\x1b[31mred\x1b[0m film"),
    Sample("replacement", "\ufffd"),
    Sample("replacement-inside", "go\ufffdod film \ufffd end"),
    Sample("byte-order-mark", "\ufeffgood film"),
    Sample("byte-order-mark-inside", "good\ufefffilm"),
    Sample("zero-width", "go\u200bod \u200cfi\u200dlm\u2060 end\u180e"),
    Sample("zero-width-only", "\u200b\u200b\u2060"),
    Sample("soft-hyphen", "won\u00adder\u00adful \u00ad"),
    Sample("variation-selectors", "a\ufe00b\ufe0fc\U000e0100d"),
    Sample("interlinear", "a\ufff9b\ufffac\ufffbd \ufffc"),
)

SPECIAL_TOKENS = (
    Sample("special-sep", "good [SEP] film"),
    Sample("special-cls-mask", "[CLS] [MASK]"),
    Sample("special-pad", "[PAD][PAD] [PAD]"),
    Sample("special-unk", "an [UNK]nown[UNK] word"),
    Sample("special-lower-case", "[cls] good [sep] [mask]"),
    Sample("special-roberta", "<s>good</s></s> film</s>"),
    Sample("special-roberta-mask", "a <mask> film, a<mask>film, a  <mask>  film"),
    Sample("special-roberta-pad", "<pad><unk> <pad>"),
    Sample("special-broken", "[SEP [ SEP ] <s > < /s> [[SEP]]"),
    Sample("special-only", "[CLS][SEP]"),
    Sample("wordpiece-marks", "##ing un##able ## \u0120film \u2581film \u010a"),
)

SYNTAX = (
    Sample("punctuation", "!?.,;:'\"()[]{}<>-_=+*&^%$#@~`|/\\"),
    Sample("punctuation-flood", "!", 300),
    Sample("punctuation-mixed", "?!... ", 100),
    Sample("typographic", "\u201cgood\u201d \u2018film\u2019 \u2014 \u2013 \u2026 \u00ab\u00bb \u2022 \u203d"),
    Sample("currency", "\u20ac5 \u00a35 \u00a55 \u20bf5 5\u00a2"),
    Sample("symbols", "\u00a9 \u00ae \u00b0 \u00b1 \u00d7 \u2192 \u221e \u2260 \u2713 \u25a0"),
    Sample("html", "<p class=\"x\">good <b>film</b>&nbsp;&amp; more<br/></p>"),
    Sample("script", "<script>alert('x')</script>"),
    Sample("json", '{"text": ["good", null, 1e-5], "a\\"b": {}}'),
    Sample("backslashes", "C:\\films\\new\\u0041 \\n \\\\ \\x00 \\"),
    Sample("quotes", "\"'`\"\"''``\u2032\u2033"),
    Sample("percent-format", "%s %d %00 {0} {{}} ${HOME} $(id)"),
    Sample("sql", "'; DROP TABLE films; --"),
    Sample("code", "if (a<b && c>d) { return x_1[0] != -1; } // good"),
    Sample("markdown", "# Title\n**good** _film_ [link](http://a.b) `x`"),
    Sample("digits", "12345678901234567890 1,000,000.00 1e10 0x1F"),
)  # fmt: skip

# WordPiece gives up on words of more than 100 characters; the others must not.
HUGE = (
    Sample("word-99", "a", 99),
    Sample("word-100", "a", 100),
    Sample("word-101", "a", 101),
    Sample("word-100-accents", "\u00e9", 100),
    Sample("word-101-accents", "\u00e9", 101),
    Sample("word-100-astral", "\U00010428", 100),
    Sample("letter-100k", "a", 100_000),
    Sample("emoji-100k", "\U0001f600", 25_000),
    Sample("cjk-100k", "\u597d", 33_333),
    Sample("combining-100k", "\u0301", 50_000),
    Sample("spaces-100k", " ", 100_000),
    Sample("words-100k", "good ", 20_000),
)


def around_limit(limit: int) -> tuple[Sample, ...]:
    """Texts of limit - 2 ... limit + 1 tokens, two special tokens included."""
    return tuple(
        Sample(f"limit-{tokens}-tokens", LIMIT_UNIT, tokens - 2)
        for tokens in range(limit - 2, limit + 2)
    )


def samples(limit: int) -> tuple[Sample, ...]:
    """All texts for a model that reads at most `limit` tokens."""
    groups = (
        PLAIN,
        LONG,
        around_limit(limit),
        EMOJI,
        UNICODE,
        INVISIBLE,
        SPECIAL_TOKENS,
        SYNTAX,
        HUGE,
    )
    return tuple(sample for group in groups for sample in group)
