"""What the made-up notes are put together from: words by slot, and for each class what only its patients have.

A template's `{slot}` stands for one of WORDS[slot], which may have slots of its own.
"""

MARKS = {
    "date": tuple(f"[**21{40 + i % 60}-{1 + i % 12}-{1 + i * 7 % 28}**]" for i in range(120)),
    "hospital": tuple(f"[**Hospital{1 + i % 2} {i}**]" for i in range(2, 60, 3)),
    "doctor": tuple(f"[**Last Name (NamePattern{1 + i % 2}) {100 + i * 37}**]" for i in range(40)),
    "surname": tuple(f"[**Known lastname {100 + i * 41}**]" for i in range(60)),
}

WORDS: dict[str, tuple[str, ...]] = MARKS | {
    "few": ("two", "three", "four", "five", "several", "2", "3"),
    "percent": tuple(f"{n}%" for n in range(60, 100, 5)),
    "showed": ("showed", "revealed", "demonstrated", "was notable for", "was read as", "was consistent with"),
    "presented": (
        "presented with", "presents with", "was admitted with", "was brought in by EMS with", "is transferred from "
        "{hospital} with", "came to the ED with", "was referred from clinic for", "was found at home with",
    ),
    "since": (
        "for {few} days", "since yesterday", "over the past week", "for {few} hours", "worsening over {few} weeks",
        "which began this morning", "of sudden onset", "of unclear duration", "",
    ),
    "past": (
        "a history of {0}", "known {0}", "prior {0}", "longstanding {0}", "past medical history of {0}", "remote {0}",
    ),
    "severe": ("severe", "critical", "moderate to severe", "worsening", "new"),
    "vessel": ("LAD", "RCA", "left circumflex", "left main", "first diagonal", "OM1", "proximal LAD", "distal RCA"),
    "cath": ("cardiac catheterization", "coronary angiography", "cath", "angiogram at {hospital}", "left heart cath"),
    "cabg": ("CABG x{graft}", "bypass surgery", "coronary artery bypass grafting", "surgical revascularization"),
    "graft": ("2", "3", "4"),
    "valve": ("aortic stenosis", "mitral regurgitation", "aortic valve disease", "a flail mitral leaflet", "MR"),
    "ekg": ("EKG", "ECG", "electrocardiogram", "twelve lead tracing"),
    "st": ("ST elevations", "ST depressions", "T wave inversions", "dynamic ST changes", "anterior Q waves"),
    "echo": ("echo", "TTE", "echocardiogram", "transthoracic echo"),
    "film": ("chest x-ray", "CXR", "portable chest film", "chest CT", "imaging of the chest"),
    "lobe": ("right lower lobe", "left lower lobe", "RML", "bibasilar", "multifocal", "lingular", "LLL"),
    "infiltrate": ("consolidation", "infiltrate", "opacity", "airspace disease", "opacities"),
    "intubated": ("intubated", "placed on the ventilator", "put on BiPAP", "started on noninvasive ventilation"),
    "antibiotic": ("levofloxacin", "ceftriaxone and azithromycin", "vancomycin and zosyn", "cefepime", "unasyn"),
    "pressor": ("levophed", "neosynephrine", "pressors", "dopamine", "vasopressin"),
    "germ": ("E. coli", "MRSA", "gram negative rods", "Klebsiella", "coag negative staph", "gram positive cocci"),
    "creatinine": ("2.9", "3.4", "4.1", "5.6", "6.8", "7.2"),
    "scope": ("EGD", "upper endoscopy", "colonoscopy", "endoscopy", "push enteroscopy"),
    "ulcer": (
        "a duodenal ulcer", "a visible vessel", "angioectasias", "diverticula with fresh blood", "gastritis", "varices",
        "a Dieulafoy lesion",
    ),
    "stool": ("melena", "black tarry stools", "bright red blood per rectum", "maroon stools", "hematochezia"),
    "headct": ("CT head", "head CT", "noncontrast CT of the head", "neuroimaging", "CT scan of the brain"),
    "lobe_brain": (
        "right frontal", "left parietal", "left temporal", "cerebellar", "right basal ganglia", "thalamic", "occipital",
    ),
    "bleed": ("hemorrhage", "intraparenchymal bleed", "hematoma", "intracranial bleeding", "ICH"),
    "deficit": (
        "left sided weakness", "right hemiparesis", "aphasia", "a facial droop", "a field cut", "word finding trouble",
    ),
    "tumor": ("lung cancer", "breast cancer", "melanoma", "renal cell carcinoma", "adenocarcinoma", "NSCLC"),
    "lesion": ("enhancing lesion", "ring enhancing mass", "mass with edema", "metastatic focus", "lesion"),
    "weeks": ("28", "30", "32", "33", "34", "35", "36", "37", "38", "39", "40"),
    "grams": tuple(map(str, range(1180, 3900, 85))),
    "baby": ("Baby {surname}", "Baby [**Known lastname 91**]", "Infant {surname}", "Twin number two", "This newborn"),
    "apgar": ("7 and 8", "8 and 9", "5 and 7", "9 and 9", "6 and 8"),
    "doctorly": ("Dr. {doctor}", "the primary team", "the consult service", "the family", "PCP {doctor}"),
}  # fmt: skip

