"""The overrides that make a run again."""

import shlex

import pytest
from conftest import plain, quickly_composed

from fersweep.config.compose import compose_config
from fersweep.report import again, leaks


@pytest.mark.parametrize(
    "overrides",
    [
        ["split=subjects", "split.fold=3", "seed=2"],
        ["split=subjects", "dataset=jaffe", r"dataset.root='/data/it\'s (old)'", "recipe=study", "recipe.max_epochs=3"],
        ["split=subjects", "backbone=aer_cnn", "attention=none", "recipe=notebook", "recipe.optimizer.lr=0.01"],
        ["split=subjects", "dataset=ckplus", "dataset.root=x y", "dataset.source.contempt=true", "trainer=cpu"],
        ["split=subjects", "backbone.model.depths=[1,1,1,1]", "dataset.twins=drop_from_training", "split.folds=4"],
        ["split=subjects", "backbone=timm", "backbone.model.name=test_vit", "activation=own", "recipe=finetune"],
    ],
)
def test_a_run_is_made_again_by_its_own_overrides(overrides: list[str]) -> None:
    config = plain(compose_config(overrides))
    found = [shlex.split(each)[0] for each in again.overrides(config)]
    assert plain(compose_config(found)) == config


def test_what_is_left_out_is_free() -> None:
    config = plain(quickly_composed("split=subjects", "split.fold=3", "seed=2"))
    found = again.overrides(config, without=("split.fold", "split.function.fold"))
    assert found == ["split=subjects", "seed=2"]


def test_a_class_by_its_former_name_is_the_present_one() -> None:
    config = plain(quickly_composed("recipe=study"))
    assert config["recipe"]["optimizer"]["_target_"] == "fersweep.training.optim.KerasAdam"
    config["recipe"]["optimizer"]["_target_"] = "fersweep.optim.KerasAdam"
    assert again.overrides(config) == ["recipe=study"]


def test_leaks_of_folds_are_counted_together() -> None:
    def of(images: int, identical: int, **more: object) -> dict[str, object]:
        metrics = {"test/n": 50, "test/n_without_twins": 50 - identical, "test/accuracy_without_twins": 0.5}
        counts = {"either": {"identical": identical, "near": 1}, "dropped": 2}
        return {"metrics": metrics, "shared_subjects": 1, "shared_subject_images": images, "twins": counts, **more}

    folds = [of(10, 4, shared_sequence_images=3), of(5, 10, shared_sequence_images=0)]
    assert leaks.notes(folds) == [
        "2 people in both train and test: 15 of 100 test images show people seen in training.",
        "3 of 100 test images come from sequences that training also has.",
        "16 of 100 test images have an identical (14) or near-identical (2) image in training or validation.",
        "4 images with a twin in the test part were left out of training and validation.",
    ]
    assert leaks.without_twins(folds) == (23 + 20, 86)
    old = {"metrics": {"test/n": 50}, "shared_subjects": 3}
    assert leaks.notes([old]) == ["3 people in both train and test."]
    assert leaks.without_twins([folds[0], old]) is None
    assert (leaks.with_twins([old]), leaks.fold(old)) == ("", "")
