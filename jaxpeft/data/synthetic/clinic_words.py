"""What the made-up clinical sentences are put together from: problems, treatments, tests and what happens to people.

A phrase is built of parts, so that there are thousands and a test document has many that training lacks.
"""

from random import Random

_SITES = (
    "left", "right", "bilateral", "upper", "lower", "left lower lobe", "right upper quadrant", "abdominal", "pelvic",
    "cervical", "lumbar", "lower extremity", "left hip", "right shoulder", "proximal", "distal", "posterior",
)  # fmt: skip
_DEGREES = (
    "mild", "moderate", "severe", "acute", "chronic", "worsening", "recurrent", "new onset", "persistent",
    "intermittent", "diffuse", "known", "progressive", "significant", "subacute", "minimal",
)  # fmt: skip
_LOCAL_PROBLEMS = (  # a site may stand before them
    "pain", "pneumonia", "pleural effusion", "edema", "weakness", "tenderness", "hematoma", "abscess", "mass",
    "fracture", "infiltrate", "stenosis", "thrombosis", "cellulitis", "lymphadenopathy", "ulcer", "swelling",
    "numbness", "consolidation", "atelectasis", "hemorrhage", "infarct", "wound infection", "nodule",
)  # fmt: skip
_PROBLEMS = (
    "chest pain", "shortness of breath", "fever", "nausea", "vomiting", "diarrhea", "hypertension",
    "diabetes mellitus", "atrial fibrillation", "coronary artery disease", "congestive heart failure",
    "renal failure", "renal insufficiency", "urinary tract infection", "sepsis", "anemia", "hypotension",
    "tachycardia", "bradycardia", "syncope", "dizziness", "gastrointestinal bleeding", "pancreatitis", "cirrhosis",
    "hepatitis C", "asthma", "COPD", "respiratory distress", "hypoxia", "pulmonary embolism",
    "deep venous thrombosis", "stroke", "seizures", "delirium", "depression", "anxiety", "hyperkalemia",
    "hyponatremia", "hypothyroidism", "hyperlipidemia", "rash", "headache", "confusion", "constipation",
    "osteoarthritis", "breast cancer", "metastatic disease", "neutropenia", "thrombocytopenia", "pulmonary edema",
    "myocardial infarction", "aortic stenosis", "mitral regurgitation", "melena", "dysuria", "dehydration",
    "obesity", "Crohn &apos;s disease", "Alzheimer &apos;s dementia", "Parkinson &apos;s disease",
)  # fmt: skip
_DRUGS = (
    "aspirin", "Lasix", "Coumadin", "heparin", "vancomycin", "levofloxacin", "ceftriaxone", "Flagyl", "metoprolol",
    "lisinopril", "Lipitor", "Plavix", "insulin", "prednisone", "albuterol nebulizers", "Protonix", "morphine",
    "Percocet", "Tylenol", "digoxin", "amiodarone", "diltiazem", "nitroglycerin", "dopamine", "Levophed", "potassium",
    "magnesium", "iron sulfate", "Colace", "Zofran", "Ativan", "Haldol", "Dilantin", "Synthroid", "metformin",
    "glyburide", "Neurontin", "Zoloft", "gentamicin", "ampicillin", "fluconazole", "acyclovir", "tamoxifen",
    "methotrexate", "cisplatin", "IV fluids", "oxygen", "packed red blood cells", "fresh frozen plasma", "TPN",
)  # fmt: skip
_PROCEDURES = (
    "cardiac catheterization", "coronary artery bypass graft", "hemodialysis", "intubation",
    "mechanical ventilation", "a laparoscopic cholecystectomy", "an exploratory laparotomy", "a chest tube",
    "a Foley catheter", "physical therapy", "radiation therapy", "chemotherapy", "a blood transfusion",
    "a pacemaker", "thoracentesis", "a right hip replacement", "stent placement", "debridement", "I & D",
    "a tracheostomy", "a PICC line", "an appendectomy", "CPAP", "bed rest",
)  # fmt: skip
_LABS = (
    "white blood cell count", "hematocrit", "creatinine", "potassium level", "troponin", "liver function tests",
    "blood cultures", "urine culture", "urinalysis", "blood pressure", "INR", "H & H", "sputum culture", "glucose",
    "lipase", "oxygen saturation", "arterial blood gas", "physical examination", "heart rate", "platelet count",
    "CBC",
)  # fmt: skip
_IMAGING = (
    "chest x-ray", "CT scan", "MRI", "ultrasound", "echocardiogram", "EKG", "stress test", "colonoscopy", "EGD",
    "biopsy", "bronchoscopy", "angiogram", "bone scan", "CT angiogram", "plain film", "PET scan",
)  # fmt: skip
_REGIONS = ("the head", "the chest", "the abdomen", "the abdomen & pelvis", "the brain", "the spine", "the left leg")
_DETERMINERS = ("", "", "", "", "a", "his", "her", "the", "any")

OTHERS: dict[str, tuple[str, ...]] = {
    "evidential": (
        "showed", "revealed", "demonstrated", "was notable for", "was consistent with", "confirmed", "suggested",
        "indicated", "was positive for",
    ),
    "told": ("reported", "complained of", "noted", "denied", "described", "stated that he had", "endorsed"),
    "dept": (
        "the emergency department", "the ICU", "the medical floor", "Surgery", "the operating room", "Cardiology",
        "the coronary care unit", "the recovery room", "Neurology", "the rehabilitation facility", "the clinic",
    ),
    "occurrence": (
        "admitted", "transferred", "brought", "readmitted", "taken", "referred", "sent", "moved",
    ),
    "dose": ("20 mg daily", "40 mg p.o. b.i.d.", "5 mg q.h.s.", "1 g IV q.12h.", "two tablets", "81 mg", "as needed"),
    "value": ("10.2", "98", "1.4", "36.5", "140", "7.38", "0.9", "12,000", "elevated", "low", "normal", "pending"),
    "when": (
        "today", "on admission", "on hospital day 3", "overnight", "this morning", "last week", "in 2011",
        "initially", "postoperatively", "prior to discharge", "over the next two days", "at that time",
    ),
    "who": ("the patient", "he", "she", "Mr. Hale", "Ms. Ortiz", "this 64 year old man", "this pleasant woman"),
}  # fmt: skip


def problem(rng: Random) -> str:
    """A problem, often with its degree and site."""
    degree = rng.choice(_DEGREES) + " " if rng.random() < 0.35 else ""
    if rng.random() < 0.4:
        return _determined(rng, degree + rng.choice(_SITES) + " " + rng.choice(_LOCAL_PROBLEMS))
    return degree + rng.choice(_PROBLEMS)


def treatment(rng: Random) -> str:
    """A drug or a procedure."""
    if rng.random() < 0.3:
        return rng.choice(_PROCEDURES)
    pair = f"{rng.choice(_DRUGS)} and {rng.choice(_DRUGS)}" if rng.random() < 0.04 else rng.choice(_DRUGS)
    return ("IV " if rng.random() < 0.1 else "") + pair


def lab(rng: Random) -> str:
    """Something that has a value."""
    return ("repeat " if rng.random() < 0.1 else "") + rng.choice(_LABS)


def test(rng: Random) -> str:
    """A laboratory value or an examination."""
    if rng.random() < 0.4:
        return lab(rng)
    region = f" of {rng.choice(_REGIONS)}" if rng.random() < 0.4 else ""
    return _determined(rng, rng.choice(_IMAGING) + region)


def _determined(rng: Random, noun: str) -> str:
    determiner = rng.choice(_DETERMINERS)
    return f"{determiner} {noun}" if determiner else noun