# What each class's illness looks like when it is why the patient came: the evidence of a note.
FINDINGS: dict[str, tuple[str, ...]] = {
    "AcuteMedicine": (
        "creatinine on arrival was {creatinine}, up from a baseline of 1.1",
        "blood cultures grew {germ} in {few} bottles",
        "lactate was 5.2 and {pressor} was started through a central line",
        "remained hypotensive after {few} liters of saline and needed {pressor}",
        "urine sediment had muddy brown casts and output fell below 10 cc an hour",
        "renal was consulted for rising creatinine and oliguria",
        "was felt to be volume depleted with a FENa under 1 and acute kidney injury",
        "{germ} grew from urine and blood and early goal directed therapy was begun",
        "dialysis was considered as BUN reached 118 with {creatinine} of creatinine",
        "spiked to 103 with rigors, white count 24 and bands, source thought to be the line",
        "nephrotoxins were held and creatinine slowly came down from {creatinine}",
        "covered broadly with {antibiotic} for septic physiology without a clear source",
    ),
    "Cardiology": (
        "{cath} {showed} a {percent} {vessel} stenosis",
        "{cath} {showed} three vessel disease with a {percent} {vessel} lesion",
        "{ekg} {showed} {st} and troponin peaked at 4.8",
        "cardiac enzymes were positive and a heparin drip was begun before {cath}",
        "{echo} {showed} {severe} {valve}",
        "was taken to the OR for {cabg}",
        "the {vessel} was opened with a drug eluting stent",
        "valve replacement was done for {severe} {valve}",
        "was gently diuresed with IV lasix for volume overload, EF 25% by {echo}",
        "exercise testing was stopped for {st}, and {cath} was arranged",
        "BNP was 1840 with elevated neck veins and pulmonary edema, and lasix was given",
        "came to surgery electively for {cabg} and did well off pump",
        "substernal pressure radiating to the jaw eased with nitroglycerin, CK-MB rose to 62",
        "valve area was 0.7 with a mean gradient of 48",
    ),
    "Gastroenterology": (
        "hematocrit fell to 21 with {few} episodes of {stool}",
        "{scope} {showed} {ulcer}",
        "lipase was 2140 with epigastric pain boring to the back",
        "CT abdomen {showed} peripancreatic stranding and fluid",
        "NG lavage returned coffee grounds and {few} units were transfused",
        "was kept NPO with aggressive fluids for pancreatic inflammation, gallstones on ultrasound",
        "GI was consulted and {scope} {showed} {ulcer}, which was clipped",
        "tagged red cell scan was positive after {stool}",
        "amylase and lipase trended down and diet was advanced from clears",
        "had {stool} while on coumadin, and {few} units of FFP were given before {scope}",
        "PPI drip was started for {stool}",
    ),
    "Neurology": (
        "{headct} {showed} a {lobe_brain} {bleed}",
        "worst headache of life, and {headct} {showed} blood in the cisterns",
        "cerebral angiogram {showed} an anterior communicating artery aneurysm, which was coiled",
        "exam had {deficit} with a {lobe_brain} {bleed} on imaging",
        "nimodipine was given and transcranial dopplers watched for vasospasm",
        "an external ventricular drain was placed for hydrocephalus",
        "blood pressure was kept below 140 with nicardipine for a stable {lobe_brain} {bleed}",
        "repeat {headct} {showed} no extension of the {bleed}, amyloid angiopathy suspected",
        "was found with {deficit}, and {headct} {showed} midline shift from a {bleed}",
        "Hunt and Hess grade 3, taken for aneurysm clipping",
        "loaded with dilantin for the {lobe_brain} {bleed} and watched with hourly neuro checks",
    ),
    "Oncology": (
        "MRI brain {showed} a {lobe_brain} {lesion} in the setting of {tumor}",
        "{headct} {showed} a {lobe_brain} {lesion} with vasogenic edema",
        "decadron was started and whole brain radiation planned for {few} lesions",
        "was taken for craniotomy and resection, pathology favored {tumor}",
        "stereotactic radiosurgery was offered for the {lobe_brain} {lesion}",
        "{deficit} improved on decadron, staging scans {showed} {tumor}",
        "neuro-oncology saw the patient for {few} {lobe_brain} {lesion}s from {tumor}",
        "cord compression from spread of {tumor} was treated with radiation",
    ),
    "Respiratory": (
        "{film} {showed} {lobe} {infiltrate}",
        "was {intubated} for hypoxia with a saturation of 82% on room air",
        "ABG was 7.21/88/61 and the patient was {intubated}",
        "coughed up green sputum, and {antibiotic} was started for {lobe} {infiltrate}",
        "aspirated while eating, {film} {showed} {lobe} {infiltrate}",
        "needed a nonrebreather and then was {intubated} for work of breathing",
        "slowly weaned from the ventilator, trach was discussed",
        "nebulizers, steroids and {antibiotic} were given for hypercarbic failure",
        "sputum grew {germ}, {lobe} {infiltrate} improved on {antibiotic}",
        "failed a swallow study, with {lobe} {infiltrate} after vomiting",
        "coarse rhonchi at the {lobe} base, treated as pneumonia with {antibiotic}",
        "bronchoscopy removed mucus plugs and oxygen was weaned to 2 liters",
    ),
}

