"""A checkpoint of somebody else runs nothing, claims nothing that is believed, and says in a line what does not fit."""

import os
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rope_mt.config.commands import TrainConfig
from rope_mt.config.data import DataConfig
from rope_mt.config.plain import from_plain, to_plain
from rope_mt.config.position import RopeConfig
from rope_mt.config.training import ModelConfig, OptimizerConfig, SearchConfig, TrackingConfig, TrainerConfig
from rope_mt.data import toy
from rope_mt.data.tokenizer import PAD, Tokenizer, train_tokenizer
from rope_mt.errors import UserError
from rope_mt.model.transformer import Transformer
from rope_mt.runs import archive, checkpoint, exported
from rope_mt.translation.test_sets import own_test_set
from rope_mt.translation.translator import Translator


@pytest.fixture(scope="module")
def made() -> tuple[TrainConfig, Tokenizer, dict[str, torch.Tensor]]:
    lines = [line for pair in toy.generate(n_train=60, n_valid=2, n_test=2).train for line in pair]
    tokenizer = Tokenizer(train_tokenizer(lines, 420))
    cfg = TrainConfig(
        position=RopeConfig(),
        model=ModelConfig("test", d_model=24, d_ff=36, n_heads=2, n_layers=2, dropout=0.1),
        data=DataConfig("files", "train", "valid", "test", vocab_size=420),
        optimizer=OptimizerConfig(lr=1e-3, warmup_steps=5),
        trainer=TrainerConfig(max_steps=1, val_every=1, val_sentences=1, device="cpu", precision="fp32"),
        search=SearchConfig(beam=1, length_penalty=0.6),
        tracking=TrackingConfig("none"),
    )
    weights = Transformer(cfg.model, cfg.position, len(tokenizer), PAD).state_dict()
    return cfg, tokenizer, {checkpoint.PREFIX + name: tensor for name, tensor in weights.items()}


@pytest.fixture
def values(made) -> dict[str, Any]:
    cfg, tokenizer, weights = made
    return {"state_dict": dict(weights), "rope_mt": checkpoint.contents(cfg, tokenizer), "global_step": 7}


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_would_run_code_runs_none_whatever_the_environment_says(values, tmp_path, monkeypatch, zipped):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    path, proof = tmp_path / "evil.ckpt", tmp_path / "it-ran"
    torch.save({**values, "more": Evil(proof)}, path, _use_new_zipfile_serialization=zipped)
    if zipped:
        with open(path, "r+b") as file, open(path, "rb") as reader:
            archive.seal(file, reader)
    with torch.serialization.safe_globals([os.mkdir]), pytest.raises(UserError, match=r"evil\.ckpt is damaged, of"):
        checkpoint.read(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)  # the same file does run it for those who let it
    assert proof.is_dir()


def refused(values: dict[str, Any], folder: Path) -> str:
    path = folder / "strange.ckpt"
    checkpoint.write(path, values)
    with pytest.raises(UserError, match=r"^\S*strange\.ckpt") as caught:
        checkpoint.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("section", "setting", "value", "said"),
    [
        ("model", "d_model", 10**6, "embedding.weight is float32 (420, 24), not float32 (420, 1000000)"),
        ("model", "n_layers", 10**9, "they have 2 layers in the encoder, not 1000000000"),
        ("model", "d_ff", 10**12, "not float32 (1000000000000, 24)"),
        ("model", "d_ff", 10**18, "there is no model of such sizes"),
        ("search", "beam", 10**9, "search.beam must be at most 1,000, not 1000000000"),
        ("search", "max_len_a", 1e300, "search.max_len_a must be at most 100"),
        ("data", "name", "${oc.env:HOME}", "'${oc.env:HOME}' is not plain text"),
        ("data", "name", {"_target_": "os.system"}, "the configuration is not one of this version"),
        ("data", "_target_", "os.system", "Key '_target_' not in 'DataConfig'"),
        ("data", "max_len", 10**30, "a number out of all bounds"),
    ],
)
def test_what_a_configuration_claims_is_compared_before_it_is_made(values, tmp_path, section, setting, value, said):
    values["rope_mt"]["config"][section][setting] = value
    assert said in refused(values, tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_random_features_are_counted_before_any_is_made(values, tmp_path, there):
    values["rope_mt"]["config"]["model"] |= {"attention": "linear", "feature_map": "favor", "n_features": 10**9}
    for stack in ("encoder", "decoder") if there else ():
        values["state_dict"][f"model.{stack}.layers.0.attention.features.directions"] = torch.zeros(256, 12)
    assert f"{(256, 12) if there else 'no'} random features, not 1000000000" in refused(values, tmp_path)


NORM = "model.encoder.layers.1.residuals.0.norm.weight"


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (None, "is missing"),
        (torch.ones(25), "is float32 (25,), not float32 (24,)"),
        (torch.ones(24).double(), "is float64 (24,), not float32 (24,)"),
        (torch.ones(24).long(), "is int64 (24,)"),
        (torch.ones(1).expand(24), "is damaged, of another version"),
        (torch.ones(1).expand(10**12), "is damaged, of another version"),
        (torch.ones(24).to_sparse(), "is damaged, of another version"),
        (torch.ones(24, device="meta"), "is damaged, of another version"),
        ("ones", "has not what a checkpoint of rope-mt has"),
    ],
)
def test_weights_that_are_missing_or_others_are_named(values, tmp_path, tensor, said):
    if tensor is None:
        del values["state_dict"][NORM]
    else:
        values["state_dict"][NORM] = tensor
    assert said in refused(values, tmp_path)


