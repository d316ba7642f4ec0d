import pytest
from hypothesis import given
from hypothesis import strategies as st

from geo.chains import chains
from schema.areas import ROOT


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, str | None], dict[str, list[str]]]:
    """A ragged tree below the root, jurisdictions beside it, some areas members of some."""
    parents: dict[str, str | None] = {ROOT: None}
    for number in range(draw(st.integers(1, 20))):
        parents[f"a{number}"] = draw(st.sampled_from(list(parents)))
    divisions = [code for code in parents if code != ROOT]
    zones = [f"J{number}" for number in range(draw(st.integers(0, 4)))]
    for place, zone in enumerate(zones):
        parents[zone] = draw(st.sampled_from([*divisions, *zones[:place]]))
    below_province = [code for code in divisions if parents[code] != ROOT]
    free = {code: [zone for zone in zones if not below(zone, code, parents)] for code in below_province}
    return parents, {code: draw(st.lists(st.sampled_from(choice), max_size=2)) for code, choice in free.items() if choice}


def below(code: str | None, holder: str, parents: dict[str, str | None]) -> bool:
    return code is not None and (code == holder or below(parents[code], holder, parents))


@given(worlds())
def test_a_chain_starts_with_itself_ends_with_its_province_and_names_nobody_twice(
    world: tuple[dict[str, str | None], dict[str, list[str]]],
) -> None:
    parents, members = world
    found = chains(parents, members)
    assert found[ROOT] == ()
    for code in parents.keys() - {ROOT}:
        chain = found[code]
        assert chain[0] == code
        assert parents[chain[-1]] == ROOT
        assert len(set(chain)) == len(chain)
        assert ROOT not in chain


@given(worlds())
def test_what_holds_an_area_holds_all_that_is_below_it(world: tuple[dict[str, str | None], dict[str, list[str]]]) -> None:
    parents, members = world
    found = chains(parents, members)
    for code, parent in parents.items():
        if parent not in (None, ROOT):
            assert set(found[parent]) < set(found[code])
    for area, zones in members.items():
        assert set(zones) <= set(found[area])


def test_a_cycle_is_a_bug_and_not_a_chain() -> None:
    with pytest.raises(ValueError, match="own ancestor"):
        chains({"a": "b", "b": "a"}, {})
    with pytest.raises(ValueError, match="below itself"):
        chains({ROOT: None, "a": ROOT, "J": "a"}, {"a": ["J"]})
