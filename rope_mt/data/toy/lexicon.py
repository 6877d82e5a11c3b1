"""The words of the toy corpus, and the German morphology that inflects them.

A table line is one lemma: English, `=`, German, and after a colon what it combines with. Forms that a rule gives are
left out: `visit = besuchen` is regular on both sides, `see saw seen = sehen sieht sah gesehen` on neither.

Semantic kinds, so that nobody eats a bridge: P person, A animal, T thing, O thing that opens, W written or drawn
thing, F food, L place.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Case = Literal["nom", "acc", "dat", "gen"]
CASES: tuple[Case, ...] = ("nom", "acc", "dat", "gen")
HAVE = ("hat", "haben")  # singular, plural
IS_ARE = ("ist", "sind")


def _endings(table: str) -> dict[tuple[str, Case], str]:
    """Read rows of nom acc dat gen, one for each of m f n pl; "-" is the empty ending."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {(row[0], case): form.replace("-", "") for row in rows for case, form in zip(CASES, row[1:], strict=True)}


DEFINITE = _endings("m der den dem des\nf die die der der\nn das das dem des\npl die die den der")
# dieser, alle; adjectives without article, but in the genitive, where there are none here
STRONG = _endings("m er en em es\nf e e er er\nn es es em es\npl e e en er")
EIN = _endings("m - en em es\nf e e er er\nn - - em es\npl e e en er")  # ein, mein, kein
WEAK = _endings("m e en en en\nf e e en en\nn e e en en\npl en en en en")  # adjectives after der, dieser, alle
MIXED = _endings("m er en en en\nf e e en en\nn es es en en\npl en en en en")  # adjectives after ein, mein, kein


@dataclass(frozen=True)
class Word:
    """What is not inflected, or only here and there."""

    en: str
    de: str


@dataclass(frozen=True)
class Noun:
    en: str
    en_plural: str
    gender: str  # m, f, n
    de: str
    oblique: str  # singular beyond the nominative: Jungen for the weak noun Junge, else as de
    de_plural: str
    kind: str
    at: tuple[str, str] = ("", "")  # of a place: the prepositions for being there, ("at", "auf") the market

    def german(self, plural: bool, case: Case) -> str:
        if plural:
            return self.de_plural + ("n" if case == "dat" and self.de_plural[-1] not in "ns" else "")
        if case == "nom":
            return self.de
        if case == "gen" and self.gender != "f" and self.oblique == self.de:
            one_syllable = len(re.findall("[aeiouyäöü]+", self.de.lower())) == 1
            return self.de + ("es" if one_syllable else "s")
        return self.oblique


@dataclass(frozen=True)
class Adjective:
    en: str
    de: str
    kinds: str
    en_more: str = ""  # comparative, empty where there is none
    de_more: str = ""

    def german(self, ending: str) -> str:
        """The attributive form: müde + e is müde, teuer + e is teure, dunkel + e is dunkle."""
        return re.sub("(?<=u)er$", "r", re.sub("el$", "l", self.de.removesuffix("e"))) + ending


@dataclass(frozen=True)
class Verb:
    en: str  # base form
    en_present: str  # 3rd singular
    en_past: str
    en_participle: str
    particle: str  # "for" of "look for"
    de: str  # infinitive, present, past, participle: without the separable prefix
    de_present: str
    de_past: str
    de_participle: str
    prefix: str  # "auf" of "aufmachen"
    takes_sein: bool  # in the perfect
    case: Case  # of the object
    subjects: str  # kinds
    objects: str

    def german(self, past: bool, plural: bool) -> str:
        """The finite form of the 3rd person in a simple tense, without prefix; "wir" takes the plural too."""
        if past:
            return self.de_past + ("" if not plural else "n" if self.de_past.endswith("e") else "en")
        if self.de == "sein":
            return IS_ARE[plural]
        return self.de if plural else self.de_present


def _stem(infinitive: str) -> str:
    return infinitive[:-1] if infinitive.endswith(("ern", "eln")) else infinitive[:-2]


def _regular_german(infinitive: str) -> list[str]:
    """Present, past, participle of a weak verb: fragt, fragte, gefragt; arbeitet; besucht; repariert."""
    stem = _stem(infinitive)
    stem += "e" if re.search("[td]$|(ch|[bdfgkpst])n$", stem) else ""
    no_ge = infinitive.startswith(("be", "ver", "er", "ent", "zer")) or infinitive.endswith("ieren")
    return [stem + "t", stem + "te", ("" if no_ge else "ge") + stem + "t"]


