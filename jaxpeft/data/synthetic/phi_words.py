"""Made-up identifiers of people, places and things, by the types of i2b2 2014, and the lines that they stand in."""

from random import Random

_FIRST = (
    "Donald", "Maria", "Harold", "Ingrid", "Walter", "Teresa", "Kofi", "Yolanda", "Edwin", "Priya", "Gerald",
    "Noriko", "Frances", "Oscar", "Beatrice", "Ivan", "Lucille", "Abdul", "Martha", "Clyde", "Wanda", "Ezra",
    "Paula", "Hugo",
)  # fmt: skip
# Put together from two parts, so that there are hundreds and a test document has many that training lacks.
_LAST = (
    ("Ash", "Bell", "Cald", "Del", "Ester", "Fair", "Gold", "Hol", "Iver", "Kap", "Lind", "Mar", "Now", "Oka", "Pem",
     "Quin", "Ros", "San", "Thorn", "Under", "Vand", "Whit", "Yam", "Zam"),
    ("ford", "amy", "well", "gado", "hazy", "child", "berg", "loway", "sen", "lan", "qvist", "shall", "ak", "for",
     "brook", "tero", "etti", "ton", "hill", "erlin", "aker", "ada", "ora", "ovic"),
)  # fmt: skip
_PLACES = (
    ("Ash", "Bridge", "Cedar", "Dan", "East", "Fair", "Gran", "Har", "Hol", "Lake", "Mill", "Nor", "Oak", "Pine",
     "Rock", "Stone", "Under", "West"),
    ("land", "ton", " Falls", "vers", "port", "mont", "ville", "bor", "yoke", "bury", "brook", "wood", "dale", "crest",
     "ford", " Heights", " Springs"),
)  # fmt: skip
_STATES = ("Ohio", "Massachusetts", "Vermont", "Texas", "MA", "NH", "Oregon", "Maine", "Georgia", "Iowa")
_COUNTRIES = ("Peru", "Portugal", "Vietnam", "Haiti", "Ukraine", "Kenya", "Ireland", "Guatemala", "Thailand", "Canada")
_STANDING = ("", "", "retired ", "part time ", "former ", "self-employed ")
_WORK = (
    "machinist", "school teacher", "carpenter", "bus driver", "paralegal", "nurse", "electrician", "farmer",
    "librarian", "software engineer", "chef", "postal worker", "real estate agent", "welder", "bookkeeper",
)  # fmt: skip
_TRADES = (
    "Foods", "Transit", "Plumbing", "Insurance", "Textiles", "Rotary Club", "University", "Roofing", "Savings Bank",
)  # fmt: skip
_LANDMARKS = ("Lake {0}", "Route #", "the {0} Bridge", "Mount {0}", "Pier ##", "Camp {0}")
_UNITS = ("Cardiology", "Internal Medicine", "CCU", "Radiology", "Surgical Oncology", "Neurology", "Orthopedics", "GI")
_MONTHS = ("January", "March", "April", "June", "August", "October", "December")


def identifier(rng: Random, type: str) -> str:
    """An identifier of a type of i2b2 2014."""
    return str(_MAKERS[type](rng))


def _surname(rng: Random) -> str:
    return "".join(map(rng.choice, _LAST))


def _place(rng: Random) -> str:
    return "".join(map(rng.choice, _PLACES))


def _firm(rng: Random) -> str:
    return f"{_surname(rng)} & {_surname(rng)}" if rng.random() < 0.3 else f"{_place(rng)} {rng.choice(_TRADES)}"


def _name(rng: Random) -> str:
    first, last = rng.choice(_FIRST), _surname(rng)
    forms = (f"{first} {last}", f"{last}, {first}", last, f"{first} {rng.choice('ABCDEJLM')}. {last}", last.upper())
    return rng.choices(forms, (5, 2, 3, 2, 1))[0]


def _date(rng: Random) -> str:
    year, month, day = rng.randint(2060, 2099), rng.randint(1, 12), rng.randint(1, 28)
    forms = (
        f"{year}-{month:02d}-{day:02d}", f"{month}/{day}/{year % 100}", f"{month:02d}/{day:02d}/{year}",
        f"{rng.choice(_MONTHS)} {day}, {year}", f"{rng.choice(_MONTHS)} of {year}", str(year), f"{month}/{day}",
    )  # fmt: skip
    return rng.choices(forms, (3, 3, 4, 2, 1, 1, 2))[0]


def _digits(rng: Random, pattern: str) -> str:
    """The pattern with a digit for each `#` and a letter for each `?`."""
    return "".join(
        str(rng.randint(0, 9)) if c == "#" else rng.choice("ABCDEFGHKLMNPRSTUVWXYZ") if c == "?" else c for c in pattern
    )


def _site(rng: Random) -> str:
    return _place(rng).replace(" ", "").lower() + ".org"


