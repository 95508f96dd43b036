"""The test kit: what the tests of a plugin stand on. pytest finds the same as fixtures.

def test_it(tiny_trainer, record_hooks):
    trainer = tiny_trainer(plugins=[MyPlugin()])
    with record_hooks(trainer) as calls:
        trainer.fit(epochs=2)
    assert calls.of("my-plugin") == ["on_epoch_end", "on_epoch_end"]

def test_it_conforms():
    check_plugin(MyPlugin())
"""

from fit_core.testing.conformance import CHECKS, CheckFailed, check_plugin, failures
from fit_core.testing.kit import TINY_SCRIPT, HookCalls, Outcome, record_hooks, run_fit, run_script, tiny_batches, tiny_trainer

__all__ = [
    "CHECKS",
    "TINY_SCRIPT",
    "CheckFailed",
    "HookCalls",
    "Outcome",
    "check_plugin",
    "failures",
    "record_hooks",
    "run_fit",
    "run_script",
    "tiny_batches",
    "tiny_trainer",
]
