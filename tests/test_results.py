"""The stored results are of the networks that come with the package, and of the experiments as they are."""

import json
from pathlib import Path

import pytest

from repro.experiments import EXPERIMENTS
from repro.experiments.ablations import ABLATIONS
from repro.pretrained import digest, shipped
from repro.transform_nets import load_network

FOLDER = Path(__file__).parents[1] / "results"
RESULTS = {
    str(path.relative_to(FOLDER)): json.loads(path.read_text()) for path in sorted(FOLDER.rglob("*.*.json"))
}


def networks_of(made_with):
    """The networks that a result was made with, name and digest of the weights."""
    named = made_with.get("networks", [])
    if isinstance(named, dict):  # of super-resolution
        return named
    named = [*named, made_with["network"]] if "network" in made_with else named
    return {facts["name"]: facts["weights"] for facts in named}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_of_the_networks_that_come_with_the_package(name):
    made_with = RESULTS[name]["made_with"]
    earlier = set()
    for network, weights in networks_of(made_with).items():
        assert network in shipped(), network
        if digest(load_network(network).state_dict()) != weights:
            earlier.add(network)
    assert not earlier
    assert "network" not in made_with or networks_of(made_with)


def test_a_result_is_of_an_experiment_that_there_is():
    assert {result["name"] for result in RESULTS.values()} == set(EXPERIMENTS)
    for result in RESULTS.values():
        assert result["title"] == EXPERIMENTS[result["name"]].title
        assert result["command"].startswith(f"repro reproduce {result['name']} --scale {result['scale']}")


def test_every_ablation_has_its_curves():
    assert set(RESULTS["ablations.book.json"]["data"]["curves"]) == {"base", *ABLATIONS}
