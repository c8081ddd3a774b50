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


@dataclasses.dataclass(frozen=True)
class PaperCost:
    """What the paper's composite score is made of, for one of its systems."""

    time: float  # to the best validation score, scaled over the nine systems from 0 to 1
    trained: int  # parameters, without the classifier; DistilBERT's pre_classifier counts
    total: int  # parameters
    score: float  # over the nine systems


_BIOBERT, _DISTIL, _MOBILE, _TINY = MODELS
COMPOSITE_TASK = "mimic_mortality"
COMPOSITE = {  # (model, method) -> its costs and its recorded score
    (_TINY, "lora"): PaperCost(0.0037, 59_904, 13_874_762, 1.0),
    (_DISTIL, "lora"): PaperCost(0.08093, 221_184 + 590_592, 66_955_010, 0.954669),
    (_MOBILE, "lora"): PaperCost(0.104588, 221_184, 24_582_914, 0.9489),
    (_TINY, "full"): PaperCost(0.0, 13_874_136, 13_874_762, 0.9391),
    (_MOBILE, "full"): PaperCost(0.026974, 24_581_888, 24_582_914, 0.8764),
    (_BIOBERT, "lora"): PaperCost(0.288868, 294_912, 108_311_810, 0.8517),
    (_DISTIL, "full"): PaperCost(0.012326, 66_953_472, 66_955_010, 0.6881),
    (_BIOBERT, "full"): PaperCost(0.089036, 108_310_272, 108_311_810, 0.4595),
    ("meta-llama/Llama-2-7b-hf", "lora"): PaperCost(1.0, 4_194_304, 6_607_351_808, 0.0),
}


def paper_score(task: str, model: str, method: str) -> float | None:
    """The paper's score of a model and method on a task; None where its tables have none."""
    if task not in TABLE or model not in MODELS or method not in METHODS:
        return None
    return TABLE[task].scores[MODELS.index(model)][METHODS.index(method)]