def _english_s(word: str) -> str:
    """The plural or the 3rd person: dogs, boxes, cherries, carries."""
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + ("es" if re.search("(s|x|z|ch|sh|o)$", word) else "s")


def _english_ed(word: str) -> str:
    if re.search("[^aeiou]y$", word):
        return word[:-1] + "ied"
    return word + ("d" if word.endswith("e") else "ed")


def _lines(table: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    """Split `english = german : extra` into words; lines may also be commas, an underscore is a space inside a word."""
    for line in re.split("[\\n,]", table.strip()):
        english, _, rest = line.partition("=")
        german, _, extra = rest.partition(":")
        en, de, more = ([word.replace("_", " ") for word in part.split()] for part in (english, german, extra))
        yield en, de, more


def _words(table: str) -> list[Word]:
    return [Word(" ".join(en), de) for en, (de,), _ in _lines(table)]


def _nouns(kind: str, table: str) -> list[Noun]:
    """`child children = n Kind Kinder`; `boy = m Junge~n Jungen` is weak; places add `: at auf`."""
    nouns = []
    for en, (gender, singular, plural), extra in _lines(table):
        de, _, weak = singular.partition("~")
        at = (extra[0], extra[1]) if extra else ("", "")
        nouns.append(Noun(en[0], en[-1] if en[1:] else _english_s(en[0]), gender, de, de + weak, plural, kind, at))
    return nouns


def _verbs(table: str) -> list[Verb]:
    """`open = auf|machen : P O`; a `+` after the infinitive is a perfect with sein, an `@` an object in the dative."""
    verbs = []
    for en, de, extra in _lines(table):
        base, _, particle = en[0].partition(" ")
        past = en[1] if en[1:] else _english_ed(base)
        prefix, _, infinitive = de[0].rpartition("|")
        infinitive = infinitive.rstrip("+@")
        german = de[1:] or _regular_german(infinitive)
        verbs.append(
            Verb(
                en=base,
                en_present=_english_s(base),
                en_past=past,
                en_participle=en[2] if en[2:] else past,
                particle=particle,
                de=infinitive,
                de_present=german[0],
                de_past=german[1],
                de_participle=german[2],
                prefix=prefix,
                takes_sein="+" in de[0],
                case="dat" if "@" in de[0] else "acc",
                subjects=extra[0],
                objects=extra[1] if extra[1:] else "",
            )
        )
    return verbs


def _adjectives(table: str) -> list[Adjective]:
    return [Adjective(en[0], de[0], kinds[0], " ".join(en[1:]), " ".join(de[1:])) for en, de, kinds in _lines(table)]


def _list(words: str) -> list[str]:
    return words.split()


NAMES = _list("Anna Peter Emma Paul Maria Martin Julia David Clara Sophie Karl Laura")

CITIES = _words("""
    Vienna = Wien, Munich = München, Cologne = Köln, Prague = Prag, Rome = Rom, Berlin = Berlin, Hamburg = Hamburg
    Venice = Venedig
""")

NOUNS = [
    *_nouns(
        "P",
        """
    man men = m Mann Männer
    woman women = f Frau Frauen
    child children = n Kind Kinder
    girl = n Mädchen Mädchen
    boy = m Junge~n Jungen
    teacher = m Lehrer Lehrer
    doctor = m Arzt Ärzte
    king = m König Könige
    queen = f Königin Königinnen
    prince = m Prinz~en Prinzen
    baker = m Bäcker Bäcker
    gardener = m Gärtner Gärtner
    aunt = f Tante Tanten
    uncle = m Onkel Onkel
    mother = f Mutter Mütter
    father = m Vater Väter
    daughter = f Tochter Töchter
    son = m Sohn Söhne
    sister = f Schwester Schwestern
    brother = m Bruder Brüder
    grandmother = f Großmutter Großmütter
    grandfather = m Großvater Großväter
    neighbour = m Nachbar~n Nachbarn
    friend = m Freund Freunde
    guest = m Gast Gäste
    singer = f Sängerin Sängerinnen
    dancer = f Tänzerin Tänzerinnen
    hunter = m Jäger Jäger
    student = m Student~en Studenten
    witch = f Hexe Hexen
    giant = m Riese~n Riesen
    knight = m Ritter Ritter
    dwarf = m Zwerg Zwerge
    thief thieves = m Dieb Diebe
    """,
    ),
    *_nouns(
        "A",
        """
    dog = m Hund Hunde
    cat = f Katze Katzen
    horse = n Pferd Pferde
    bird = m Vogel Vögel
    cow = f Kuh Kühe
    mouse mice = f Maus Mäuse
    fox = m Fuchs Füchse
    duck = f Ente Enten
    pig = n Schwein Schweine
    chicken = n Huhn Hühner
    wolf wolves = m Wolf Wölfe
    bear = m Bär~en Bären
    lion = m Löwe~n Löwen
    monkey = m Affe~n Affen
    rabbit = n Kaninchen Kaninchen
    frog = m Frosch Frösche
    """,
    ),
    *_nouns(
        "T",
        """
    ring = m Ring Ringe
    key = m Schlüssel Schlüssel
    lamp = f Lampe Lampen
    chair = m Stuhl Stühle
    cup = f Tasse Tassen
    coat = m Mantel Mäntel
    hat = m Hut Hüte
    shirt = n Hemd Hemden
    shoe = m Schuh Schuhe
    flower = f Blume Blumen
    clock = f Uhr Uhren
    ball = m Ball Bälle
    basket = m Korb Körbe
    violin = f Geige Geigen
    sword = n Schwert Schwerter
    """,
    ),
    *_nouns(
        "O",
        """
    door = f Tür Türen
    window = n Fenster Fenster
    box = f Kiste Kisten
    suitcase = m Koffer Koffer
    bag = f Tasche Taschen
    bottle = f Flasche Flaschen
    umbrella = m Regenschirm Regenschirme
    """,
    ),
    *_nouns(
        "W",
        """
    book = n Buch Bücher
    letter = m Brief Briefe
    picture = n Bild Bilder
    map = f Karte Karten
    newspaper = f Zeitung Zeitungen
    """,
    ),
    *_nouns(
        "F",
        """
    apple = m Apfel Äpfel
    cake = m Kuchen Kuchen
    pear = f Birne Birnen
    egg = n Ei Eier
    soup = f Suppe Suppen
    sausage = f Wurst Würste
    potato = f Kartoffel Kartoffeln
    cherry = f Kirsche Kirschen
    """,
    ),
    *_nouns(
        "L",
        """
    garden = m Garten Gärten : in in
    house = n Haus Häuser : in in
    school = f Schule Schulen : at in
    church = f Kirche Kirchen : in in
    market = m Markt Märkte : at auf
    park = m Park Parks : in in
    forest = m Wald Wälder : in in
    kitchen = f Küche Küchen : in in
    station = m Bahnhof Bahnhöfe : at an
    bridge = f Brücke Brücken : on auf
    village = n Dorf Dörfer : in in
    city = f Stadt Städte : in in
    castle = n Schloss Schlösser : in in
    river = m Fluss Flüsse : at an
    museum = n Museum Museen : in in
    hotel = n Hotel Hotels : in in
    island = f Insel Inseln : on auf
    mountain = m Berg Berge : on auf
    street = f Straße Straßen : on auf
    shop = m Laden Läden : in in
    """,
    ),
]

# Whom one has: "my brother", "the king's guest".
RELATED = _list(
    "mother father aunt uncle daughter son sister brother grandmother grandfather neighbour friend guest child "
    "teacher doctor gardener student"
)
CARRIED = [noun for noun in NOUNS if noun.en in _list("hat coat basket umbrella violin sword ring lamp")]

EVENTS = _nouns(
    "E",
    """
    concert = n Konzert Konzerte
    wedding = f Hochzeit Hochzeiten
    party = n Fest Feste
    exam = f Prüfung Prüfungen
""",
)

ADJECTIVES = _adjectives("""
    old older = alt älter : PATOWFL
    young younger = jung jünger : PA
    big bigger = groß größer : PATOWFL
    small smaller = klein kleiner : PATOWFL
    new newer = neu neuer : TOWL
    beautiful more beautiful = schön schöner : PATOWL
    red = rot : TO
    blue = blau : TO
    green = grün : TO
    yellow = gelb : TO
    white = weiß : ATO
    black = schwarz : ATO
    friendly friendlier = freundlich freundlicher : PA
    strong stronger = stark stärker : PA
    clever cleverer = klug klüger : PA
    tired = müde : PA
    happy happier = glücklich glücklicher : PA
    sad sadder = traurig trauriger : PA
    rich richer = reich reicher : P
    poor poorer = arm ärmer : P
    brave braver = mutig mutiger : PA
    hungry hungrier = hungrig hungriger : PA
    quiet quieter = ruhig ruhiger : PAL
    famous more famous = berühmt berühmter : PWL
    strange stranger = seltsam seltsamer : PATOWFL
    heavy heavier = schwer schwerer : TO
    expensive more expensive = teuer teurer : TOWF
    cheap cheaper = billig billiger : TOWF
    broken = kaputt : TO
    dark darker = dunkel dunkler : OL
    sweet sweeter = süß süßer : F
    fresh fresher = frisch frischer : F
    warm warmer = warm wärmer : FL
    cold colder = kalt kälter : FL
    empty = leer : OL
    dirty dirtier = schmutzig schmutziger : PATOL
    curious more curious = neugierig neugieriger : PA
    interesting more interesting = interessant interessanter : WL
""")
COLOURS = [word for word in ADJECTIVES if word.en in _list("red blue green yellow white black")]

TRANSITIVE = _verbs("""
    see saw seen = sehen sieht sah gesehen : PA PATOWFL
    find found = finden findet fand gefunden : PA PATOWF
    look_for = suchen : PA PATOWF
    hear heard = hören : PA PA
    know knew known = kennen kennt kannte gekannt : P PAL
    love = lieben : P PA
    visit = besuchen : P PL
    greet = grüßen : P PA
    meet met = treffen trifft traf getroffen : PA PA
    wake woke woken = auf|wecken : PA PA
    invite = ein|laden lädt lud geladen : P P
    look_at = an|sehen sieht sah gesehen : P PATOWFL
    carry = tragen trägt trug getragen : P ATO
    watch = beobachten : PA PA
    wash = waschen wäscht wusch gewaschen : P PAT
    draw drew drawn = zeichnen : P PATOL
    paint = malen : P PATOL
    praise = loben : P PA
    admire = bewundern : P PATWL
    catch caught = fangen fängt fing gefangen : PA PA
    follow = verfolgen : PA PA
    help = helfen@ hilft half geholfen : PA PA
    thank = danken@ : P PA
    trust = vertrauen@ : PA PA
    forget forgot forgotten = vergessen vergisst vergaß vergessen : P PATOW
    understand understood = verstehen versteht verstand verstanden : P PAW
    protect = beschützen : PA PA
    rescue = retten : PA PA
    hide hid hidden = verstecken : P PATOWF
    feed fed = füttern : P A
    attack = an|greifen greift griff gegriffen : PA PA
    steal stole stolen = stehlen stiehlt stahl gestohlen : P ATOWF
    buy bought = kaufen : P ATOWF
    sell sold = verkaufen : P ATOWF
    need = brauchen : P ATOWF
    open = auf|machen : P O
    close = zu|machen : P O
    repair = reparieren : P TO
    lose lost = verlieren verliert verlor verloren : P TOW
    use = benutzen : P TO
    choose chose chosen = aus|suchen : P TOWF
    throw_away threw thrown = weg|werfen wirft warf geworfen : P TOWF
    bring_along brought = mit|bringen bringt brachte gebracht : P PATOWF
    eat ate eaten = essen isst aß gegessen : P F
    taste = probieren : P F
    prepare = vor|bereiten : P F
""")

DOUBLE_OBJECT = _verbs("""
    give gave given = geben gibt gab gegeben : P ATOWF
    show showed shown = zeigen : P PATOWL
    send sent = schicken : P ATOWF
    bring brought = bringen bringt brachte gebracht : P ATOWF
    lend lent = leihen leiht lieh geliehen : P ATOW
    offer = an|bieten bietet bot geboten : P ATOWF
    sell sold = verkaufen : P ATOWF
""")

OBJECT_TO = _verbs("""
    introduce = vor|stellen : P PA
    recommend = empfehlen empfiehlt empfahl empfohlen : P PWFL
    describe = beschreiben beschreibt beschrieb beschrieben : P PATOWL
    return = zurück|geben gibt gab gegeben : P ATOW
""")

INTRANSITIVE = _verbs("""
    sleep slept = schlafen schläft schlief geschlafen : PA
    laugh = lachen : P
    sing sang sung = singen singt sang gesungen : PA
    dance = tanzen : PA
    work = arbeiten : P
    play = spielen : PA
    wait = warten : PA
    cry = weinen : P
    smile = lächeln : P
    sit sat = sitzen sitzt saß gesessen : PA
    stand stood = stehen steht stand gestanden : PA
    live = leben : PA
    get_up got = auf|stehen+ steht stand gestanden : PA
    fall_asleep fell fallen = ein|schlafen+ schläft schlief geschlafen : PA
    arrive = an|kommen+ kommt kam gekommen : PA
    disappear = verschwinden+ verschwindet verschwand verschwunden : PA
""")

MOTION = _verbs("""
    go went gone = gehen+ geht ging gegangen : PA
    run ran run = laufen+ läuft lief gelaufen : PA
    drive drove driven = fahren+ fährt fuhr gefahren : P
    travel travelled = reisen+ : P
    come came come = kommen+ kommt kam gekommen : PA
    hurry = eilen+ : PA
    fly flew flown = fliegen+ fliegt flog geflogen : P
    wander = wandern+ : PA
""")

THAT = _verbs("""
    say said = sagen : P
    believe = glauben : P
    know knew known = wissen weiß wusste gewusst : P
    hope = hoffen : P
    think thought = denken denkt dachte gedacht : P
    notice = bemerken : PA
    claim = behaupten : P
    dream = träumen : PA
""")
TELL = _verbs("""
    tell told = erzählen : P
    promise = versprechen verspricht versprach versprochen : P
    assure = versichern : P
""")
WHETHER = _verbs("ask = fragen : P")
TO = _verbs("""
    try tried = versuchen : PA
    hope = hoffen : P
    plan planned = planen : P
    decide = beschließen beschließt beschloss beschlossen : P
""")
LET_TO = _verbs("""
    allow = erlauben : P
    advise = raten rät riet geraten : P
    forbid forbade forbidden = verbieten verbietet verbot verboten : P
""")
BE = replace(_verbs("be was been = sein+ ist war gewesen : PPPAATOWFL")[0], en_present="is")

# Verbs of state: nobody slowly knows a dog. The rest takes adverbs of manner.
STATES = _list("see know love need trust forget understand lose admire hear find live sleep")
# Verbs of what one does for somebody: "buys a book for the child".
FOR_SOMEBODY = _list("find look buy draw paint choose open repair prepare steal")


@dataclass(frozen=True)
class Tense:
    """How a clause is said: a simple form of its verb, or an auxiliary before an infinitive or a participle."""

    time: Literal["is", "was", "will", "has"]  # which adverbials of time fit; decides between als and wenn
    english: tuple[str, ...] = ()  # auxiliary for singular and plural; none in the simple tenses
    german: tuple[str, ...] = ()  # the same; none in the perfect, where the verb decides between haben and sein


PRESENT, PAST = Tense("is"), Tense("was")
PERFECT = Tense("has", ("has", "have"))
FUTURE = Tense("will", ("will", "will"), ("wird", "werden"))
MODALS = [
    Tense("will", ("can", "can"), ("kann", "können")),
    Tense("will", ("must", "must"), ("muss", "müssen")),
    Tense("will", ("should", "should"), ("sollte", "sollten")),
    Tense("will", ("wants to", "want to"), ("will", "wollen")),
]
PAST_MODALS = [
    Tense("was", ("could", "could"), ("konnte", "konnten")),
    Tense("was", ("had to", "had to"), ("musste", "mussten")),
    Tense("was", ("wanted to", "wanted to"), ("wollte", "wollten")),
]


@dataclass(frozen=True)
class Determiner:
    en: str
    de: str
    endings: dict[tuple[str, Case], str]
    adjective: dict[tuple[str, Case], str]  # endings of the adjectives that follow
    numbers: str  # "s" singular, "p" plural, "sp" both
    en_plural: str = ""  # "these" of "this"

    def german(self, gender: str, case: Case) -> str:
        return self.de + self.endings[gender, case]


THE = Determiner("the", "", DEFINITE, WEAK, "sp")
A = Determiner("a", "ein", EIN, MIXED, "s")
NO = Determiner("no", "kein", EIN, MIXED, "sp")
QUANTIFIERS = [
    Determiner("this", "dies", STRONG, WEAK, "sp", "these"),
    Determiner("every", "jed", STRONG, WEAK, "s"),
    Determiner("all the", "all", STRONG, WEAK, "p"),
    Determiner("many", "viel", STRONG, STRONG, "p"),
    Determiner("some", "einig", STRONG, STRONG, "p"),
]
POSSESSIVES = [
    Determiner(en, de, EIN, MIXED, "sp")
    for en, de in [("my", "mein"), ("his", "sein"), ("her", "ihr"), ("our", "unser"), ("their", "ihr")]
]


@dataclass(frozen=True)
class Pronoun:
    en: str
    en_object: str
    de: str
    accusative: str
    dative: str
    plural: bool

    def german(self, case: Case) -> str:
        return {"nom": self.de, "acc": self.accusative, "dat": self.dative}[case]


PRONOUNS = [
    Pronoun("he", "him", "er", "ihn", "ihm", plural=False),
    Pronoun("she", "her", "sie", "sie", "ihr", plural=False),
    Pronoun("we", "us", "wir", "uns", "uns", plural=True),
    Pronoun("they", "them", "sie", "sie", "ihnen", plural=True),
]
WHO = Pronoun("who", "whom", "wer", "wen", "wem", plural=False)


@dataclass(frozen=True)
class Preposition:
    en: str
    de: str
    case: Case
    city: str = ""  # its German before the name of a city, where that differs


RELATIONS = [
    Preposition("behind", "hinter", "dat"),
    Preposition("next to", "neben", "dat"),
    Preposition("in front of", "vor", "dat"),
    Preposition("near", "bei", "dat"),
]
TO_PLACE, INTO = Preposition("to", "zu", "dat", city="nach"), Preposition("into", "in", "acc")
FROM, OUT_OF = Preposition("from", "von", "dat"), Preposition("from", "aus", "dat")  # the market; the garden, Vienna
THROUGH = Preposition("through", "durch", "acc")
WITH, WITHOUT = Preposition("with", "mit", "dat"), Preposition("without", "ohne", "acc")
IN, FOR = Preposition("in", "in", "dat"), Preposition("for", "für", "acc")

ADVERBS = _words("often = oft, always = immer, sometimes = manchmal, rarely = selten")
MANNERS = _words("""
    slowly = langsam, carefully = vorsichtig, quickly = schnell, quietly = leise, gladly = gern, secretly = heimlich
""")
OPENINGS = _words("""
    perhaps = vielleicht, of course = natürlich, suddenly = plötzlich, finally = endlich, then = dann
""")

WEEKDAYS = _words("""
    Monday = Montag, Tuesday = Dienstag, Wednesday = Mittwoch, Thursday = Donnerstag, Friday = Freitag
    Saturday = Samstag, Sunday = Sonntag
""")
MONTHS = _words("""
    January = Januar, February = Februar, March = März, April = April, May = Mai, June = Juni, July = Juli
    August = August, September = September, October = Oktober, November = November, December = Dezember
    spring = Frühling, summer = Sommer, autumn = Herbst, winter = Winter
""")
DAYTIMES = _words("morning = Morgen, afternoon = Nachmittag, evening = Abend")
PERIODS = _nouns(
    "E",
    """
    day = m Tag Tage
    week = f Woche Wochen
    month = m Monat Monate
    year = n Jahr Jahre
""",
)
DEICTIC = _words("today = heute, now = jetzt, yesterday = gestern, tomorrow = morgen, soon = bald")


@dataclass(frozen=True)
class Conjunction:
    en: str
    de: str
    de_past: str = ""  # where it differs: "when" is wenn, but als of a time gone by
    simple: bool = False  # only the simple tenses sound well after it


SUBORDINATORS = [
    Conjunction("because", "weil"),
    Conjunction("although", "obwohl"),
    Conjunction("when", "wenn", "als", simple=True),
    Conjunction("while", "während", simple=True),
    Conjunction("before", "bevor", simple=True),
    Conjunction("until", "bis", simple=True),
    Conjunction("as soon as", "sobald", simple=True),
]
THAT_CLAUSE, WHETHER_CLAUSE = Conjunction("that", "dass"), Conjunction("whether", "ob")
IN_ORDER_TO = Conjunction("in order", "um")
AND, BUT, OR = Word("and", "und"), Word("but", "aber"), Word("or", "oder")
QUESTION_WORDS = _words("why = warum, where = wo, when = wann")

UNITS = _words("""
    one = ein, two = zwei, three = drei, four = vier, five = fünf, six = sechs, seven = sieben, eight = acht
    nine = neun, ten = zehn, eleven = elf, twelve = zwölf, thirteen = dreizehn, fourteen = vierzehn
    fifteen = fünfzehn, sixteen = sechzehn, seventeen = siebzehn, eighteen = achtzehn, nineteen = neunzehn
""")
TENS = _words("""
    twenty = zwanzig, thirty = dreißig, forty = vierzig, fifty = fünfzig, sixty = sechzig, seventy = siebzig
    eighty = achtzig, ninety = neunzig
""")
HUNDRED = Word("hundred", "hundert")
O_CLOCK = Word("o'clock", "Uhr")


def english_number(n: int) -> str:
    """2 to 99, or a whole hundred below 1,000, in words: "twenty-one"."""
    if n >= 100:
        return f"{UNITS[n // 100 - 1].en} {HUNDRED.en}"
    if n < 20:
        return UNITS[n - 1].en
    return TENS[n // 10 - 2].en + (f"-{UNITS[n % 10 - 1].en}" if n % 10 else "")


def german_number(n: int) -> str:
    """The same, the unit before the ten: "einundzwanzig"."""
    if n >= 100:
        return UNITS[n // 100 - 1].de + HUNDRED.de
    if n < 20:
        return UNITS[n - 1].de
    return (f"{UNITS[n % 10 - 1].de}und" if n % 10 else "") + TENS[n // 10 - 2].de


@dataclass(frozen=True)
class Time:
    """An adverbial of time, and the times of Tense it fits."""

    en: str
    de: str
    fits: str


def _times() -> list[list[Time]]:
    """Adverbials of time, in groups of which each is as likely as another."""

    def german(stem: str, noun: Noun) -> str:
        return f"{stem}{STRONG[noun.gender, 'acc']} {noun.german(False, 'acc')}"

    usual = "is was will"
    fits = {"today": "is was will has", "now": "is", "yesterday": "was", "tomorrow": "is will", "soon": "will"}
    deictic = [Time(word.en, word.de, fits[word.en]) for word in DEICTIC]
    every = [Time(f"every {noun.en}", german("jed", noun), usual) for noun in PERIODS]
    last = [Time(f"last {noun.en}", german("letzt", noun), "was") for noun in PERIODS[1:]]
    next_ = [Time(f"next {noun.en}", german("nächst", noun), "will") for noun in PERIODS[1:]]
    days = [Time(f"on {word.en}", f"am {word.de}", usual) for word in WEEKDAYS]
    months = [Time(f"in {word.en}", f"im {word.de}", usual) for word in MONTHS]
    daytimes = [Time(f"in the {word.en}", f"am {word.de}", usual) for word in DAYTIMES]
    hours = [Time(f"at {n.en} {O_CLOCK.en}", f"um {n.de} {O_CLOCK.de}", usual) for n in UNITS[:12]]
    events = [
        Time(f"after the {noun.en}", f"nach {DEFINITE[noun.gender, 'dat']} {noun.german(False, 'dat')}", usual)
        for noun in EVENTS
    ]
    return [deictic, deictic, every, last + next_, days, days, *[months] * 4, daytimes, hours, events, events]


TIMES = {
    time: [fit for group in _times() if (fit := [t for t in group if time in t.fits.split()])]
    for time in ("is", "was", "will", "has")
}

KINDS = "PATOWFL"
NOUNS_OF = {kind: [noun for noun in NOUNS if noun.kind == kind] for kind in KINDS}
ADJECTIVES_OF = {kind: [adjective for adjective in ADJECTIVES if kind in adjective.kinds] for kind in KINDS}
COMPARABLE_OF = {kind: [adjective for adjective in ADJECTIVES_OF[kind] if adjective.en_more] for kind in KINDS}
CONTRACTIONS = {
    "in dem": "im",
    "in das": "ins",
    "an dem": "am",
    "zu dem": "zum",
    "zu der": "zur",
    "von dem": "vom",
    "bei dem": "beim",
}
VERBS_OF = {  # by the shape of their clause
    "transitive": TRANSITIVE,
    "double": DOUBLE_OBJECT,
    "to": OBJECT_TO,
    "intransitive": INTRANSITIVE,
    "motion": MOTION,
    "be": [BE],
}
