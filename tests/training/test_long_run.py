"""A long run grows in nothing. For longer: tests/soak/long_run.py."""

from tests import warm

from .killed_run import words
from .long_run import check, watch


def test_two_thousand_steps_and_twenty_validations_hold_no_more_than_the_first(tmp_path):
    (tmp_path / "text").mkdir()
    typed = [*words(tmp_path / "text"), "data.max_len=40", "data.batch_tokens=100", "trainer.max_steps=2000"]
    typed += ["trainer.val_every=100", "trainer.val_sentences=2", "trainer.log_every=20", "trainer.precision=auto"]
    process = warm.start(["train", *typed], tmp_path, tmp_path / "log", slow_disk=0.001)
    found = watch(process, tmp_path)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert found[-1].step > 1900
    check(found, warm_up=0.4)  # where that is bf16, the first 256 shapes of a batch are kept compiled
