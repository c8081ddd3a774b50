from benchmarks.step_profile import ATTENTION, REST, SCORES, WEIGHTS, kinds

PROGRAM = """HloModule jit_step, is_scheduled=true

%fused.1 (p: f32[8,4], q: f32[4,6]) -> f32[8,6] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %dot.1 = f32[8,6]{1,0} dot(%p, %q), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%fused.2 (p: f32[2,3,5,5]) -> f32[2,3,5,5] {
  ROOT %exponential.1 = f32[2,3,5,5]{3,2,1,0} exponential(%p)
}

ENTRY %main (a: f32[8,4]) -> f32[8,6] {
  %ynn_fusion.1 = f32[8,6]{1,0} fusion(%a, %b), kind=kCustom, calls=%fused.1
  %dot.2 = f32[2,3,5,5]{3,2,1,0} dot(%a, %b), lhs_batch_dims={0,1}, lhs_contracting_dims={3}
  %exp_fusion = f32[2,3,5,5]{3,2,1,0} fusion(%dot.2), kind=kLoop, calls=%fused.2
  %while.1 = f32[2,3,5,5]{3,2,1,0} while(%exp_fusion), condition=%is_last, body=%layer
  ROOT %add.1 = f32[8,6]{1,0} add(%ynn_fusion.1, %c)
}
"""


def test_an_operation_is_of_the_first_kind_that_it_has_a_part_of():
    found = kinds(PROGRAM, "[2,3,5,5]")
    wanted = {"ynn_fusion.1": WEIGHTS, "dot.2": ATTENTION, "exp_fusion": SCORES, "add.1": REST}
    assert {name: found.get(name) for name in (*wanted, "while.1")} == {**wanted, "while.1": None}
