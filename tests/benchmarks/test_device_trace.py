from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from benchmarks.device_trace import traced, waiting


def event(start, duration, **stats):
    return SimpleNamespace(start_ns=start, duration_ns=duration, stats=stats.items())


def profile(plane, **lines):
    lines = [SimpleNamespace(name=name, events=events) for name, events in lines.items()]
    return SimpleNamespace(planes=[SimpleNamespace(name=plane, lines=lines)])


def operation(start, duration, run, module="jit_step", program=1):
    return event(start, duration, hlo_op="add", hlo_module=module, program_id=program, run_id=run)


def test_only_gaps_between_two_steps_that_had_been_compiled_count():
    found = waiting(
        profile(
            "/host:CPU",
            tf_XLAEigen=[
                operation(0, 10, run=1),
                operation(15, 5, run=1),  # a pause within a step is the step's own
                operation(24, 6, run=2),
                event(0, 500),  # no operation
                operation(50, 10, run=1, module="jit_forward", program=2),  # an evaluation
                operation(100, 10, run=3),
                operation(200, 10, run=4, program=3),  # another shape: it was compiled meanwhile
                operation(212, 8, run=5),
            ],
            python=[operation(0, 900, run=9)],
        )
    )
    assert found["gaps"] == 2
    assert found["waiting_s"] == pytest.approx(6e-9)
    assert found["busy_s"] == pytest.approx(54e-9)
    assert found["share"] == pytest.approx(0.1)
    assert found["longest_s"] == pytest.approx(4e-9)


def test_of_a_gpu_every_moment_without_a_kernel_counts():
    lines = {"Stream #1(Compute)": [event(0, 10), event(30, 10)], "Stream #2(Compute)": [event(5, 10)]}
    found = waiting(profile("/device:GPU:0", **lines, **{"Stream #3(MemcpyH2D)": [event(10, 25)]}))
    assert (found["waiting_s"], found["busy_s"]) == (pytest.approx(15e-9), pytest.approx(25e-9))


@pytest.mark.filterwarnings("ignore:builtin type event.* has no __module__:DeprecationWarning")  # jax's own type
def test_a_profile_of_this_device_is_read():
    def step(x):
        return jnp.tanh(x @ x)

    compiled, x = jax.jit(step), jnp.ones((200, 200))
    compiled(x).block_until_ready()
    with traced(waiting) as found:
        for _ in range(5):
            x = compiled(x)
        x.block_until_ready()
    assert found[0]["gaps"] == 4
    assert 0 < found[0]["busy_s"] < 10


def test_a_profile_without_a_step_is_refused():
    with pytest.raises(ValueError, match="no training step"):
        waiting(profile("/host:CPU"))
