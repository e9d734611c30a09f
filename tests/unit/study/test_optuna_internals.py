"""Each private name of Optuna does what we use it for, in the installed version."""

from __future__ import annotations

import optuna
import pytest
import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from weightsearch.study import optuna_internals as internals
from weightsearch.study.database import Database


@pytest.fixture
def database(tmp_path):
    made = Database(f"sqlite:///{tmp_path}/s.db", mode="create")
    yield made
    made.close()


@pytest.fixture
def study(database):
    return optuna.create_study(storage=database.storage, study_name="s")


def test_tables_have_the_names_and_columns_that_we_read(database, study):
    with database.reading() as connection:
        inspector = sa.inspect(connection)
        assert set(inspector.get_table_names()) >= internals.TABLES
        columns = {
            table: {one["name"] for one in inspector.get_columns(table)} for table in inspector.get_table_names()
        }
    assert columns["trials"] >= {"trial_id", "number", "study_id", "state"}
    assert columns["studies"] >= {"study_id", "study_name"}
    assert columns[internals.INTERMEDIATE_VALUES] >= {
        "trial_id",
        "step",
        "intermediate_value",
        "intermediate_value_type",
    }
    assert columns[internals.SYSTEM_ATTRIBUTES] >= {"trial_id", "key", "value_json"}


def test_made_tables_are_those_of_optuna(tmp_path):
    engine = sa.create_engine(f"sqlite:///{tmp_path}/own.db")
    with engine.begin() as connection:
        internals.create_tables(connection)
    own = set(sa.inspect(engine).get_table_names())
    optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/optuna.db")
    theirs = set(sa.inspect(sa.create_engine(f"sqlite:///{tmp_path}/optuna.db")).get_table_names())
    assert own == theirs - {"alembic_version"}


def test_ids_are_those_of_the_tables(database, study):
    trial = study.ask()
    with database.reading() as connection:
        trials, studies = database.optuna_table("trials"), database.optuna_table("studies")
        row = connection.execute(sa.select(trials.c.trial_id, trials.c.study_id)).one()
        assert connection.scalar(sa.select(studies.c.study_id)) == row.study_id
    assert (internals.trial_id(trial), internals.study_id(study)) == tuple(row)
    assert internals.trial_id(study.trials[0]) == row.trial_id


def test_trials_of_another_process_are_seen_after_reading_anew(database, study):
    assert study.get_trials(deepcopy=False) == []
    study.ask()
    study._thread_local.cached_all_trials = []  # as inside a sampler
    assert study._get_trials(deepcopy=False, use_cache=True) == []
    internals.read_anew(study)
    assert len(study._get_trials(deepcopy=False, use_cache=True)) == 1
    before = internals.storage_of(study)
    internals.read_anew(study, database.storage)
    assert internals.storage_of(study) is not before
    assert len(study.get_trials()) == 1


def test_a_trial_gets_a_value_of_a_distribution(study):
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    trial = study.ask()
    value = internals.suggest(trial, "loss.a.weight", FloatDistribution(0.1, 10))
    assert 0.1 <= value <= 10
    assert study.trials[0].params == {"loss.a.weight": value}


def test_enqueued_parameters_are_known_and_can_be_replaced(study):
    study.enqueue_trial({"x": 0.5})
    waiting = study.trials[0]
    storage, number = internals.storage_of(study), internals.trial_id(waiting)
    assert internals.is_enqueued(waiting)
    assert internals.fixed_params(storage, number) == {"x": 0.5}
    internals.fix_params(storage, number, {"x": 0.25})
    trial = study.ask()
    assert internals.suggest(trial, "x", FloatDistribution(0, 1)) == 0.25
    assert not internals.is_enqueued(internals.storage_of(study).get_trial(internals.trial_id(study.ask())))


def test_a_trial_with_a_grid_point_is_proposed_its_values(study):
    sampler = optuna.samplers.GridSampler({"x": [1.0, 2.0], "y": [3.0, 4.0]}, seed=1)
    study.sampler = sampler
    points = set()
    for point in range(4):
        trial = study.ask()
        frozen = study.trials[trial.number]
        internals.give_grid_point(sampler, study, frozen, point)
        trial = optuna.Trial(study, internals.trial_id(frozen))
        values = tuple(internals.suggest(trial, name, FloatDistribution(1, 4)) for name in "xy")
        points.add(values)
        assert internals.grid_point(study.trials[trial.number]) == point
    assert points == {(x, y) for x in (1.0, 2.0) for y in (3.0, 4.0)}


def test_rungs_are_noted_under_their_key(study):
    study.pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    trial = study.ask()
    trial.report(1.0, 1)
    trial.should_prune()
    attributes = study.trials[trial.number].system_attrs
    assert [key for key in attributes if key.startswith(internals.RUNG)] == [f"{internals.RUNG}0"]
    assert study.trials[0].state == TrialState.RUNNING