def test_surplus_weights_and_names_that_are_none(values, tmp_path):
    values["state_dict"]["model.more"] = torch.ones(3)
    assert "'more' is none of its weights" in refused(values, tmp_path)
    del values["state_dict"]["model.more"]
    values["state_dict"][7] = torch.ones(3)
    assert "has not what a checkpoint" in refused(values, tmp_path)


def test_weights_that_are_no_numbers_translate_nothing(values, tmp_path):
    values["state_dict"][NORM] = torch.full((24,), float("nan"))
    checkpoint.write(tmp_path / "nan.ckpt", values)
    ckpt = checkpoint.load(tmp_path / "nan.ckpt")
    with pytest.raises(UserError, match=r"nan\.ckpt: encoder\.layers\.1\.residuals\.0\.norm\.weight is not finite"):
        Translator.of(ckpt, ckpt.config.search, torch.device("cpu"), "fp32")


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], level: int | None = None) -> None:
    """Change members of a checkpoint as somebody would who makes the digest right; packed where a level is given."""
    with zipfile.ZipFile(path) as there:
        members = {member.filename: there.read(member) for member in there.infolist()}
    change(members)
    packing = zipfile.ZIP_STORED if level is None else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w", packing, compresslevel=level) as out:
        for name, content in members.items():
            out.writestr(name, content)
    with open(path, "r+b") as file, open(path, "rb") as reader:
        archive.seal(file, reader)


def test_a_storage_that_claims_more_than_its_member_holds_is_not_read_beyond_its_end(values, tmp_path):
    path = tmp_path / "lying.ckpt"
    checkpoint.write(path, values)
    rewritten(path, lambda members: None)
    checkpoint.read(path)  # the way of writing is not what is refused

    def shorten(members: dict[str, bytes]) -> None:
        members["archive/data/0"] = members["archive/data/0"][:4]

    rewritten(path, shorten)
    with pytest.raises(UserError, match="is damaged, of another version"):
        checkpoint.read(path)


@pytest.mark.parametrize("level", [0, 9])
def test_members_that_would_be_unpacked_are_refused(values, tmp_path, level):
    path = tmp_path / "packed.ckpt"
    values["more"] = torch.zeros(10**6)
    checkpoint.write(path, values)
    rewritten(path, lambda members: None, level)
    assert (path.stat().st_size < 10**6) == (level == 9)
    with pytest.raises(UserError, match="is damaged, of another version"):
        checkpoint.read(path)


