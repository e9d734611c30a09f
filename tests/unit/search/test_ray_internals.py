"""Each private name of Ray is there in the installed version, as we use it. How they work together is tested with
clusters in tests/integration."""

from __future__ import annotations

import inspect

import ray
from ray.air.execution._internal import RayActorManager
from ray.tune.execution.tune_controller import TuneController, _ObjectCache


def test_the_controller_of_tune_has_the_attributes_that_tell_of_its_workers():
    source = inspect.getsource(TuneController.__init__)
    for name in ("_actor_cache", "_trial_to_actor", "_actor_manager"):
        assert f"self.{name}" in source
    assert isinstance(_ObjectCache.num_cached_objects, property)
    assert list(inspect.signature(RayActorManager.is_actor_started).parameters) == ["self", "tracked_actor"]
    assert "force_all" in inspect.signature(TuneController._cleanup_cached_actors).parameters


def test_the_process_has_the_names_for_its_settings_and_its_node():
    assert callable(ray._raylet.Config.initialize)
    assert issubclass(ray._raylet.GcsClient, object)
    assert callable(ray._raylet.AuthenticationTokenLoader.instance().reset_cache)
    assert callable(ray._private.worker.print_to_stdstream)
    assert callable(ray._private.services.canonicalize_bootstrap_address)
    assert callable(ray._private.node.Node.dead_processes)
    assert "_global_node" in vars(ray._private.worker)
