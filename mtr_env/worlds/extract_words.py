"""Words that tell what a page is about: nations and their adjectives, and what the last word of a definition names."""

from __future__ import annotations

import re

NATIONS = (  # country:demonym
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
PAIRS = [pair.replace("_", " ").split(":") for pair in NATIONS.split()]
COUNTRIES = frozenset(country for country, _ in PAIRS) | {"Georgia (country)"}
DEMONYMS = frozenset(adjective for _, adjective in PAIRS) - {"Hong Kong", "New Zealand", "Puerto Rico"}
NATION = "|".join(sorted({re.escape(adjective) for _, adjective in PAIRS}, key=len, reverse=True))

KINDS = {  # the last word of a definition: the kind of thing it defines ("" is none of them)
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
KIND = {word: kind for kind, words in KINDS.items() for word in words.split()}
# most words for people are told by their ending
PERSON_ENDINGS = tuple(
    "er or ist cian rian man woman actress princess duchess countess empress baroness heiress naut smith crat".split()
)
LOWER_IN_NAMES = frozenset(
    "de da di do dos das del della der den du des la le las los van von of the and or bin ibn al el y e".split()
)
