"""How Wikipedia leads state facts: for each kind of page a table of relation, trigger words and pattern."""

from __future__ import annotations

import re
from functools import cache

from mtr_env.worlds.extract_words import NATION

# -- pieces of patterns; every quantifier is bounded, so that an attempt costs no more than its own length
UP = "[" + "".join(c for c in map(chr, range(0x41, 0x250)) if c.isupper()) + "ḤṢṬẒ]"
MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = (
    rf"(?<!\d)(?:\d{{1,2}} {MONTH},? \d{{3,4}}|{MONTH} \d{{1,2}}, \d{{3,4}}|{MONTH},? \d{{4}}|\d{{3,4}}(?: BC)?)"
    r"(?![\d\w-])"
)
WORD = (
    rf"(?:(?:{UP}\.){{1,3}}|(?:Jr|Sr|St|Dr|Mr|Mrs)\.|"
    rf"(?:[dDlLO]['’])?{UP}[\w'’]{{0,30}}(?:[-–] ?\w[\w'’]{{0,20}}){{0,3}})"
)
SMALL = (
    "(?:de|da|di|do|dos|das|del|della|der|den|du|des|la|le|las|los|van|von|af|av|zu|"
    "bin|bint|ibn|al|el|ben|mac|y|i|à|-e|-ye)"
)
NEW = "(?!(?:The|It|He|She|In|His|Her|This|They|On|At|As|Its|Since|After)\\b)"  # these begin a sentence, not a surname
NAME = rf"(?:{SMALL} ){{0,2}}{WORD}(?: (?:{SMALL} ){{0,3}}{NEW}{WORD}){{0,6}}"
NOBLE = (  # "John II of France", "Charles Howard, 1st Earl of Carlisle"
    rf"{NAME}(?:(?: of(?: the)?| the) {NAME}){{0,2}}"
    rf"(?:, (?:\d{{1,2}}\w\w |Grand )?(?:Duke|Duchess|Count|Countess|Prince|Princess|Earl|King|Baron|Elector|Margrave|"
    rf"Landgrave|Lord|Marquess|Viscount)(?: of {NAME}| {NAME}){{1,2}})?"
)
LOWER = (
    r"(?:(?!(?:of|in|at|on|from|for|with|his|her|its|which|who|an?|both|de|von|van|di|du|la|mac|to|as|by|into|than|when|"
    r"where|not)\b)[a-z][a-z/-]{1,20},? )"
)
ROLE_END = (
    "(?:er|or|ist|ian|man|star|head|king|shah|eur|captain|icon|legend|chief|actress|heroine|magnate|artist|native|"
    "alumna|alumnus)s?"
)
ROLE = (  # what may stand between "directed by" and the name: "the American film director and actor "
    rf"(?:the )?(?:(?:{NATION})[ -]{{1,2}}){{0,2}}{LOWER}{{0,4}}"
    rf"(?:{UP}[\w-]{{1,20}} (?=[a-z]{{0,12}}{ROLE_END}\b){LOWER}{{1,3}})?"
)
AND = r"(?:, and |, | and | & )"
LIST = rf"{NAME}(?:{AND}{NAME}){{0,9}}"
PLACE = (
    rf"{NAME}(?: of {NAME})?"
    rf"(?:, {NAME}(?= ?[,.;)]|$| and| on| in| to| -| –| where| before| but| as| at)){{0,3}}"
)
ORG = (
    rf"(?:{WORD} ){{0,5}}(?:University|College|School|Academy|Institute|Conservatory|Conservatoire)\b"
    rf"(?:(?: of(?: the)?| for| in) {WORD}(?: (?:and )?{WORD}){{0,3}}){{0,2}}"
)
AWARD = (
    rf"(?:\d{{4}} )?(?:{WORD} ){{1,5}}(?:Award|Prize|Medal|Cross|Oscar)"
    rf"(?: (?:for|in) (?:{WORD} ?(?:in a |in |of )?){{1,6}})?"
)
OFFICE = (
    r"(?:Prime Minister|President|Governor|Mayor|Chancellor|King|Queen|Emperor|Sultan|Archbishop|Bishop|Chief Minister|"
    r"Speaker|Ambassador|Chief Justice|Secretary|Minister|Attorney General|Lieutenant Governor|Vice President)"
)
BY = rf"(?:[a-z, -]{{3,40}} )?by {ROLE}"
# "daughter of Alice and Ernest" states no father: two parents, and the first has a woman's first name
WOMAN_FIRST = (
    r"(?:\w+a|Mary|Alice|Tish|Anne?|Jane|Elizabeth|Margaret|[CK]atherine|Joan|Susan|Helen|Sarah|Ruth|Florence|Rose|Agnes|"
    r"Eleanor|Isabel|Isabelle|Charlotte|Louise|Caroline|Marie|Melanie|Goldie|Kate|Emily|Judy|Janet|Nancy|Betty|Jean)"
    r" [^.;]{1,60}? and "
)
HER_TITLE = r"(?:[\w-]{1,20} ){0,3}(?:actress|singer|Queen|Princess|Lady|Duchess|Countess|Empress)\b"
BORN_OF = rf"(?:and (?:sole )?heir(?:ess)? )?of (?:the )?(?:late )?(?!{HER_TITLE}){ROLE}(?!{WOMAN_FIRST})"