def test_two_members_that_changed_places_are_noticed(values, tmp_path):
    path = tmp_path / "exchanged.ckpt"
    values["state_dict"] |= {name: torch.full((3,), n) for n, name in enumerate(("first", "second"))}
    checkpoint.write(path, values)
    comment = path.read_bytes()[-archive.HEX :]

    def exchange(members: dict[str, bytes]) -> None:
        [a, b] = [n for n, content in members.items() if content in (bytes(24), 3 * (1).to_bytes(8, "little"))]
        members[a], members[b] = members[b], members[a]

    rewritten(path, exchange)
    assert checkpoint.read(path)["state_dict"]["first"].tolist() == [1, 1, 1]
    path.write_bytes(path.read_bytes()[: -archive.HEX] + comment)
    with pytest.raises(UserError, match="is damaged, of another version"):
        checkpoint.read(path)


def test_every_flipped_bit_of_the_weights_is_noticed_in_each_format(made, values, tmp_path):
    path = tmp_path / "flipped.ckpt"
    checkpoint.write(path, values)
    exported.write(tmp_path, checkpoint.load(path))
    for file, read, what in (
        (path, checkpoint.load, path),
        (tmp_path / exported.WEIGHTS, exported.read, tmp_path),
    ):
        whole = file.read_bytes()
        weight = made[2]["model.embedding.weight"].numpy().tobytes()
        at = whole.index(weight) + len(weight) // 2
        for bit in (0, 7):
            file.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with pytest.raises(UserError, match="damaged"):
                read(what)
        file.write_bytes(whole)
        read(what)


def test_a_strangers_checkpoint_fetches_no_text_and_writes_none(made, values, tmp_path, monkeypatch):
    cfg, _, _ = made
    for origin in ("grammar", "http://127.0.0.1:9/"):
        theirs = replace(cfg, data=replace(cfg.data, origin=origin, dir=str(tmp_path / "theirs")))
        values["rope_mt"]["config"] = to_plain(theirs)
        checkpoint.write(tmp_path / "lone" / "a.ckpt", values)
        with pytest.raises(UserError, match=r"^no such text: test\.en"):
            own_test_set(tmp_path / "lone" / "a.ckpt", checkpoint.load(tmp_path / "lone" / "a.ckpt"))
        assert not (tmp_path / "theirs").exists()


@pytest.mark.parametrize("name", ["DATA.PKL", "Data/0", "data/ä", "more_x"])
def test_no_member_has_a_name_that_torch_may_take_for_another(values, tmp_path, name):
    path = tmp_path / "cases.ckpt"
    checkpoint.write(path, values)
    rewritten(path, lambda members: members.update({f"archive/{name}": members["archive/data.pkl"]}))
    whole = path.read_bytes().replace(b"more_x", b"more\0x")  # a byte that Python ends a name at
    path.write_bytes(whole[: -archive.HEX - 2] + bytes(2))
    with open(path, "r+b") as file, open(path, "rb") as reader:
        archive.seal(file, reader)
    with pytest.raises(UserError, match="is damaged, of another version"):
        checkpoint.read(path)


def test_a_zip_has_its_directory_where_each_reader_looks_for_it(values, tmp_path):
    path = tmp_path / "two.ckpt"
    checkpoint.write(path, values)
    whole = path.read_bytes()
    locator = len(whole) - archive.HEX - archive.END.size - archive.LOCATOR.size
    for at, said in ((locator + 8, "its end"), (locator - 8, "its directory")):
        [there] = struct.unpack_from("<Q", whole, at)
        path.write_bytes(whole[:at] + struct.pack("<Q", there + 1) + whole[at + 8 :])
        with open(path, "rb") as file, pytest.raises(ValueError, match=f"{said} is not where it says"):
            archive.refuse_unsound(file)


@contextmanager
def at_once() -> Iterator[None]:
    """Ends the process where it takes longer: what C does is not interrupted by an exception."""
    signal.alarm(20)
    try:
        yield
    finally:
        signal.alarm(0)


def pickled(*pieces: bytes) -> Callable[[dict[str, bytes]], None]:
    """Puts a pickle in the place of a checkpoint's."""
    return lambda members: members.update({"archive/data.pkl": b"".join((b"\x80\2", *pieces, b"."))})