_MAKERS = {
    "PATIENT": _name,
    "DOCTOR": _name,
    "USERNAME": lambda rng: _digits(rng, rng.choice(("??#", "??##", "?##", "??###"))).lower(),
    "PROFESSION": lambda rng: rng.choice(_STANDING) + rng.choice(_WORK),
    "ROOM": lambda rng: _digits(rng, rng.choice(("###", "?#-###", "Bay #", "#?##"))),
    "DEPARTMENT": lambda rng: rng.choice(_UNITS),
    "HOSPITAL": lambda rng: _place(rng) + rng.choice((" General Hospital", " Medical Center", " Clinic", "")),
    "ORGANIZATION": _firm,
    "STREET": lambda rng: f"{rng.randint(2, 990)} {_surname(rng)} {rng.choice(('Street', 'Lane', 'Avenue', 'Rd'))}",
    "CITY": _place,
    "STATE": lambda rng: rng.choice(_STATES),
    "COUNTRY": lambda rng: rng.choice(_COUNTRIES),
    "ZIP": lambda rng: _digits(rng, rng.choice(("#####", "#####", "#####-####"))),
    "LOCATION-OTHER": lambda rng: _digits(rng, rng.choice(_LANDMARKS)).replace("{0}", _surname(rng)),
    "AGE": lambda rng: str(rng.randint(18, 99)),
    "DATE": _date,
    "PHONE": lambda rng: _digits(rng, rng.choice(("(###) ###-####", "###-###-####", "###-####", "x#####"))),
    "FAX": lambda rng: _digits(rng, rng.choice(("(###) ###-####", "###-###-####"))),
    "EMAIL": lambda rng: f"{_surname(rng).lower()}{rng.randint(1, 99)}@{_site(rng)}",
    "URL": lambda rng: f"www.{_site(rng)}/{_digits(rng, '??##').lower()}",
    "IPADDR": lambda rng: ".".join(str(rng.randint(1, 254)) for _ in range(4)),
    "SSN": lambda rng: _digits(rng, "###-##-####"),
    "MEDICALRECORD": lambda rng: _digits(rng, rng.choice(("#######", "###-##-##", "###-##-##-#", "########"))),
    "HEALTHPLAN": lambda rng: _digits(rng, "???-#########"),
    "ACCOUNT": lambda rng: _digits(rng, "##########"),
    "LICENSE": lambda rng: _digits(rng, rng.choice(("??#######", "S########"))),
    "VEHICLE": lambda rng: _digits(rng, "### ???"),
    "DEVICE": lambda rng: _digits(rng, "??-####-?#"),
    "BIOID": lambda rng: _digits(rng, "BIO##-#####"),
    "IDNUM": lambda rng: _digits(rng, rng.choice(("##-########", "??###/####", "#########"))),
}  # fmt: skip

HEADS = (
    "Record date: {DATE}", "MRN: {MEDICALRECORD}", "{PATIENT}", "Patient Name: {PATIENT} [MRN: {MEDICALRECORD}]",
    "{HOSPITAL}", "Account Number: {ACCOUNT}", "SSN {SSN}   Health plan {HEALTHPLAN}", "Room: {ROOM}",
    "Location: {DEPARTMENT} {ROOM}", "{STREET}\n{CITY}, {STATE} {ZIP}",
    "Visit date {DATE}   Attending: {DOCTOR}, M.D.", "Accession {IDNUM}",
)  # fmt: skip
BODY = (
    "Patient is a {AGE}yo who was last seen on {DATE}.",
    "{PATIENT} is a {AGE} year old {PROFESSION} from {COUNTRY}.",
    "Mr. {PATIENT} was transferred from {HOSPITAL} on {DATE}.", "Seen with Dr. {DOCTOR} of {DEPARTMENT} on {DATE}.",
    "Works as a {PROFESSION} at {ORGANIZATION} and lives in {CITY}, {STATE}.", "Daughter can be reached at {PHONE}.",
    "Fax results to {FAX}, attention Dr. {DOCTOR}.", "Family history: father died at {AGE} of MI in {DATE}.",
    "Portal message from {EMAIL} on {DATE} was reviewed.", "Instructions at {URL} were given to Ms. {PATIENT}.",
    "Remote transmission from {IPADDR}, device serial {DEVICE}.", "Driver's license {LICENSE}, plate {VEHICLE}.",
    "Enrolled in the registry under {BIOID}.", "Lives at {STREET}, {CITY} {ZIP}.",
    "Fell while walking near {LOCATION-OTHER}.", "Records requested from {HOSPITAL}, phone {PHONE}.",
    "She is {AGE} and was born in {COUNTRY}.", "Dr. {DOCTOR}MD agrees with the plan.",
    "Order number {IDNUM} was sent {DATE}.", "Discussed with {DOCTOR} by pager {PHONE}.",
    "Vacationed at {LOCATION-OTHER} in {DATE} with her sister.", "{DATE}: returned to {DEPARTMENT} for follow up.",
)  # fmt: skip
TAILS = (
    "{DOCTOR}, M.D.", "Signed electronically by {DOCTOR} MD on {DATE}", "DD: {DATE} TR: {USERNAME} DT: {DATE}",
    "{USERNAME} / {IDNUM}", "cc: {DOCTOR}, {HOSPITAL}, {STREET}, {CITY}, {STATE} {ZIP}",
)  # fmt: skip