# fmt: off
# kinds, relation, triggers (lower case; they begin a word), the pattern of what follows; group 1 is the object
ROWS = (
    ("person", "date of birth", "born ", rf"(?:on |in )?({DATE})"),
    ("person", "place of birth", "born ", rf"(?:and raised |(?:on |in )?{DATE},? )?(?:in|at) ({PLACE})"),
    ("person", "date of death", "died ", rf"(?:suddenly )?(?:in {PLACE} )?(?:on|in) ({DATE})"),
    ("person", "place of death", "died ", rf"(?:suddenly )?(?:(?:on|in) {DATE},? )?(?:in|at) ({PLACE})"),
    ("person", "cause of death", "died ", r"(?:suddenly )?(?:of|from) (?!the disease|a year)(?:an? |the )?"
     r"([a-z][a-z' -]{2,40}?)(?= (?:in|at|on|when|while|after|aged?|during)\b|[,.;]|$)"),
    ("person", "place of burial", "buried ", rf"(?:in|at) (?:the )?({PLACE})"),
    ("person", "spouse", "married ", rf"(?:to )?{ROLE}({NOBLE})"),
    ("person", "spouse", "wife |husband |widow ", rf"(?:of |was |is ){ROLE}({NOBLE})"),
    ("person", "spouse", "marriage to ", rf"{ROLE}({NOBLE})"),
    ("person", "father", "son |daughter |child ", rf"{BORN_OF}({NOBLE})(?!,? (?:and|by) her)"),
    ("person", "father", "father ", rf"(?:was |is ){ROLE}({NOBLE})"),
    ("person", "mother", "mother ", rf"(?:was |is ){ROLE}({NOBLE})"),
    ("person", "mother", "son |daughter |child ",
     rf"{BORN_OF}{NOBLE},? (?:and|by) (?:(?:his|her) (?:\w+ )?wife,? )?{ROLE}({NOBLE})"),
    ("person", "child", "father |mother ", rf"of (?!the [A-Z]){ROLE}({NOBLE})"),
    ("person", "sibling", "brother of |sister of ", rf"{ROLE}({NOBLE})"),
    ("person", "educated at", "graduated from |educated at |attended ", rf"(?:the )?({ORG})"),
    ("person", "educated at", "studied ", rf"(?:[\w ]{{1,40}} )?at (?:the )?({ORG})"),
    ("person", "employer", "professor ", rf"(?:(?:emeritus )?(?:of|in) [\w ]{{1,50}} )?at (?:the )?({ORG})"),
    ("person", "award received", "won |awarded |received |earned ", rf"(?:the |an? |his |her )?({AWARD})"),
    ("person", "position held", "served as |was the |is the |became ",
     rf"(?:the )?(?:\d{{1,3}}\w\w |current |former |first )?({OFFICE} of (?:the )?{NAME}(?: (?:of|and) {NAME})?)"),
    ("person", "member of sports team", "plays |played ",
     rf"(?:(?!college )[\w-]{{1,20}} ){{0,6}}for (?:the )?({NAME})"),
    ("film show", "director", "directed ", rf"{BY}({LIST})"),
    ("film show", "director", "film by |documentary by |documentary series by ", rf"{ROLE}({LIST})"),
    ("film show", "screenwriter", "written |screenplay |scripted ", rf"{BY}({LIST})"),
    ("film show song album", "producer", "produced ", rf"{BY}({LIST})"),
    ("film show", "composer", "music |score |soundtrack ",
     rf"(?:(?:is |was |were )?composed |is |was )?by {ROLE}({LIST})"),
    ("song", "composer", "composed by ", rf"{ROLE}({LIST})"),
    ("film show", "cast member", "starring |stars ", rf"{ROLE}({LIST})"),
    ("show", "creator", "created by ", rf"{ROLE}({LIST})"),
    ("show", "presenter", "hosted by |presented by ", rf"{ROLE}({LIST})"),
    ("song album", "performer",
     "song by |single by |album by |ep by |ballad by |mixtape by |recorded by |performed by ", rf"{ROLE}({LIST})"),
    ("song album", "record label", "through |on |via |by |label ", rf"(?:the )?((?:{WORD} ){{1,3}}Records)\b"),
    ("song", "part of", "from ", r"(?:his|her|their|the|its) [\w ,-]{0,40}album,? [\"“] ?([^\"”“]{1,60}?) ?[\"”]"),
    ("book", "author", "novel by |novella by |book by |memoir by |poem by |play by |written by |manga by ",
     rf"{ROLE}({LIST})"),
    ("book periodical product", "publisher", "published by ", rf"(?:the )?({NAME})"),
    ("film song album show product", "publication date", "released ", rf"(?:\w+ )?(?:on|in) ({DATE})"),
    ("book", "publication date", "published ", rf"(?:on|in) ({DATE})"),
    ("show", "publication date", "premiered ", rf"on ({DATE})"),
    ("product", "developer", "developed ", rf"(?:and \w+ )?by {ROLE}({NAME})"),
    ("product", "manufacturer", "manufactured by |produced by |built by ", rf"(?:the )?({NAME})"),
    ("org band site periodical", "founded by", "founded |established ", rf"(?:in \d{{4}} )?by {ROLE}({LIST})"),
    ("org band site periodical place", "inception", "founded |established |formed |incorporated ",
     rf"(?:by {ROLE}{LIST} )?(?:on|in) ({DATE})"),
    ("org", "headquarters location", "headquartered |based ", rf"in ({PLACE})"),
    ("band", "location of formation", "formed |band |group |duo |trio ", rf"(?:in {DATE} )?(?:in|from) ({PLACE})"),
    ("org site periodical product", "owned by", "owned by |subsidiary of ", rf"(?:the )?({NAME})"),
    ("place", "population", "population ",
     r"(?:(?!density|growth)\w+ ){0,3}?(\d{1,3}(?:,\d{3})+|\d{2,6})(?![\d,]*\d|\w| census| estimate| or )"),
    ("place", "capital", "capital ", rf"(?:city )?(?:is|was) ({NAME})"),
    ("place", "capital of", "is the capital |was the capital |and the capital ",
     rf"(?:city )?of (?:the )?({NAME}(?: of {NAME})?)"),
    ("place site product", "named after", "named after |named for |named in honor of |named in honour of ",
     rf"{ROLE}({NAME})"),
)
# fmt: on
Row = tuple[str, re.Pattern[str]]