TWICE = b"q\0h\0\x86"  # a tuple of what is on the stack, twice
TEXT = b"X" + struct.pack("<I", 10**5) + bytes(10**5) + b"q\1"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"}", b")", TWICE * 60, b"Ns"),
        (b"}(", b")", TWICE * 60, b"Nu"),
        (b"}", b")" + b"\x85" * 10**6, b"Ns"),
        (b"}", b"K\1\x85", b"Ns"),
        (b"ccollections\nOrderedDict\n(](", b")", TWICE * 60, b"N\x86etR"),
        (b"(X\7\0\0\0storagectorch\nFloatStorage\n", b")", TWICE * 60, b"X\3\0\0\0cpuK\1tQ"),
        (b"(X\7\0\0\0storage", b")", TWICE * 60, b"X\1\0\0\x000X\3\0\0\0cpuK\1tQ"),
        (TEXT, b"](", b"c_codecs\nencode\nh\1X\6\0\0\0latin1\x86R" * 5_000, b"e"),
        (b"}", TEXT, b"Ns", b"](", b"ccollections\nOrderedDict\n)Rh\0b" * 5_000, b"e"),
    ],
    ids=["key", "keys", "deep", "tuple", "pairs", "storage's key", "storage's kind", "bytes", "attributes"],
)
def test_nothing_in_a_pickle_takes_more_than_the_file_is_long(values, tmp_path, pieces):
    path = tmp_path / "endless.ckpt"
    checkpoint.write(path, values)
    rewritten(path, pickled(*pieces))
    with at_once(), pytest.raises(UserError, match="is damaged, of another version"):
        checkpoint.read(path)


def test_plain_values_of_all_kinds_are_read_as_they_were_written(values, tmp_path):
    inner = {"x": (1.5, (2, ("y",))), -1: [None, True], 10**12: b"\xff", 70_000: 3, "": {}}
    values["more"] = [inner, inner, torch.nn.Linear(2, 3).state_dict(), torch.zeros(3, 2).T, (), b"\xff"]
    path = tmp_path / "plain.ckpt"
    checkpoint.write(path, values)
    found = checkpoint.read(path)["more"]
    assert found[:2] == [inner, inner]
    assert found[3].stride() == (1, 2)
    assert found[2].keys() == {"weight", "bias"}
    assert found[2]._metadata == values["more"][2]._metadata


def test_numbers_of_a_tensor_that_lie_on_one_another_are_refused(values, tmp_path):
    path = tmp_path / "overlapping.ckpt"
    values["more"] = torch.arange(6.0).as_strided((2, 3), (1, 1))
    checkpoint.write(path, values)
    with open(path, "rb") as file, pytest.raises(ValueError, match="lie on one another"):
        archive.refuse_unsound(file)


@pytest.mark.parametrize(("its", "said"), [(1, "format 1"), ("2", "an unknown format"), (10**20, "an unknown format")])
def test_a_format_is_told_where_it_is_a_number(values, tmp_path, its, said):
    values["rope_mt"]["format"] = its
    assert f"has {said}; this version of rope-mt reads format" in refused(values, tmp_path)


def test_a_format_without_end_is_not_told(values, tmp_path):
    endless: list[Any] = []
    for _ in range(60):
        endless = [endless, endless]
    values["rope_mt"]["format"] = endless
    with at_once():
        assert "an unknown format" in refused(values, tmp_path)


def test_a_thousand_names_of_one_tensor_are_refused_before_any_is_added_up(values, tmp_path, monkeypatch):
    path = tmp_path / "many.ckpt"
    values["state_dict"] |= dict.fromkeys(map(str, range(1000)), torch.zeros(5))
    checkpoint.write(path, values)
    doubled: list[int] = []
    monkeypatch.setattr(torch.Tensor, "double", lambda tensor: doubled.append(1) or tensor)
    with pytest.raises(UserError, match=r"many\.ckpt: the weights do not fit"):
        checkpoint.average([path, path])
    assert not doubled


def test_a_tree_of_settings_that_has_no_end_is_refused(made):
    plain = to_plain(made[0])
    plain["data"]["train"] = endless = []
    endless.append(endless)
    wide: list[Any] = []
    for _ in range(60):
        wide = [wide, wide]
    for tree in (endless, wide):
        plain["data"]["train"] = tree
        with pytest.raises(UserError, match="too many values"):
            from_plain(plain)
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    plain["data"]["train"] = deep
    with pytest.raises(UserError, match="maximum recursion depth"):
        from_plain(plain)
