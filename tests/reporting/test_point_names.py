"""Names beside points are whole where there is room, and hide nothing that matters."""

from matplotlib.figure import Figure

from qbench.reporting.point_names import Spot, name_points

LONG = "quantization_networks (released backward)"


def names(*spots: Spot, others: tuple[tuple[float, float, float, float], ...] = ()) -> list[str]:
    axes = Figure().subplots()
    name_points(axes, spots, 216, 180, others)
    return [text.get_text() for text in axes.texts]


def spot(name: str, x: float, y: float) -> Spot:
    return Spot(name, x, y, y - 0.05, y + 0.05, 4.0)


def test_a_name_with_room_is_whole() -> None:
    assert names(spot("lsq", 0.5, 0.5)) == ["lsq"]
    assert names(spot("quantization_networks", 0.3, 0.5)) == ["quantization_networks"]
    assert names(spot(LONG, 0.5, 0.5)) == ["quantization_networks\n(released backward)"]


def test_a_long_name_is_cut_where_it_would_hide_something() -> None:
    crowd = tuple((0.0, k / 20, 0.4, k / 20 + 0.02) for k in range(20))
    right = tuple((0.7, k / 20, 1.0, k / 20 + 0.02) for k in range(20))
    (text,) = names(spot(LONG, 0.55, 0.5), others=(*crowd, *right))
    assert text == "quantiz…ackward)"


def test_a_whole_name_takes_no_place_from_another() -> None:
    found = names(spot(LONG, 0.5, 0.5), spot("ste", 0.45, 0.5), spot("lsq", 0.55, 0.5))
    assert found[1:] == ["ste", "lsq"]