@cache
def table(kind: str) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """The rows of a kind by trigger, so that each trigger is looked for once; compiled when first asked for.

    A trigger is given without the space that ends it: a search for the space would stop at every word.
    """
    rows: dict[str, list[Row]] = {}
    for kinds, name, triggers, follows in ROWS:
        for trigger in triggers.split("|") if kind in kinds.split() else ():
            rows.setdefault(trigger, []).append((name, re.compile(follows)))
    return tuple((trigger.removesuffix(" "), tuple(group)) for trigger, group in rows.items())


# a subject has one of these: the first statement wins
SINGLE = frozenset(
    "date of birth|date of death|place of birth|place of death|publication date|inception|population|cause of death|"
    "place of burial|father|mother|capital|headquarters location|location of formation".split("|")
)
DATED = frozenset("date of birth|date of death|publication date|inception".split("|"))
# their objects are lists of names
PEOPLE = frozenset(
    "director|screenwriter|producer|composer|cast member|creator|presenter|performer|author|founded by".split("|")
)

# -- the definition, the life dates, the places of a definition
DEFINES = re.compile(r"[\s,)](?:is|was|are|were) (?:(?:an?|the|one of|his|her|now|also) ){0,3}")
STOP = re.compile(
    r"[,;:(.\n\"“]| (?:by|in|of|from|for|who|whose|which|that|at|on|to|with|about|starring|directed|written|released|"
    r"filmed|shot|made|played|recorded|sung|performed|composed|designed|built|owned|operated|developed|used|including|"
    r"after|during|under|through|between|along|within|as|is|was|has|had|covering|adapted|originally|where|and the|"
    r"based|located|formed|founded|produced|serving|known|best|published|created|featuring|situated|near|set)\b|$"
)
PAREN = re.compile(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
DASH = re.compile(r" ?[–—] ?|(?<=\d) ?- ?(?=[\dA-Z])| - ")
ONE_DATE = re.compile(DATE)
EXACT = re.compile(rf"\d {MONTH}|{MONTH} \d\d?,")
DAY = rf"(\d{{1,2}} {MONTH} \d{{4}}|{MONTH} \d{{1,2}}, \d{{4}})"
TWO_DAYS = re.compile(rf"{DAY} ?{DAY}")  # the dash between them got lost
VAGUE = re.compile(
    r"\b(?:c|ca|circa|fl|r|reign\w*|rule[ds]?|about|before|after|between|or|bapti\w+|active|flourished)\b\.? ?$|\?"
)
IN_PLACE = re.compile(rf"(?:,? (?:in|at) |,? )(?![ABC]\.?[DCE]\b)({PLACE})(?= ?$|[;,])")
PLACE_AT = re.compile(rf" ?(?:born )?(?:in )?({PLACE}),? (?:on )?$")
PERSON_STOP = re.compile(
    r"[;:(.\n\"“]| (?:by|in|of|from|for|who|whose|which|that|at|on|to|with|known|best|during|as)\b"
)
ITEM = re.compile(
    r"[ ,-]{0,4}(?:and |or )?(?:an? |the )?(?:(?:former|retired|professional|famous|prolific|prominent|pioneering|"
    r"noted|late|contemporary|award-winning|leading|renowned|current|influential|early|popular)[ ,]{1,2}){0,2}"
    r"(?<!\w)([a-z][a-z-]+(?: (?!and\b|or\b)[a-z-]+){0,2})(?=,| and |$)"
)
JOIN = r"(?:, (?:in |and )?| in | of |, part of )"
AREA = rf"(?:the )?(?:[a-z-]+ ){{0,2}}(?:of )?(?:the )?{NAME}(?: and {NAME})?"
LIES_IN = re.compile(
    rf"(?: ?\([^()]{{1,60}}\))?(?:,? (?:located|situated|lying))? ?"
    rf"(in|of|at|on the island of) ({AREA}(?:{JOIN}{AREA}){{0,6}})"
)
NO_AREA = re.compile(
    "Church|Diocese|Line|League|Conference|Series|Railway|System|Division|River|Creek|Mountains|Range|Assembly|Sea|Ocean|"
    "^Georgia$"  # the country or the state
)
SEGMENT = re.compile(rf"(?<!\w)((?:Island|Isle|City|Borough|Republic) of {NAME}|{NAME}(?: and {NAME})?)")
NAME_END = re.compile(r"[(,;\n]")
MUSIC = re.compile(r"rock|pop|music|vocal|girl|boy|hop|metal|folk|punk|jazz|soul|R&B|dance|a cappella|indie")
TELEVISION = re.compile(r"television|TV|web|drama|comedy|reality|animat|anime|documentary|crime|thriller|cartoon")
ABOUT_OTHERS = frozenset("discography filmography characters songs members episodes cast".split())
NATIONAL = re.compile(
    rf"\b(?:{NATION})\b(?!-born|- born| born|[- ]{{1,2}}language|[ -]descent|[- ]speaking| Canadian|['’])"
)
YEAR = re.compile(r"\b(?:18|19|20)\d\d\b")
NOT_YET = re.compile(  # the name goes on: "Lillestrøm" in "son of former Lillestrøm player Kjetil Osvold"
    r"(?: \([A-Z]+\))? (?:[a-z]+ ){0,3}(?!under|after|over|later|for|or|her|together|whether)"
    rf"[a-zà-ž]{{0,20}}{ROLE_END} {UP}"
    r"| ?[\"“‘'’]| & |\+| of (?:the )?[A-Z]| (?:state|province|region|city|department|county|district) of"
)
CUT = ("'s", "’s", " Hon", " Rev", " Gen", " Col", " Lt", " Capt", " Prof")
IS_MONTH = re.compile(rf"{MONTH}\b")
SPLIT = re.compile(AND)
FIRST_NAME = re.compile(rf"(?<!\w){NAME}")
PLAIN = ("he film was ", "he film is ", "he album was ", "he song was ", "he series was ", "he novel was ")
IN_TIME = re.compile(
    r"(?:(?:In|On|By|After|Around|At|Born)\b[^.;]{1,60}, (?:s?he |it |they )?(?:is |was )?)?"
    r"(?:[Tt]he |[Aa]n? )?(?:[a-z-]+ ){0,2}"
)
OPENINGS = frozenset({"The", "He", "She", "It", "They"})
DETOUR_PERSON = re.compile(
    r"[\"“;]|\b(?:whos?e?|whom|father|mother|wife|husband|sons?|daughter|brother|sister|parents|grand\w+|widow|cousin|"
    r"niece|nephew|uncle|aunt|family|married|children|by|where|character|role|plays|portray\w*)\b"
)
DETOUR_THING = re.compile(
    r"[\"“;]|\b(?:based (?:up)?on|sequel|prequel|remake|adapt\w+|version|story|novel|whos?e?|where|inspired|spin|"
    r"follow\w*|about|episode|statistical|metropolitan|metro|combined|series of|cover(?:ed)?|originally|later|"
    r"re-?released)\b"
)
