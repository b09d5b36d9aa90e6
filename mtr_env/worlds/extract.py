"""Facts that Wikipedia-style paragraphs state in so many words, for the relation tools of a question's distractors.

    >>> page = Paragraph("Kirsten Sheridan", ("Kirsten Sheridan (born 14 July 1976) is an Irish film director.",))
    >>> [(f.relation, f.object) for f in extract_facts([page])]
    [('date of birth', '14 July 1976'), ('country of citizenship', 'Irish'), ('occupation', 'film director')]

How it reads a page: the definition ("... is an Irish film director") says what *kind* of thing the title names; it
chooses the rows of ``_TABLE`` below; a row's trigger word is looked for before its pattern is run; a match counts only
in the definition itself or in a sentence whose subject is the title, and only when no other thing is named in between
(``_DETOUR``). A wrong fact is worse than none, so a page whose definition is not understood states nothing.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from mtr_env.question import Fact, Paragraph

_LONGEST_SENTENCE, _LONGEST_PAGE, _LONGEST_OBJECT, _FARTHEST = 2000, 5000, 80, 500  # characters

_NATIONS = (  # country:demonym
    "Afghanistan:Afghan Albania:Albanian Algeria:Algerian Andorra:Andorran Angola:Angolan Argentina:Argentine "
    "Argentina:Argentinian Armenia:Armenian Australia:Australian Austria:Austrian Azerbaijan:Azerbaijani "
    "Bahamas:Bahamian Bangladesh:Bangladeshi Barbados:Barbadian Belarus:Belarusian Belgium:Belgian Belize:Belizean "
    "Benin:Beninese Bhutan:Bhutanese Bolivia:Bolivian Bosnia_and_Herzegovina:Bosnian Botswana:Botswanan "
    "Brazil:Brazilian Brunei:Bruneian Bulgaria:Bulgarian Burkina_Faso:Burkinabé Burundi:Burundian Cambodia:Cambodian "
    "Cameroon:Cameroonian Canada:Canadian Chad:Chadian Chile:Chilean China:Chinese Colombia:Colombian "
    "Croatia:Croatian Costa_Rica:Costa_Rican Cuba:Cuban Cyprus:Cypriot Czech_Republic:Czech "
    "Czechoslovakia:Czechoslovak Denmark:Danish Dominican_Republic:Dominican Ecuador:Ecuadorian Egypt:Egyptian "
    "El_Salvador:Salvadoran England:English Eritrea:Eritrean Estonia:Estonian Ethiopia:Ethiopian Fiji:Fijian "
    "Finland:Finnish France:French Gabon:Gabonese Gambia:Gambian Germany:German Ghana:Ghanaian Greece:Greek "
    "Guatemala:Guatemalan Guyana:Guyanese Haiti:Haitian Honduras:Honduran Hong_Kong:Hong_Kong Hungary:Hungarian "
    "Iceland:Icelandic India:Indian Indonesia:Indonesian Iran:Iranian Iraq:Iraqi Ireland:Irish Israel:Israeli "
    "Italy:Italian Ivory_Coast:Ivorian Jamaica:Jamaican Japan:Japanese Jordan:Jordanian Kazakhstan:Kazakhstani "
    "Kazakhstan:Kazakh Kenya:Kenyan Kosovo:Kosovar Kuwait:Kuwaiti Kyrgyzstan:Kyrgyz Laos:Laotian Latvia:Latvian "
    "Lebanon:Lebanese Liberia:Liberian Libya:Libyan Liechtenstein:Liechtenstein Lithuania:Lithuanian "
    "Luxembourg:Luxembourgish Madagascar:Malagasy Malawi:Malawian Malaysia:Malaysian Mali:Malian Malta:Maltese "
    "Mexico:Mexican Moldova:Moldovan Monaco:Monegasque Mongolia:Mongolian Montenegro:Montenegrin Morocco:Moroccan "
    "Mozambique:Mozambican Myanmar:Burmese Namibia:Namibian Nepal:Nepalese Nepal:Nepali Netherlands:Dutch "
    "New_Zealand:New_Zealand Nicaragua:Nicaraguan Niger:Nigerien Nigeria:Nigerian North_Korea:North_Korean "
    "North_Macedonia:Macedonian Northern_Ireland:Northern_Irish Norway:Norwegian Oman:Omani Pakistan:Pakistani "
    "Panama:Panamanian Papua_New_Guinea:Papua_New_Guinean Paraguay:Paraguayan Peru:Peruvian Philippines:Filipino "
    "Philippines:Filipina Poland:Polish Portugal:Portuguese Puerto_Rico:Puerto_Rican Qatar:Qatari Romania:Romanian "
    "Russia:Russian Rwanda:Rwandan Samoa:Samoan Saudi_Arabia:Saudi Scotland:Scottish Senegal:Senegalese "
    "Serbia:Serbian Singapore:Singaporean Slovakia:Slovak Slovenia:Slovenian Slovenia:Slovene Somalia:Somali "
    "South_Africa:South_African South_Korea:South_Korean Soviet_Union:Soviet Spain:Spanish Sri_Lanka:Sri_Lankan "
    "Sudan:Sudanese Suriname:Surinamese Sweden:Swedish Switzerland:Swiss Syria:Syrian Taiwan:Taiwanese "
    "Tajikistan:Tajikistani Tanzania:Tanzanian Thailand:Thai Togo:Togolese Trinidad_and_Tobago:Trinidadian "
    "Tunisia:Tunisian Turkey:Turkish Turkmenistan:Turkmen Uganda:Ugandan Ukraine:Ukrainian "
    "United_Arab_Emirates:Emirati United_Kingdom:British UK:British United_States:American U.S.:American USA:American "
    "United_States_of_America:American Uruguay:Uruguayan Uzbekistan:Uzbek Venezuela:Venezuelan Vietnam:Vietnamese "
    "Wales:Welsh Yemen:Yemeni Yugoslavia:Yugoslav Zambia:Zambian Zimbabwe:Zimbabwean East_Germany:East_German "
    "West_Germany:West_German"
)
_PAIRS = [pair.replace("_", " ").split(":") for pair in _NATIONS.split()]
_COUNTRIES = frozenset(country for country, _ in _PAIRS) | {"Georgia (country)"}
_DEMONYMS = frozenset(adjective for _, adjective in _PAIRS) - {"Hong Kong", "New Zealand", "Puerto Rico"}
_NATION = "|".join(sorted({re.escape(adjective) for _, adjective in _PAIRS}, key=len, reverse=True))

_KINDS = {  # the last word of a definition: the kind of thing it defines ("" is none of them)
    "film": "film movie documentary thriller western comedy biopic adaptation",
    "show": "sitcom show miniseries telenovela programme program series",
    "song": "song single ballad anthem",
    "album": "album ep soundtrack mixtape lp",
    "book": "novel book novella memoir autobiography biography poem play manga",
    "periodical": "magazine newspaper journal periodical fanzine tabloid",
    "product": (
        "game videogame car automobile aircraft airliner helicopter motorcycle locomotive rifle pistol console "
        "destroyer fighter bomber cruiser glider smartphone camera sedan suv truck software van"
    ),
    "band": "band duo trio quartet quintet group",
    "org": (
        "company corporation label manufacturer airline organization organisation retailer party charity bank "
        "distributor supplier provider developer operator carrier maker importer exporter contractor insurer brand "
        "club foundation association agency brewery chain studio team subsidiary society network broadcaster "
        "publisher"
    ),
    "site": (
        "university college school museum hospital stadium building church cathedral airport station theatre garden "
        "highway road railroad memorial mine facility basilica theater library park bridge castle palace arena "
        "hotel house prison cemetery temple mosque monastery mall tower academy seminary zoo gallery monument abbey "
        "farm mansion skyscraper lighthouse courthouse dam center centre"
    ),
    "place": (
        "city town village municipality district county province commune township gmina voivodeship waterfall "
        "glacier reservoir crater suburb neighbourhood settlement neighborhood hamlet locality community borough "
        "river lake mountain island parish subdistrict region creek valley peninsula volcano tributary peak hill "
        "barangay prefecture oblast cdp arrondissement canton raion tambon"
    ),
    "person": (
        "king queen duke emperor sovereign viking born prince count earl baron lord lady pope saint cardinal "
        "general chef poet sultan bishop archbishop athlete coach judge model architect president monarch academic "
        "professor nurse son daughter wife husband brother sister diplomat priest rabbi consort critic host surgeon "
        "goalkeeper midfielder striker pilot spy"
    ),
    "": (
        "u now coaster beer list polyester polymer banner minehunter minesweeper pier over lager trigger lower "
        "number order chapter character computer power border letter member weather father winter summer flower "
        "sector motor reactor disorder murder answer matter paper container layer gender register corner quarter "
        "offer factor color colour mirror monster cover poster newsletter chamber transmitter error terror"
    ),
}
_KIND = {word: kind for kind, words in _KINDS.items() for word in words.split()}
_PERSON = re.compile(  # most words for people are told by their ending
    r"[a-z-]*(?:er|or|ist|cian|rian|man|woman|actress|princess|duchess|countess|empress|baroness|heiress|naut|smith|crat)"
)

# -- pieces of patterns; every quantifier is bounded, so that an attempt costs no more than its own length
_UP = "[" + "".join(c for c in map(chr, range(0x41, 0x250)) if c.isupper()) + "ḤṢṬẒ]"
_MONTH = "(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DATE = (
    rf"(?<!\d)(?:\d{{1,2}} {_MONTH},? \d{{3,4}}|{_MONTH} \d{{1,2}}, \d{{3,4}}|{_MONTH},? \d{{4}}|\d{{3,4}}(?: BC)?)"
    r"(?![\d\w-])"
)
_WORD = (
    rf"(?:(?:{_UP}\.){{1,3}}|(?:Jr|Sr|St|Dr|Mr|Mrs)\.|"
    rf"(?:[dDlLO]['’])?{_UP}[\w'’]{{0,30}}(?:[-–] ?\w[\w'’]{{0,20}}){{0,3}})"
)
_SMALL = (
    "(?:de|da|di|do|dos|das|del|della|der|den|du|des|la|le|las|los|van|von|af|av|zu|"
    "bin|bint|ibn|al|el|ben|mac|y|i|à|-e|-ye)"
)
_NEW = "(?!(?:The|It|He|She|In|His|Her|This|They|On|At|As|Its|Since|After)\\b)"  # these begin a sentence, not a surname
_NAME = rf"(?:{_SMALL} ){{0,2}}{_WORD}(?: (?:{_SMALL} ){{0,3}}{_NEW}{_WORD}){{0,6}}"
_NOBLE = (  # "John II of France", "Charles Howard, 1st Earl of Carlisle"
    rf"{_NAME}(?:(?: of(?: the)?| the) {_NAME}){{0,2}}"
    rf"(?:, (?:\d{{1,2}}\w\w |Grand )?(?:Duke|Duchess|Count|Countess|Prince|Princess|Earl|King|Baron|Elector|Margrave|"
    rf"Landgrave|Lord|Marquess|Viscount)(?: of {_NAME}| {_NAME}){{1,2}})?"
)
_LOWER = (
    r"(?:(?!(?:of|in|at|on|from|for|with|his|her|its|which|who|an?|both|de|von|van|di|du|la|mac|to|as|by|into|than|when|"
    r"where|not)\b)[a-z][a-z/-]{1,20},? )"
)
_ROLE_END = "(?:er|or|ist|ian|man|star|head|king|shah|eur|captain|icon|legend|chief|actress|heroine|magnate|artist)s?"
_ROLE = (  # what may stand between "directed by" and the name: "the American film director and actor "
    rf"(?:the )?(?:(?:{_NATION})[ -]{{1,2}}){{0,2}}{_LOWER}{{0,4}}"
    rf"(?:{_UP}[\w-]{{1,20}} (?=[a-z]{{0,12}}{_ROLE_END}\b){_LOWER}{{1,3}})?"
)
_AND = r"(?:, and |, | and | & )"
_LIST = rf"{_NAME}(?:{_AND}{_NAME}){{0,9}}"
_PLACE = (
    rf"{_NAME}(?: of {_NAME})?"
    rf"(?:, {_NAME}(?= ?[,.;)]|$| and| on| in| to| -| –| where| before| but| as| at)){{0,3}}"
)
_ORG = (
    rf"(?:{_WORD} ){{0,5}}(?:University|College|School|Academy|Institute|Conservatory|Conservatoire)\b"
    rf"(?:(?: of(?: the)?| for| in|,) {_WORD}(?: (?:and )?{_WORD}){{0,3}}){{0,2}}"
)
_AWARD = (
    rf"(?:\d{{4}} )?(?:{_WORD} ){{1,5}}(?:Award|Prize|Medal|Cross|Oscar)"
    rf"(?: (?:for|in) (?:{_WORD} ?(?:in a |in |of )?){{1,6}})?"
)
_OFFICE = (
    r"(?:Prime Minister|President|Governor|Mayor|Chancellor|King|Queen|Emperor|Sultan|Archbishop|Bishop|Chief Minister|"
    r"Speaker|Ambassador|Chief Justice|Secretary|Minister|Attorney General|Lieutenant Governor|Vice President)"
)
_BY = rf"(?:[a-z, -]{{3,40}} )?by {_ROLE}"
# "daughter of Alice and Ernest" states no father: two parents, and the first has a woman's first name
_WOMAN_FIRST = (
    r"(?:\w+a|Mary|Alice|Tish|Anne?|Jane|Elizabeth|Margaret|[CK]atherine|Joan|Susan|Helen|Sarah|Ruth|Florence|Rose|Agnes|"
    r"Eleanor|Isabel|Isabelle|Charlotte|Louise|Caroline|Marie|Melanie|Goldie|Kate|Emily|Judy|Janet|Nancy|Betty|Jean)"
    r" [^.;]{1,60}? and "
)
_HER_TITLE = r"(?:[\w-]{1,20} )?(?:actress|singer|Queen|Princess|Lady|Duchess|Countess|Empress)\b"
_BORN_OF = rf"(?:and (?:sole )?heir(?:ess)? )?of (?:the )?(?:late )?(?!{_HER_TITLE}){_ROLE}(?!{_WOMAN_FIRST})"

# fmt: off
# kinds, relation, triggers (lower case; they begin a word), the pattern of what follows; group 1 is the object
_ROWS = (
    ("person", "date of birth", "born ", rf"(?:on |in )?({_DATE})"),
    ("person", "place of birth", "born ", rf"(?:and raised |(?:on |in )?{_DATE},? )?(?:in|at) ({_PLACE})"),
    ("person", "date of death", "died ", rf"(?:suddenly )?(?:in {_PLACE} )?(?:on|in) ({_DATE})"),
    ("person", "place of death", "died ", rf"(?:suddenly )?(?:(?:on|in) {_DATE},? )?(?:in|at) ({_PLACE})"),
    ("person", "cause of death", "died ", r"(?:suddenly )?(?:of|from) (?!the disease|a year)(?:an? |the )?"
     r"([a-z][a-z' -]{2,40}?)(?= (?:in|at|on|when|while|after|aged?|during)\b|[,.;]|$)"),
    ("person", "place of burial", "buried ", rf"(?:in|at) (?:the )?({_PLACE})"),
    ("person", "spouse", "married ", rf"(?:to )?{_ROLE}({_NOBLE})"),
    ("person", "spouse", "wife |husband |widow ", rf"(?:of |was |is ){_ROLE}({_NOBLE})"),
    ("person", "spouse", "marriage to ", rf"{_ROLE}({_NOBLE})"),
    ("person", "father", "son |daughter |child ", rf"{_BORN_OF}({_NOBLE})(?!,? (?:and|by) her)"),
    ("person", "father", "father ", rf"(?:was |is ){_ROLE}({_NOBLE})"),
    ("person", "mother", "mother ", rf"(?:was |is ){_ROLE}({_NOBLE})"),
    ("person", "mother", "son |daughter |child ",
     rf"{_BORN_OF}{_NOBLE},? (?:and|by) (?:(?:his|her) (?:\w+ )?wife,? )?{_ROLE}({_NOBLE})"),
    ("person", "child", "father |mother ", rf"of (?!the [A-Z]){_ROLE}({_NOBLE})"),
    ("person", "sibling", "brother of |sister of ", rf"{_ROLE}({_NOBLE})"),
    ("person", "educated at", "graduated from |educated at |attended ", rf"(?:the )?({_ORG})"),
    ("person", "educated at", "studied ", rf"(?:[\w ]{{1,40}} )?at (?:the )?({_ORG})"),
    ("person", "employer", "professor ", rf"(?:(?:emeritus )?(?:of|in) [\w ]{{1,50}} )?at (?:the )?({_ORG})"),
    ("person", "award received", "won |awarded |received |earned ", rf"(?:the |an? |his |her )?({_AWARD})"),
    ("person", "position held", "served as |was the |is the |became ",
     rf"(?:the )?(?:\d{{1,3}}\w\w |current |former |first )?({_OFFICE} of (?:the )?{_NAME}(?: (?:of|and) {_NAME})?)"),
    ("person", "member of sports team", "plays |played ",
     rf"(?:(?!college )[\w-]{{1,20}} ){{0,6}}for (?:the )?({_NAME})"),
    ("film show", "director", "directed ", rf"{_BY}({_LIST})"),
    ("film show", "director", "film by |documentary by |documentary series by ", rf"{_ROLE}({_LIST})"),
    ("film show", "screenwriter", "written |screenplay |scripted ", rf"{_BY}({_LIST})"),
    ("film show song album", "producer", "produced ", rf"{_BY}({_LIST})"),
    ("film show", "composer", "music |score |soundtrack ",
     rf"(?:(?:is |was |were )?composed |is |was )?by {_ROLE}({_LIST})"),
    ("song", "composer", "composed by ", rf"{_ROLE}({_LIST})"),
    ("film show", "cast member", "starring |stars ", rf"{_ROLE}({_LIST})"),
    ("show", "creator", "created by ", rf"{_ROLE}({_LIST})"),
    ("show", "presenter", "hosted by |presented by ", rf"{_ROLE}({_LIST})"),
    ("song album", "performer",
     "song by |single by |album by |ep by |ballad by |mixtape by |recorded by |performed by ", rf"{_ROLE}({_LIST})"),
    ("song album", "record label", "through |on |via |by |label ", rf"(?:the )?((?:{_WORD} ){{1,3}}Records)\b"),
    ("song", "part of", "from ", r"(?:his|her|their|the|its) [\w ,-]{0,40}album,? [\"“] ?([^\"”“]{1,60}?) ?[\"”]"),
    ("book", "author", "novel by |novella by |book by |memoir by |poem by |play by |written by |manga by ",
     rf"{_ROLE}({_LIST})"),
    ("book periodical product", "publisher", "published by ", rf"(?:the )?({_NAME})"),
    ("film song album show product", "publication date", "released ", rf"(?:\w+ )?(?:on|in) ({_DATE})"),
    ("book", "publication date", "published ", rf"(?:on|in) ({_DATE})"),
    ("show", "publication date", "premiered ", rf"on ({_DATE})"),
    ("product", "developer", "developed ", rf"(?:and \w+ )?by {_ROLE}({_NAME})"),
    ("product", "manufacturer", "manufactured by |produced by |built by ", rf"(?:the )?({_NAME})"),
    ("org band site periodical", "founded by", "founded |established ", rf"(?:in \d{{4}} )?by {_ROLE}({_LIST})"),
    ("org band site periodical place", "inception", "founded |established |formed |incorporated ",
     rf"(?:by {_ROLE}{_LIST} )?(?:on|in) ({_DATE})"),
    ("org", "headquarters location", "headquartered |based ", rf"in ({_PLACE})"),
    ("band", "location of formation", "formed |band |group |duo |trio ", rf"(?:in {_DATE} )?(?:in|from) ({_PLACE})"),
    ("org site periodical product", "owned by", "owned by |subsidiary of ", rf"(?:the )?({_NAME})"),
    ("place", "population", "population ",
     r"(?:(?!density|growth)\w+ ){0,3}?(\d{1,3}(?:,\d{3})+|\d{2,6})(?![\d,]*\d|\w| census| estimate)"),
    ("place", "capital", "capital ", rf"(?:city )?(?:is|was) ({_NAME})"),
    ("place", "capital of", "is the capital |was the capital |and the capital ",
     rf"(?:city )?of (?:the )?({_NAME}(?: of {_NAME})?)"),
    ("place site product", "named after", "named after |named for |named in honor of |named in honour of ",
     rf"{_ROLE}({_NAME})"),
)
# fmt: on
_Row = tuple[str, re.Pattern[str]]


def _table(kind: str) -> tuple[tuple[str, tuple[_Row, ...]], ...]:
    """The rows of a kind by trigger, so that each trigger is looked for once."""
    rows: dict[str, list[_Row]] = {}
    for kinds, name, triggers, follows in _ROWS:
        for trigger in triggers.split("|") if kind in kinds.split() else ():
            rows.setdefault(trigger, []).append((name, re.compile(follows)))
    return tuple((trigger, tuple(group)) for trigger, group in rows.items())


_TABLE = {kind: _table(kind) for kind in _KINDS}
# a subject has one of these: the first statement wins
_SINGLE = frozenset(
    "date of birth|date of death|place of birth|place of death|publication date|inception|population|cause of death|"
    "place of burial|father|mother|capital|headquarters location|location of formation".split("|")
)
# their objects are lists of names
_PEOPLE = frozenset(
    "director|screenwriter|producer|composer|cast member|creator|presenter|performer|author|founded by".split("|")
)

# -- the definition, the life dates, the places of a definition
_DEFINES = re.compile(r"[\s,)](?:is|was|are|were) (?:(?:an?|the|one of|his|her|now|also) ){0,3}")
_STOP = re.compile(
    r"[,;:(.\n\"“]| (?:by|in|of|from|for|who|whose|which|that|at|on|to|with|about|starring|directed|written|released|"
    r"filmed|shot|made|played|recorded|sung|performed|composed|designed|built|owned|operated|developed|used|including|"
    r"after|during|under|through|between|along|within|as|is|was|has|had|covering|adapted|originally|where|and the|"
    r"based|located|formed|founded|produced|serving|known|best|published|created|featuring|situated|near|set)\b|$"
)
_PAREN = re.compile(r"\(([^()]*(?:\([^()]*\)[^()]*)*)\)")
_DASH = re.compile(r" ?[–—] ?|(?<=\d) ?- ?(?=[\dA-Z])| - ")
_ONE_DATE = re.compile(_DATE)
_EXACT = re.compile(rf"\d {_MONTH}|{_MONTH} \d\d?,")
_DAY = rf"(\d{{1,2}} {_MONTH} \d{{4}}|{_MONTH} \d{{1,2}}, \d{{4}})"
_TWO_DAYS = re.compile(rf"{_DAY} ?{_DAY}")  # the dash between them got lost
_VAGUE = re.compile(
    r"\b(?:c|ca|circa|fl|r|reign\w*|rule[ds]?|about|before|after|between|or|bapti\w+|active|flourished)\b\.? ?$|\?"
)
_IN_PLACE = re.compile(rf"(?:,? (?:in|at) |,? )(?![ABC]\.?[DCE]\b)({_PLACE})(?= ?$|[;,])")
_PLACE_AT = re.compile(rf" ?(?:born )?(?:in )?({_PLACE}),? (?:on )?$")
_PERSON_STOP = re.compile(
    r"[;:(.\n\"“]| (?:by|in|of|from|for|who|whose|which|that|at|on|to|with|known|best|during|as)\b"
)
_ITEM = re.compile(
    r"[ ,-]{0,4}(?:and |or )?(?:an? |the )?(?:(?:former|retired|professional|famous|prolific|prominent|pioneering|"
    r"noted|late|contemporary|award-winning|leading|renowned|current|influential|early|popular)[ ,]{1,2}){0,2}"
    r"(?<!\w)([a-z][a-z-]+(?: (?!and\b|or\b)[a-z-]+){0,2})(?=,| and |$)"
)
_JOIN = r"(?:, (?:in |and )?| in | of |, part of )"
_AREA = rf"(?:the )?(?:[a-z-]+ ){{0,2}}(?:of )?(?:the )?{_NAME}(?: and {_NAME})?"
_LIES_IN = re.compile(
    rf"(?: ?\([^()]{{1,60}}\))?(?:,? (?:located|situated|lying))? ?"
    rf"(in|of|at|on the island of) ({_AREA}(?:{_JOIN}{_AREA}){{0,6}})"
)
_NO_AREA = re.compile(
    "Church|Diocese|Line|League|Conference|Series|Railway|System|Division|River|Creek|Mountains|Range|Assembly|Sea|Ocean|"
    "^Georgia$"  # the country or the state
)
_SEGMENT = re.compile(rf"(?<!\w)({_NAME}(?: and {_NAME})?)")
_NAME_END = re.compile(r"[(,;\n]")
_LOWER_IN_NAMES = frozenset(
    "de da di do dos das del della der den du des la le las los van von of the and or bin ibn al el y e".split()
)
_MUSIC = re.compile(r"rock|pop|music|vocal|girl|boy|hop|metal|folk|punk|jazz|soul|R&B|dance|a cappella|indie")
_TELEVISION = re.compile(r"television|TV|web|drama|comedy|reality|animat|anime|documentary|crime|thriller|cartoon")
_ABOUT_OTHERS = frozenset("discography filmography characters songs members episodes cast".split())
_NATIONAL = re.compile(
    rf"\b(?:{_NATION})\b(?!-born|- born| born|[- ]{{1,2}}language|[ -]descent|[- ]speaking| Canadian|['’])"
)
_YEAR = re.compile(r"\b(?:18|19|20)\d\d\b")
_NOT_YET = re.compile(  # the name goes on: "Lillestrøm" in "son of former Lillestrøm player Kjetil Osvold"
    r"(?: \([A-Z]+\))? (?:[a-z]+ ){0,3}(?!under|after|over|later|for|or|her|together|whether)"
    rf"[a-zà-ž]{{0,20}}{_ROLE_END} {_UP}"
    r"| ?[\"“‘'’]| & | (?:state|province|region|city|department|county|district) of"
)
_SPLIT = re.compile(_AND)
_FIRST_NAME = re.compile(rf"(?<!\w){_NAME}")
_PLAIN = ("he film was ", "he film is ", "he album was ", "he song was ", "he series was ", "he novel was ")
_IN_TIME = re.compile(
    r"(?:(?:In|On|By|After|Around|At|Born)\b[^.;]{1,60}, (?:s?he |it |they )?(?:is |was )?)?"
    r"(?:[Tt]he |[Aa]n? )?(?:[a-z-]+ ){0,2}"
)
_OPENINGS = frozenset({"The", "He", "She", "It", "They"})
_DETOUR_PERSON = re.compile(
    r"[\"“;]|\b(?:whos?e?|whom|father|mother|wife|husband|sons?|daughter|brother|sister|parents|grand\w+|widow|cousin|"
    r"niece|nephew|uncle|aunt|family|married|children|by|where|character|role|plays|portray\w*)\b"
)
_DETOUR_THING = re.compile(
    r"[\"“;]|\b(?:based (?:up)?on|sequel|prequel|remake|adapt\w+|version|story|novel|whos?e?|where|inspired|spin|"
    r"follow\w*|about|episode|statistical|metropolitan|metro|combined|series of|cover(?:ed)?|originally|later|"
    r"re-?released)\b"
)


class _Lead(NamedTuple):
    """Where the definition stands: its verb, its noun phrase from ``words`` to ``stop``, the life dates before it."""

    kind: str
    words: int
    stop: int
    life: re.Match[str] | None


def extract_facts(paragraphs: Sequence[Paragraph]) -> list[Fact]:
    """All facts that the patterns find, in the order of the paragraphs: a pure function, linear in the text.

    A fact's subject is the paragraph's title, its object a literal piece of the one sentence in ``sources``.
    """
    return [fact for index, page in enumerate(paragraphs) for fact in _page_facts(index, page)]


def _page_facts(index: int, page: Paragraph) -> Iterator[Fact]:
    text, starts, numbers = _text(page.sentences)
    lead = _lead(page.title, text, starts)
    if lead is None:
        return
    seen: set[str | tuple[str, str]] = set()
    for name, start, end in _spans(page.title, text, starts, lead):
        value = text[start:end]
        where = bisect_right(starts, start) - 1
        key = name if name in _SINGLE else (name, value)
        inside = where + 1 == len(starts) or end < starts[where + 1]
        if key not in seen and inside and 0 < len(value) <= _LONGEST_OBJECT and value != page.title:
            seen.add(key)
            yield Fact(page.title, name, value, (f"p{index}s{numbers[where]}",))


def _text(sentences: Sequence[str]) -> tuple[str, list[int], list[int]]:
    """The sentences that are read, one a line; where each begins; their numbers."""
    kept, starts, numbers, size = [], [], [], 0
    for number, sentence in enumerate(sentences):
        if len(sentence) > _LONGEST_SENTENCE:
            continue
        if size > _LONGEST_PAGE:
            break
        kept.append(sentence)
        starts.append(size)
        numbers.append(number)
        size += len(sentence) + 1
    return "\n".join(kept), starts, numbers


def _lead(title: str, text: str, starts: Sequence[int]) -> _Lead | None:
    """The definition of the title in the first two sentences (a full stop in a name may have split them)."""
    if not starts or title.startswith("List of ") or title.rpartition(" ")[2] in _ABOUT_OTHERS:
        return None
    name, _, qualifier = title.partition(" (")
    life = _PAREN.search(text, 0, 400)
    while life and not _ONE_DATE.search(life[1]) and life.end() < 250:
        life = _PAREN.search(text, life.end(), 400)
    begin = len(name) if text.startswith(name) else 0
    verb = _DEFINES.search(text, begin, starts[2] if len(starts) > 2 else len(text))
    if life and verb and life.start() < verb.start():
        verb = _DEFINES.search(text, life.end() - 1, life.end() + 300)
    else:
        life = None
    if verb is None or not _names(name, text[: life.start() if life else verb.start()], text[: verb.start()]):
        return None
    if len(starts) > 1 and verb.start() > starts[1] and not (life and life.end() > starts[1]):
        first = text[starts[1] : starts[1] + 40].split(" ", 1)[0]
        if not (first in _OPENINGS or first in title or starts[1] < len(name) + 12):
            return None
    found = _STOP.search(text, verb.end())
    stop = found.start() if found else len(text)
    phrase = text[verb.end() : stop]
    kind = _kind(phrase) or (_kind(phrase.partition(" and ")[0]) if " and " in phrase else None)
    if kind is None and text.startswith(", ", stop) and (further := _STOP.search(text, stop + 1)):
        stop = further.start()
        kind = _kind(text[verb.end() : stop])
    if kind is None and life and _is_lifetime(life[1]):
        kind = "person"
    elif phrase in ("located", "situated"):
        kind = _kind(name)
    if not kind or (qualifier and (_kind(qualifier.rstrip(")")) or kind) != kind):
        return None
    return _Lead(kind, verb.end(), stop, life)


def _names(name: str, head: str, whole: str) -> bool:
    """Whether a sentence that begins with ``head`` is about ``name``: it starts with it, or is another form of it."""
    name, head = _bare(name), _bare(head)
    if name.find("-") >= 0:
        head = head.replace("- ", "-")  # 2WikiMultiHopQA writes "Saint- Loup"
    starts = head.startswith(name)
    rest = _NAME_END.split(head[len(name) :] if starts else head, maxsplit=1)[0]
    if len(rest) > 80 or rest.startswith(("'s", "’s", "' ", "’ ")):
        return False
    if any(word[0].islower() and word not in _LOWER_IN_NAMES for word in rest.split()):
        return False  # another verb comes first
    return starts or any(len(word) > 2 and word.strip(",") in whole for word in name.split())


def _bare(text: str) -> str:
    return text.lstrip('"“ ').removeprefix("The ").removeprefix("the ")


def _is_lifetime(inner: str) -> bool:
    """Whether a parenthesis gives the dates of a person and not those of a war or a reign."""
    if "born" in inner:
        return True
    ends = [date[-4:] for date in _ONE_DATE.findall(inner)]
    if len(ends) != 2 or not "".join(ends).isdecimal() or not _EXACT.search(inner):
        return False
    return 15 < int(ends[1]) - int(ends[0]) < 110


def _kind(phrase: str) -> str | None:
    """The kind of thing that a noun phrase like "1994 American drama film" names, ``None`` or ``""`` if unknown."""
    words = phrase.lower().replace("- ", "-").split()
    for word in words[:-3:-1]:
        kind = _KIND.get(word) or _KIND.get(word.removesuffix("s"))
        if (word == "group" and not _MUSIC.search(phrase)) or (word == "series" and not _TELEVISION.search(phrase)):
            return None
        if kind is not None:
            return kind
        if _PERSON.fullmatch(word):
            return "person"
    return None


def _spans(title: str, text: str, starts: Sequence[int], lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Relation, start and end of every object."""
    if lead.kind == "person":
        if lead.life:
            yield from _life(lead.life)
        yield from _person(text, lead)
    elif lead.kind in ("film", "show", "song", "album", "book"):
        yield from _work(text, lead)
    elif lead.kind in ("place", "site"):
        yield from _location(text, lead)
    begin = (lead.life.end() if lead.life else 0) if lead.kind == "person" else lead.words
    words = [word.strip(",") for word in title.split()]
    lower = text.lower()
    if len(lower) != len(text):  # a letter like "İ" moves the places
        lower = text
    for trigger, rows in _TABLE[lead.kind]:
        at = lower.find(trigger, begin)
        while at >= 0:
            after = at + len(trigger)
            if (at == 0 or not (text[at - 1].isalnum() or text[at - 1] == "-")) and (
                matches := [(name, match) for name, follows in rows if (match := follows.match(text, after))]
            ):
                about = _about(text, starts, begin, at, lead, words)
                for name, match in matches if about else ():
                    yield from _objects(name, match)
            at = lower.find(trigger, after)


