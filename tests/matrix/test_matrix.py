"""Every feature in every framework for every family works, or fails with the error that the matrix says."""

import re
from collections import Counter

import pytest
from matrix.features import (
    EVERY_FRAMEWORK,
    FAILURES,
    FAMILIES,
    FEATURES,
    Feature,
    Way,
    combinations,
    failure_of,
)
from support.frameworks import BACKENDS

COMBINATIONS = [each for each in combinations() if each[1] in BACKENDS]


@pytest.mark.parametrize(
    ("feature", "framework", "family"),
    COMBINATIONS,
    ids=[f"{feature.name}-{framework}-{family}" for feature, framework, family in COMBINATIONS],
)
def test_a_feature_works_or_fails_as_the_matrix_says(feature: Feature, framework: str, family: str) -> None:
    way, failure = feature.way(framework), failure_of(feature, framework, family)
    assert isinstance(way, Way)
    if failure is None:
        way.check(framework, FAMILIES[family])
        return
    with pytest.raises(failure.error, match=re.escape(failure.says)) as caught:
        way.check(framework, FAMILIES[family])
    assert caught.type is failure.error


def test_every_expected_failure_is_one_of_the_matrix_and_is_listed_once() -> None:
    tried = {(feature.name, framework, family) for feature, framework, family in combinations()}
    listed = Counter(
        (failure.feature, framework, family)
        for failure in FAILURES
        for framework in failure.frameworks
        # One family that is tried stands for all.
        for family in failure.families or [next(iter(FAMILIES))]
    )
    assert {*listed} <= tried
    assert {*listed.values()} == {1}


def test_reasons_are_sentences() -> None:
    absent = [way for f in FEATURES for way in map(f.way, EVERY_FRAMEWORK) if isinstance(way, str)]
    for reason in [*absent, *(failure.reason for failure in FAILURES)]:
        assert reason.endswith(".")
    assert len({feature.name for feature in FEATURES}) == len(FEATURES)
