"""Made-up outcomes: how ill a patient is and how much help they need, what follows from it, what a note says of it.

Two hidden numbers, standard normal, stand behind a stay. `acuity` decides with age who dies; it and `burden` decide
how long the stay is. A note has statements of either on admission, each right more often than not, so that outcomes
can be learned and never known.
"""

import dataclasses
import datetime
import math
from random import Random

GRAVE_MANNER = (", in extremis", ", critically ill", ", obtunded", ", failing at home", ", moribund")
STEADY_MANNER = ("", "", "", ", mild", ", now resolved")
GRAVE = (
    "looked gravely ill and was taken straight to the ICU", "arrived cold and mottled with a thready pulse",
    "the family described weeks of steady decline", "had been bedbound at {hospital} for months",
    "was found barely responsive by EMS", "was too weak to give a history", "hospice had been raised before",
    "code status was changed to DNR on arrival after a talk with the family", "had lost forty pounds and was cachectic",
    "had declined further treatment at {hospital} {few} weeks ago", "was transferred from {hospital} on several drips",
    "goals of care were discussed with the health care proxy in the ED",
)  # fmt: skip
STEADY = (
    "walked into the ED and looked comfortable", "was otherwise in good health and active", "gave a clear history",
    "felt much better by the time of evaluation", "works full time and exercises", "drove to the ED alone",
    "vitals stayed normal throughout the evaluation", "had been at baseline until then", "ate breakfast that day",
    "was admitted for observation at the request of {doctorly}", "symptoms had nearly resolved on arrival",
)  # fmt: skip
NEEDY = (
    "has no home to return to and no caregiver", "has had {few} long admissions this year", "is on tube feeds at home",
    "walks only with two people helping", "has a nonhealing sacral wound", "awaits a bed at a rehabilitation hospital",
    "needed an interpreter and a guardian", "has not been out of bed since a fall", "has a wound vac from last month",
    "a staged procedure is planned over the coming days", "could not manage stairs or medications at home",
)  # fmt: skip
INDEPENDENT = (
    "lives with a daughter who can help at home", "is here for a planned procedure and expects to leave soon",
    "walks without a cane", "has visiting nurses arranged already", "manages all medications alone",
    "wishes to go home as soon as possible", "has follow up with {doctorly} this week", "cooks and shops without help",
    "lives on the ground floor with a spouse", "has a flight booked for the weekend",
)  # fmt: skip
SLOW = (
    "needs help with stairs and bathing", "lives alone on the second floor", "was to see {doctorly} about a walker",
    "has a visiting nurse twice a week", "walks with a walker for short distances", "was in rehab {few} months ago",
    "takes {few} medications from a pill box", "a sister can help on weekends", "has missed {few} visits in clinic",
)  # fmt: skip
GRAVE_EXAM = (
    "General: cachectic, in distress", "General: ill appearing, not following commands", "Skin: mottled and cool",
    "VS: T 95.2 HR 128 BP 78/40 RR 32 O2 86%", "Neuro: opens eyes to pain only",
)  # fmt: skip
STEADY_EXAM = (
    "General: well appearing, conversant", "Neuro: walks in the room without help", "Skin: warm, well perfused",
    "VS: T 98.2 HR 72 BP 124/76 RR 14 O2 99%",
)  # fmt: skip
DEATHS_MENTIONED = ("patient expired {date}", "Pt. had died", "the patient has passed away", "pt deceased on {date}")
DEATHS_TOLD = (
    "was pronounced expired with the family at the bedside", "time of death was called by {doctorly}",
    "was made comfortable, and pt expired on day {few}", "the patient died despite all measures",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Condition:
    """How ill a patient is on admission, and how much stands in the way of going home."""

    acuity: float
    burden: float

    @classmethod
    def draw(cls, rng: Random) -> "Condition":
        """Some patient's."""
        return cls(rng.gauss(0, 1), rng.gauss(0, 1))

    def dies(self, rng: Random, age: int) -> bool:
        """About one in ten does."""
        return rng.random() < _chance(6 * self.acuity + (age - 62) / 15 - 7.5)

    def stay(self, rng: Random) -> datetime.timedelta:
        """Whole minutes, 6.3 days in the median; never halfway between two tenths of a day."""
        days = 6.3 * math.exp(0.2 * self.acuity + 0.8 * self.burden + 0.15 * rng.gauss(0, 1))
        minutes = int(days * 1440)
        return datetime.timedelta(minutes=minutes + (minutes % 144 == 72))

    def manner(self, rng: Random) -> str:
        """What follows the chief complaint."""
        return rng.choice(GRAVE_MANNER if self._looks_grave(rng) else STEADY_MANNER)

    def statements(self, rng: Random) -> list[str]:
        """What a history of present illness says of it: three to five statements."""
        acuity = [rng.choice(GRAVE if self._looks_grave(rng) else STEADY) for _ in range(rng.choice((1, 2)))]
        return acuity + [rng.choice(self._help_needed(rng)) for _ in range(rng.choice((2, 3)))]

    def exam(self, rng: Random) -> str:
        """A line of the physical exam."""
        return rng.choice(GRAVE_EXAM if self._looks_grave(rng) else STEADY_EXAM)

    def _looks_grave(self, rng: Random) -> bool:
        return rng.random() < _chance(8 * self.acuity - 9)

    def _help_needed(self, rng: Random) -> tuple[str, ...]:
        seen = self.burden + 0.5 * rng.gauss(0, 1)
        return INDEPENDENT if seen < -0.6 else SLOW if seen < 0.6 else NEEDY


def _chance(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))