# Names of each class's illnesses: said of the past, of what was ruled out and, at the end, of what it was.
ILLNESSES: dict[str, tuple[str, ...]] = {
    "AcuteMedicine": (
        "sepsis", "acute renal failure", "urosepsis", "bacteremia", "septic shock", "ARF", "acute kidney injury", "ATN",
    ),
    "Cardiology": (
        "coronary artery disease", "CAD", "NSTEMI", "CHF", "aortic stenosis", "mitral regurgitation", "unstable angina",
        "STEMI", "myocardial infarction", "congestive heart failure", "valvular heart disease", "ischemia",
    ),
    "Gastroenterology": (
        "GI bleed", "pancreatitis", "gastrointestinal hemorrhage", "lower GI bleeding", "UGIB",
        "gallstone pancreatitis",
    ),
    "Neurology": (
        "intracranial hemorrhage", "subarachnoid hemorrhage", "SAH", "hemorrhagic stroke", "cerebral aneurysm", "ICH",
    ),
    "Oncology": ("brain metastases", "metastatic {tumor}", "{tumor} with cerebral spread", "{tumor}", "brain tumor"),
    "Respiratory": (
        "pneumonia", "respiratory failure", "aspiration pneumonia", "COPD flare", "aspiration", "hypoxic failure",
        "PNA",
    ),
}  # fmt: skip

OTHER_HISTORY = (
    "hypertension", "HTN", "diabetes mellitus type 2", "hyperlipidemia", "atrial fibrillation", "hypothyroidism",
    "GERD", "osteoarthritis", "depression", "gout", "obesity", "COPD", "asthma", "CKD stage III", "PVD", "BPH",
    "sleep apnea", "anemia", "cholecystectomy", "appendectomy", "s/p TKR", "alcohol use", "osteoporosis", "TIA",
    "peripheral neuropathy", "glaucoma", "hepatitis C", "migraine", "chronic low back pain", "DVT",
)  # fmt: skip

COMPLAINTS: dict[str, tuple[str, ...]] = {
    "AcuteMedicine": ("fever", "hypotension", "altered mental status", "weakness", "fall", "nausea and vomiting"),
    "Cardiology": (
        "chest pain", "shortness of breath", "dyspnea on exertion", "syncope", "fatigue", "leg swelling", "weakness",
    ),
    "Gastroenterology": ("abdominal pain", "nausea and vomiting", "weakness", "syncope", "fatigue", "lightheadedness"),
    "Neurology": ("headache", "altered mental status", "fall", "weakness", "nausea and vomiting", "unresponsiveness"),
    "Oncology": ("headache", "weakness", "confusion", "seizure", "fall", "shortness of breath", "back pain"),
    "Respiratory": ("shortness of breath", "cough", "fever", "altered mental status", "fatigue", "chest pain"),
}  # fmt: skip

NEWBORN_EVIDENCE = (
    "{baby} is a {grams} gram product of a {weeks} week gestation born to a G2P1 mother",
    "{baby} was born at {weeks} weeks by cesarean section, birth weight {grams} grams",
    "{baby} was delivered vaginally at {weeks} weeks, Apgars {apgar}",
    "born by repeat cesarean section for breech, Apgars {apgar}, weight {grams} grams",
)

NEWBORN_DETAILS = (
    "prenatal screens were O positive, antibody negative, GBS unknown",
    "blown by oxygen in the delivery room, then admitted to the NICU for prematurity",
    "respiratory distress of the newborn resolved with CPAP over {few} days",
    "blood culture and CBC were benign and ampicillin and gentamicin stopped at 48 hours",
    "apnea and bradycardia of prematurity, last spell {few} days ago",
    "phototherapy was used for {few} days with a peak bilirubin of 12.4",
    "feeds were advanced to breast milk 24 by gavage and then by bottle",
    "a soft murmur was heard and the echo was structurally normal",
    "head ultrasound was normal, with no hemorrhage",
    "hearing screen passed in both ears and hepatitis B vaccine was given",
    "car seat test passed, state screens sent and pending",
    "temperature is stable in an open crib and weight gain is good",
)

