"""Training waits for the device where it reports, validates or saves, and nowhere else."""

from rope_mt.training.train import train

from .watch import watching


def test_a_step_waits_for_the_device_only_to_report_validate_or_save(config, tmp_path):
    with watching() as seen:
        train(config(max_steps=12, val_every=6, log_every=4), tmp_path)
    assert len(seen.updates) == 12
    assert len(seen.batches) == 12
    waiting = {step for step, waits in seen.waits.items() if waits and step}
    assert waiting == {4, 6, 8, 12}
