"""Which systems are compared with which."""

from jaxpeft.study.findings import findings_of
from jaxpeft.study.store import runs
from tests.study.fake_study import write_study


def test_a_method_stands_against_the_reference_of_its_own_experiment(tmp_path):
    """Two experiments whose grids set a field apart, say the length of texts: full is better in one, worse in one."""
    skills = {("short", "full"): 1.0, ("short", "lora"): 1.5, ("long", "full"): 3.0, ("long", "lora"): 2.5}
    grid = [{"experiment": one, "method": how, "skill": skill} for (one, how), skill in skills.items()]
    folder = write_study(tmp_path, grid)
    found = findings_of(runs(folder), tmp_path / "draws", [], {})
    scores = {(row.system.settings[0][1], row.system.method): row.score.value for row in found.tasks[0].rows}
    gaps = {method.title: method.difference.value for method in found.methods}
    assert gaps == {f"LoRA, experiment {one}": scores[one, "lora"] - scores[one, "full"] for one in ("short", "long")}