RULED_OUT = (
    "there was concern for {0}, which was ruled out", "{0} was considered and felt unlikely",
    "workup for {0} was negative", "no evidence of {0}", "was first treated for {0}, later stopped",
    "an outside note mentions {0}", "initially thought to be {0}, but this was not borne out",
    "had been admitted to {hospital} last year with {0}", "mother died of {0}", "has recovered well from {0}",
)  # fmt: skip

MINOR = (  # other classes' signs that explain nothing here
    "troponin was mildly elevated and felt to be demand", "{ekg} without change from prior", "{echo} with EF 55%",
    "{film} without {infiltrate}", "{film} with mild volume overload", "guaiac positive brown stool",
    "{headct} was negative for {bleed}", "creatinine near baseline at 1.4", "cultures were sent and stayed negative",
    "was given a dose of {antibiotic} in the ED", "lipase was normal", "lasix 20 IV was given once",
    "extubated the next morning without trouble", "a prior {cath} had {percent} {vessel} disease",
    "received {few} liters of saline", "hematocrit drifted to 27 and one unit was given", "was briefly on {pressor}",
    "an incidental {lobe_brain} {lesion} was unchanged from before",
    "a small {lobe} {infiltrate} was called atelectasis",
)  # fmt: skip

PLAIN = (
    "denies fevers, chills or night sweats", "no recent travel or sick contacts",
    "lives with family and walks with a cane",
    "in the ED vitals were 98.4, 88, 132/70, 18, 97% RA", "review of systems otherwise negative",
    "was seen by {doctorly} who agreed with the plan", "pain was controlled with tylenol and oxycodone",
    "physical therapy cleared the patient for home", "home medications were continued",
    "diet was advanced as tolerated",
    "SQ heparin for prophylaxis", "blood sugars were covered with a sliding scale", "code status is full",
    "electrolytes were repleted as needed", "foley was removed and the patient voided",
    "will follow up with {doctorly}",
    "the hospital stay was otherwise uneventful", "quit smoking {few} years ago", "was afebrile w/ stable vital signs",
    "transferred to the floor on day {few}", "a family meeting was held with {doctorly}", "anxious but cooperative",
)  # fmt: skip

EXAM = (
    "General: NAD, alert", "HEENT: PERRL, EOMI, MMM", "Neck: supple, no LAD", "CV: RRR, nl S1 S2, no m/r/g",
    "CV: II/VI systolic murmur at the base", "Lungs: CTA bilaterally", "Lungs: crackles at the bases",
    "Lungs: decreased breath sounds w/ scattered rhonchi", "Abd: soft, NT/ND, +BS", "Abd: mild epigastric tenderness",
    "Ext: no c/c/e", "Ext: 1+ edema bilaterally", "Neuro: A+O x3, CN II-XII intact", "Neuro: moves all extremities",
    "Skin: warm and dry", "VS: T 97.9 HR 84 BP 128/66 RR 16 O2 96%", "VS: T 100.1 HR 104 BP 98/52 RR 22 O2 93% 2L",
)  # fmt: skip

MEDICATIONS = (
    "Aspirin 81 mg PO DAILY", "Metoprolol tartrate 25 mg PO BID", "Lisinopril 10 mg PO DAILY", "Lasix 40 mg PO DAILY",
    "Atorvastatin 40 mg PO DAILY", "Plavix 75 mg PO DAILY", "Pantoprazole 40 mg PO Q24H", "Coumadin 2.5 mg PO QHS",
    "Insulin glargine 20 units SC QHS", "Albuterol 90 mcg inhaler PRN", "Prednisone 20 mg PO DAILY",
    "Levothyroxine 50 mcg PO DAILY", "Docusate 100 mg PO BID", "Senna 8.6 mg PO BID", "Acetaminophen 325 mg PO Q6H PRN",
    "Oxycodone 5 mg PO Q4H PRN", "Metformin 500 mg PO BID", "Amlodipine 5 mg PO DAILY", "Keppra 500 mg PO BID",
    "Levofloxacin 500 mg PO DAILY", "Sertraline 50 mg PO DAILY", "Gabapentin 300 mg PO TID", "Allopurinol 100 mg DAILY",
)  # fmt: skip

ALLERGIES = ("Penicillins", "No Known Allergies to Drugs", "Sulfa", "Codeine / Morphine", "Iodine", "NKDA")
SERVICES = ("MEDICINE", "MEDICINE", "MEDICINE", "SURGERY", "MICU", "CSU", "MED")
DISPOSITIONS = ("Home", "Home with Service", "Extended Care\n\nFacility:\n{hospital}", "Rehab")