def _about(text: str, starts: Sequence[int], begin: int, at: int, lead: _Lead, title: Sequence[str]) -> bool:
    """Whether what is said at ``at`` is said of the page's subject."""
    start = starts[bisect_right(starts, at) - 1]
    if at - max(start, begin) > _FARTHEST:
        return False
    if text.endswith(_PLAIN, start, at):
        return True
    if begin < start < at:
        head = text[start:at].split(None, 2)
        known = head[0] in _OPENINGS or head[0] in title or at - start < 5
        if not (known or _IN_TIME.fullmatch(text, start, at)) or at - start > 120:
            return False
        if head[0] == "The" and len(head) > 1 and head[1] not in title:  # "The film", "The music", "The lake"
            kind = _KIND.get(head[1], "film")
            if kind != lead.kind or (kind == "place" and head[1] not in text[lead.words : lead.stop]):
                return False
    detour = _DETOUR_PERSON if lead.kind == "person" else _DETOUR_THING
    return detour.search(text, max(start, begin), at) is None


def _objects(name: str, match: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    start, end = match.span(1)
    text = match.string
    if (end < len(text) and (text[end].isalnum() or text[end] in "'’")) or _NOT_YET.match(text, end):
        return
    if match[1] in _DEMONYMS or match[1].endswith(("'s", "’s")) or "-based" in match[1]:
        return
    if name not in _PEOPLE:
        yield name, start, end
        return
    for part in _SPLIT.split(match[1]):
        if (person := _FIRST_NAME.search(part)) is not None:
            at = match.string.index(part, start) + person.start()
            yield name, at, at + len(person[0])


def _life(life: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """Birth and death of "(Pesmes, 1 March 1867 – Paris, 22 September 1946)", "(born 1 March 1867 in Pesmes)"."""
    inner, offset = life[1], life.start(1)
    born, died = inner.find("born "), inner.find("died ")
    dashes = [d for d in _DASH.finditer(inner) if _ONE_DATE.search(inner, d.end())]
    dash = dashes[-1] if dashes else None
    sides = [("birth", max(born, 0), dash.start() if dash else len(inner))]
    if dash:
        sides.append(("death", dash.end(), len(inner)))
    elif died > 0:
        sides.append(("death", died, len(inner)))
    elif (days := _TWO_DAYS.search(inner)) is not None:
        yield "date of birth", offset + days.start(1), offset + days.end(1)
        yield "date of death", offset + days.start(2), offset + days.end(2)
        return
    elif born < 0:
        return
    for event, start, end in sides:
        if event == "birth" and born >= 0:
            end = min(end, died % (len(inner) + 1))
        else:
            start = max(start, inner.rfind(";", start, end) + 1)
        dates = list(_ONE_DATE.finditer(inner, start, end))
        date = (dates[-1] if event == "birth" and born < 0 else dates[0]) if dates else None
        if date is None or _VAGUE.search(inner, start, date.start()):
            continue
        yield f"date of {event}", offset + date.start(), offset + date.end()
        after = _IN_PLACE.match(inner, date.end(), end)
        if after:
            yield f"place of {event}", offset + after.start(1), offset + after.end(1)
        elif dash and (before := _PLACE_AT.match(inner, start, date.start())):
            yield f"place of {event}", offset + before.start(1), offset + before.end(1)


def _person(text: str, lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Nationality and occupations of "is a retired English footballer and coach"."""
    at = lead.words
    for nation in _NATIONAL.finditer(text, at, lead.stop):
        yield "country of citizenship", nation.start(), nation.end()
        at = nation.end()
    end = _PERSON_STOP.search(text, lead.words)
    for item in _ITEM.finditer(text, at, min(end.start() if end else len(text), at + 300)):
        word = item[1].rpartition(" ")[2]
        if word != "born" and (_KIND.get(word) == "person" or (word not in _KIND and _PERSON.fullmatch(word))):
            yield "occupation", item.start(1), item.end(1)
        else:
            break


def _work(text: str, lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Year and country of "is a 1994 American drama film"."""
    if year := _YEAR.search(text, lead.words, lead.stop):
        yield "publication date", year.start(), year.end()
    if lead.kind in ("film", "show"):
        for nation in _NATIONAL.finditer(text, lead.words, lead.stop):
            yield "country of origin", nation.start(), nation.end()


def _location(text: str, lead: _Lead) -> Iterator[tuple[str, int, int]]:
    """Regions and country of "is a village in Jajrud District, Tehran Province, Iran"."""
    if nation := _NATIONAL.search(text, lead.words, lead.stop):
        yield "country", nation.start(), nation.end()
    match = _LIES_IN.match(text, lead.stop)
    if match is None or (match[1] == "of" and lead.kind == "site"):
        return
    for area in _SEGMENT.finditer(text, *match.span(2)):
        if area[1] in _COUNTRIES:
            yield "country", *area.span(1)
            return
        if not _NO_AREA.search(area[1]):
            yield "located in the administrative territorial entity", *area.span(1)


# relation: the forms of a question without its question mark; S is the subject, N the relation's noun
_SUBJECT = r"(?:the )?(#\d|[^#?]{1,60}?)"
_OF = "who (?:is|was) (?:the (?:N) of S|S ?['’]s (?:N))|what is S ?['’]s (?:N) ?['’]s name"
_IN_WHICH = "(?:in )?(?:what|which) N is S located(?: in)?"
_ASKS = {
    "date of birth": "(?:when|(?:in )?what year) was S born",
    "date of death": "(?:when|(?:in )?what year) did S (?:die|pass(?:ed)? away|past away)",
    "place of birth": "(?:where|(?:in )?(?:what|which) (?:city|town)) was S born(?: in)?|"
    "what (?:was|is) S ?['’]s (?:city|place) of birth|what is the birthplace of S",
    "place of death": "(?:where|(?:in )?(?:what|which) city|at what location) did S "
    "(?:die(?: in)?|live when (?:s?he|they) died)",
    "place of burial": "where (?:is|was) S buried",
    "cause of death": "what did S die (?:of|from)",
    "spouse": _OF.replace("N", "spouse|wife|husband") + "|who (?:is|was) S married to",
    "father": _OF.replace("N", "father"),
    "mother": _OF.replace("N", "mother"),
    "child": _OF.replace("N", "child|son|daughter"),
    "sibling": _OF.replace("N", "sibling|brother|sister"),
    "country of citizenship": "what (?:nationality (?:is|was)|is the nationality of) S|"
    "of (?:which|what) country is S a citizen",
    "educated at": "(?:what|which) (?:university|school|college) did S attend|where (?:did S study|was S educated)",
    "employer": "(?:who|(?:what|which) company) does S work for|who (?:is the employer of|employs) S",
    "award received": "(?:what|which) award did S (?:receive|win)",
    "member of sports team": "(?:what|which) team (?:does|did) S play for",
    "director": "who (?:directed|(?:is|was) the director of) S|the (?:main )?director of S (?:is|was) who",
    "screenwriter": "who (?:wrote the screenplay (?:of|for)|is the screenwriter of) S",
    "producer": "who (?:produced|(?:is|was) the producer of) S",
    "composer": "who (?:composed|(?:is|was) the composer of|composed the music for) S",
    "performer": "(?:who|which artist or group) performed S|who (?:sings|sang) the song S|"
    "who (?:is|was) the performer of S",
    "cast member": "who (?:has acted in|acted in|starred in)(?: the film)? S|who is in S as a cast member",
    "author": "who (?:(?:is|was) the author of|wrote the (?:book|novel)) S",
    "creator": "who (?:created|(?:is|was) the creator of) S",
    "publisher": "(?:who|(?:what|which) company) published S|who (?:is|was) the publisher of S",
    "developer": "(?:who|(?:what|which) company) developed S|who (?:is|was) the developer of S",
    "manufacturer": "(?:what|which) company made S|(?:who|(?:what|which) company) manufactured S",
    "record label": "what (?:label was responsible for|is the record label of) S|what (?:record )?label is S on",
    "publication date": "when was S (?:released|published)|when did S (?:come out|premiere)",
    "country of origin": "what is the country of origin of S|what country released S",
    "founded by": "who (?:founded|established|(?:is|was) the founder of) S",
    "inception": "when was S (?:founded|established|formed|created|chartered)",
    "headquarters location": "where (?:is S (?:headquartered|based)|(?:is|are) the headquarters of S)",
    "owned by": "who (?:owns|(?:is|was) the owner of) S|who is S owned by",
    "named after": "(?:what|who) (?:is|was) S named (?:after|for)|S was named for whom",
    "capital": "what (?:(?:is|was) the|city is the) capital of S",
    "capital of": "(?:what|which country) is S the capital of",
    "population": "what (?:is|was) the population of S|how many people live in S",
    "located in the administrative territorial entity": "where is S located|"
    "what is the name of the state where S is located|"
    + _IN_WHICH.replace("N", "(?:state|city|county|province|region)"),
    "country": _IN_WHICH.replace("N", "country") + "|(?:what|which) country is S in",
    "shares border with": "(?:what|which) county (?:borders|shares a border with) S",
    "location of formation": "(?:where|(?:in )?(?:what|which) city) was S formed(?: in)?",
    "part of": "what (?:company )?is S (?:a )?part of",
    "occupation": "what is S ?['’]s occupation|what is the occupation of S",
}
_FORMS = tuple((name, re.compile(form.replace("S", _SUBJECT), re.IGNORECASE)) for name, form in _ASKS.items())


@lru_cache(4096)
def sub_question_relation(text: str) -> tuple[str, str] | None:
    """The subject and the relation that a sub-question in sentence form asks for, ``None`` where that is not sure.

    The subject is ``"#1"`` or a plain name: no second reference, no lower-case description.

    >>> sub_question_relation("When was #1 born?"), sub_question_relation("Who is the spouse of the Green performer?")
    (('#1', 'date of birth'), None)
    """
    asked = text[:200].strip().rstrip("?").rstrip()
    for name, form in _FORMS:
        match = form.fullmatch(asked)
        if match is not None:
            subject = next(group for group in match.groups() if group is not None).strip(" \"“”'")
            return (subject, name) if _is_name(subject) else None
    return None


def _is_name(subject: str) -> bool:
    """Whether every word could be part of a name, beginning with a capital, a digit or ``#``."""
    words = subject.split()
    small = _LOWER_IN_NAMES | {"in", "on", "to", "for", "at", "by", "with"}
    return bool(words) and not words[0][0].islower() and all(not w[0].islower() or w in small for w in words)
