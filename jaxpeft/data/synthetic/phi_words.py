"""Made-up identifiers of people, places and things, by the types of i2b2 2014, and the lines that they stand in."""

from random import Random

_FIRST = (
    "Donald", "Maria", "Harold", "Ingrid", "Walter", "Teresa", "Kofi", "Yolanda", "Edwin", "Priya", "Gerald",
    "Noriko", "Frances", "Oscar", "Beatrice", "Ivan", "Lucille", "Abdul", "Martha", "Clyde", "Wanda", "Ezra",
    "Paula", "Hugo",
)  # fmt: skip
_LAST = (
    "Reese", "Vance", "Okafor", "Lindqvist", "Marsh", "Delgado", "Pruitt", "Yamada", "Bellamy", "Nowak", "Quinn",
    "Holloway", "Santoro", "Whitaker", "Ferrell", "Osei", "Castellano", "Mercado", "Tillman", "Voss", "Underhill",
    "Kaplan", "Ibarra", "Thornton", "Gaines", "Zamora", "Petrov", "Ashford", "Lockwood", "Mehta",
)  # fmt: skip
_PLACES = (
    "Fairmont", "Cedar Falls", "Holyoke", "Bridgeton", "Ashland", "Norwood", "Eastport", "Granville", "Lakemont",
    "Westbury", "Millbrook", "Danvers", "Salem Heights", "Harborview", "Pinecrest", "Stonebridge", "Rockford",
    "Oakdale",
)  # fmt: skip
_STATES = ("Ohio", "Massachusetts", "Vermont", "Texas", "MA", "NH", "Oregon", "Maine", "Georgia", "Iowa")
_COUNTRIES = ("Peru", "Portugal", "Vietnam", "Haiti", "Ukraine", "Kenya", "Ireland", "Guatemala", "Thailand", "Canada")
_WORK = (
    "retired machinist", "school teacher", "carpenter", "bus driver", "paralegal", "nurse", "electrician", "farmer",
    "librarian", "software engineer", "chef", "postal worker", "real estate agent", "welder", "bookkeeper",
)  # fmt: skip
_FIRMS = (
    "Johnson & Barlow", "Northgate Foods", "Tri-County Transit", "Apex Plumbing", "Halden Insurance", "Kline & Sons",
    "Meridian Textiles", "the Rotary Club", "Bluefield University",
)  # fmt: skip
_UNITS = ("Cardiology", "Internal Medicine", "CCU", "Radiology", "Surgical Oncology", "Neurology", "Orthopedics", "GI")
_LANDMARKS = ("Lake Winola", "Route 9", "the Harmon Bridge", "Mount Ardell", "Pier 14", "Camp Wendover")
_MONTHS = ("January", "March", "April", "June", "August", "October", "December")


def identifier(rng: Random, type: str) -> str:
    """An identifier of a type of i2b2 2014."""
    return str(_MAKERS[type](rng))


def _name(rng: Random) -> str:
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
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
    return rng.choice(_PLACES).replace(" ", "").lower() + ".org"


_MAKERS = {
    "PATIENT": _name,
    "DOCTOR": _name,
    "USERNAME": lambda rng: _digits(rng, rng.choice(("??#", "??##", "?##", "??###"))).lower(),
    "PROFESSION": lambda rng: rng.choice(_WORK),
    "ROOM": lambda rng: _digits(rng, rng.choice(("###", "?#-###", "Bay #", "#?##"))),
    "DEPARTMENT": lambda rng: rng.choice(_UNITS),
    "HOSPITAL": lambda rng: rng.choice(_PLACES) + rng.choice((" General Hospital", " Medical Center", " Clinic", "")),
    "ORGANIZATION": lambda rng: rng.choice(_FIRMS),
    "STREET": lambda rng: f"{rng.randint(2, 990)} {rng.choice(_LAST)} {rng.choice(('Street', 'Lane', 'Avenue', 'Rd'))}",
    "CITY": lambda rng: rng.choice(_PLACES),
    "STATE": lambda rng: rng.choice(_STATES),
    "COUNTRY": lambda rng: rng.choice(_COUNTRIES),
    "ZIP": lambda rng: _digits(rng, rng.choice(("#####", "#####", "#####-####"))),
    "LOCATION-OTHER": lambda rng: rng.choice(_LANDMARKS),
    "AGE": lambda rng: str(rng.randint(18, 99)),
    "DATE": _date,
    "PHONE": lambda rng: _digits(rng, rng.choice(("(###) ###-####", "###-###-####", "###-####", "x#####"))),
    "FAX": lambda rng: _digits(rng, rng.choice(("(###) ###-####", "###-###-####"))),
    "EMAIL": lambda rng: f"{rng.choice(_LAST).lower()}{rng.randint(1, 99)}@{_site(rng)}",
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
