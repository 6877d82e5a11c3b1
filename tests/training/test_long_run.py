"""A long run grows in nothing. For longer: tests/soak/long_run.py."""

from tests import warm

from .killed_run import words
from .long_run import check, watch


def test_five_hundred_steps_and_ten_validations_hold_no_more_than_the_first(tmp_path):
    (tmp_path / "text").mkdir()
    typed = [*words(tmp_path / "text"), "data.max_len=40", "data.batch_tokens=100", "trainer.max_steps=500"]
    typed += ["trainer.val_every=50", "trainer.val_sentences=2", "trainer.log_every=5", "trainer.precision=fp32"]
    process = warm.start(["train", *typed], tmp_path, tmp_path / "log", slow_disk=0.001)
    moments = watch(process, tmp_path)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert moments[-1].step > 450
    check(moments, warm_up=0.2)
