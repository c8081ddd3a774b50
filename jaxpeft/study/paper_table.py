"""The paper's main results, to stand beside ours on the same corpora (never beside a twin's).

arXiv 2402.10597 (Taylor et al. 2024), as recorded by the runs in its public repository; the printed tables may differ
in the last digit. Medians over three seeds, but for two entity tasks the best seed. Its counts are its own:
docs/scores.md says what is the matter with `paper_f1_pieces` and with the negative class.
"""

import dataclasses

MODELS = ("dmis-lab/biobert-v1.1", "nlpie/bio-distilbert-uncased", "nlpie/bio-mobilebert", "nlpie/tiny-biobert")
METHODS = ("full", "lora", "ia3")


@dataclasses.dataclass(frozen=True)
class PaperScores:
    """One column of the paper's tables."""

    metric: str  # the name that this count has in our result.json
    statistic: str
    scores: tuple[tuple[float, float, float], ...]  # METHODS, a row for each of MODELS


TABLE = {  # task -> its column
    "mimic_triage": PaperScores(
        "f1_macro",
        "median of 3 seeds",
        ((0.864, 0.831, 0.703), (0.862, 0.855, 0.792), (0.851, 0.808, 0.73), (0.726, 0.599, 0.39)),
    ),
    "mimic_mortality": PaperScores(
        "auroc_macro",
        "median of 3 seeds",
        ((0.819, 0.828, 0.769), (0.825, 0.825, 0.797), (0.819, 0.798, 0.774), (0.802, 0.764, 0.607)),
    ),
    "mimic_los": PaperScores(
        "auroc_macro",
        "median of 3 seeds",
        ((0.709, 0.697, 0.634), (0.706, 0.702, 0.677), (0.704, 0.671, 0.639), (0.684, 0.649, 0.588)),
    ),
    "i2b2_2010_ner": PaperScores(
        "paper_f1_pieces",
        "best of seeds",
        ((0.822, 0.697, 0.475), (0.806, 0.718, 0.504), (0.8, 0.651, 0.517), (0.659, 0.448, 0.331)),
    ),
    "i2b2_2010_re": PaperScores(
        "f1_micro_with_negative",
        "median of 3 seeds",
        ((0.935, 0.925, 0.896), (0.927, 0.928, 0.906), (0.932, 0.918, 0.897), (0.91, 0.895, 0.852)),
    ),
    "i2b2_2012_ner": PaperScores(
        "paper_f1_pieces",
        "best of seeds",
        ((0.823, 0.754, 0.491), (0.798, 0.729, 0.504), (0.777, 0.655, 0.517), (0.711, 0.561, 0.383)),
    ),
    "i2b2_2014_deid": PaperScores(
        "paper_f1_pieces",
        "median of 3 seeds",
        ((0.967, 0.935, 0.85), (0.967, 0.94, 0.883), (0.966, 0.941, 0.908), (0.906, 0.805, 0.715)),
    ),
}


def paper_score(task: str, model: str, method: str) -> float | None:
    """The paper's score of a model and method on a task; None where its tables have none."""
    if task not in TABLE or model not in MODELS or method not in METHODS:
        return None
    return TABLE[task].scores[MODELS.index(model)][METHODS.index(method)]
