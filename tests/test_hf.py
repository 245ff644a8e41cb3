"""Models of transformers in folders of .tnz files, without a network: random weights, tiny configurations."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip("transformers")

import ternzip
from ternzip._core.errors import DestinationExists, TernzipError
from ternzip.hf import (
    LazyTensors,
    TernzipHubMixin,
    expand,
    from_pretrained,
    push_to_hub,
    save_pretrained,
)
from ternzip.hf import pretrained as pretrained_module

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

SMALL = {
    "hidden_size": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}


def llama(**more: Any) -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SMALL, vocab_size=64, num_key_value_heads=2, **more)
    return transformers.LlamaForCausalLM(config).eval()


def bert() -> Any:
    torch.manual_seed(0)
    config = transformers.BertConfig(**SMALL, vocab_size=64)
    return transformers.BertForSequenceClassification(config).eval()


TOKENS = torch.arange(12).reshape(2, 6)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found = model(TOKENS).logits
    assert isinstance(found, torch.Tensor)
    return found


@pytest.mark.parametrize("make", [llama, bert], ids=["llama", "bert"])
def test_there_and_back(make: Any, tmp_path: Path) -> None:
    model = make()
    report = save_pretrained(model, tmp_path / "m")
    assert (report.source, report.carried[0]) == (type(model).__name__, "config.json")
    assert not list((tmp_path / "m").glob("*.safetensors"))
    again = from_pretrained(tmp_path / "m")
    assert type(again) is type(model)
    assert torch.equal(logits(again), logits(model))


def test_shards_ties_and_dtype(tmp_path: Path) -> None:
    model = llama(tie_word_embeddings=True).to(torch.bfloat16)
    save_pretrained(model, tmp_path / "m", max_shard_size=10_000)
    assert len(list((tmp_path / "m").glob("*.tnz"))) > 2
    assert (tmp_path / "m" / "model.safetensors.index.json").is_file()
    again = from_pretrained(tmp_path / "m", transformers.AutoModelForCausalLM, dtype="auto")
    assert again.lm_head.weight.data_ptr() == again.model.embed_tokens.weight.data_ptr()
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits(again), logits(model))


def test_generation_config_comes_back(tmp_path: Path) -> None:
    model = llama()
    model.generation_config.top_k = 7
    model.generation_config.do_sample = True
    save_pretrained(model, tmp_path / "m")
    assert from_pretrained(tmp_path / "m").generation_config.top_k == 7


def test_options_that_are_the_configurations(tmp_path: Path) -> None:
    model = llama()
    save_pretrained(model, tmp_path / "folder")
    chosen = transformers.GenerationConfig(max_new_tokens=3)
    for model_class in (None, transformers.AutoModelForCausalLM, transformers.LlamaForCausalLM):
        found = from_pretrained(
            tmp_path / "folder",
            model_class,
            use_cache=False,
            num_hidden_layers=1,
            generation_config=chosen,
        )
        assert (found.config.use_cache, len(found.model.layers)) == (False, 1)
        assert found.generation_config.max_new_tokens == 3
        assert found.config.name_or_path == found.name_or_path == str(tmp_path / "folder")
    again = from_pretrained(tmp_path / "folder", config=str(tmp_path / "folder" / "config.json"))
    assert torch.equal(again(TOKENS).logits, model(TOKENS).logits)


def test_options_that_say_where_the_files_lie(tmp_path: Path) -> None:
    save_pretrained(llama(), tmp_path / "folder")
    save_pretrained(bert(), tmp_path / "folder" / "second")
    found = from_pretrained(tmp_path / "folder", subfolder="second")
    assert isinstance(found, transformers.BertForSequenceClassification)
    with pytest.raises(TernzipError, match="expected a folder third in it, found none"):
        from_pretrained(tmp_path / "folder", subfolder="third")
    with pytest.raises(TernzipError, match=r"variant: expected none, .* found 'fp16'"):
        from_pretrained(tmp_path / "folder", variant="fp16")


def test_packed_weights_of_bitnet(tmp_path: Path) -> None:
    """The configuration names a quantizer, and uint8 weights load as they are."""
    torch.manual_seed(0)
    config = transformers.BitNetConfig(**SMALL, vocab_size=64, num_key_value_heads=2)
    model = transformers.BitNetForCausalLM(config)
    state = {}
    for name, tensor in model.state_dict().items():
        if "proj.weight" in name:
            packed = torch.randint(0, 256, (tensor.shape[0] // 4, tensor.shape[1]), dtype=torch.uint8)
            state[name], state[f"{name}_scale"] = packed, torch.ones(1)
        else:
            state[name] = tensor
    folder = tmp_path / "m"
    folder.mkdir()
    ternzip.save_file(state, folder / "model.tnz")
    config.architectures = ["BitNetForCausalLM"]
    config.quantization_config = {
        "quant_method": "bitnet",
        "linear_class": "bitlinear",
        "quantization_mode": "offline",
    }
    config.save_pretrained(folder)
    again = from_pretrained(folder)
    found = again.state_dict()
    for name, tensor in state.items():
        if tensor.dtype == torch.uint8:
            assert torch.equal(found[name], tensor), name


def test_a_prepared_model_is_stored_ternary(tmp_path: Path) -> None:
    """Under its plain names and class, so that what comes back is no model of random weights."""
    model = ternzip.prepare(llama(), skip=["lm_head"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    expected = logits(model)
    save_pretrained(model, tmp_path / "m")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert json.loads((tmp_path / "m" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    again = from_pretrained(tmp_path / "m")
    assert torch.equal(logits(again), expected)
    with ternzip.safe_open(tmp_path / "m" / "model.tnz") as file:
        assert file.info("model.layers.0.mlp.up_proj.weight").codec is not None


def test_ternary_activations_come_back(tmp_path: Path) -> None:
    model = ternzip.prepare(llama(), skip=["lm_head"], activations="ternary")
    with pytest.raises(TernzipError, match="k_proj: its ternary activation has no scale yet"):
        save_pretrained(model, tmp_path / "m")
    expected = logits(model)
    save_pretrained(model, tmp_path / "m")
    again, report = from_pretrained(tmp_path / "m", output_loading_info=True)
    assert not report["unexpected_keys"] | report["missing_keys"]
    assert torch.equal(logits(again), expected)
    save_pretrained(again, tmp_path / "again")
    assert torch.equal(logits(from_pretrained(tmp_path / "again", device_map={"": "cpu"})), expected)
    # Without the names' prefix, and without the head and its scale.
    inner = from_pretrained(tmp_path / "m", transformers.LlamaModel)
    assert torch.equal(inner(TOKENS).last_hidden_state, model.model(TOKENS).last_hidden_state)


def test_ternary_activations_of_layers_with_other_names_in_the_files(tmp_path: Path) -> None:
    """As transformers writes its models that see: model.language_model.layers becomes model.layers."""
    torch.manual_seed(0)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = {**SMALL, "vocab_size": 64, "num_key_value_heads": 2, "rope_parameters": rope}
    sight = {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 1}
    config = transformers.Qwen2VLConfig(text_config=text, vision_config=sight)
    model = transformers.Qwen2VLForConditionalGeneration(config).eval()
    ternzip.prepare(model, skip=["lm_head", "model.visual.*"], activations="ternary")
    expected = logits(model)
    save_pretrained(model, tmp_path / "m")
    assert "model.layers.1.mlp.up_proj.input_quantizer.log_scale" in LazyTensors(tmp_path / "m")
    assert torch.equal(logits(from_pretrained(tmp_path / "m")), expected)


@pytest.mark.parametrize(
    ("layer", "scale", "problem"),
    [
        ("model.norm", torch.tensor(0.5), "expected a layer of LlamaForCausalLM for this scale, found none"),
        ("nothing", torch.tensor(0.5), "expected a layer of LlamaForCausalLM for this scale, found none"),
        (
            "lm_head",
            torch.ones(2),
            r"expected one number of a floating-point type, found shape \(2,\) of F32",
        ),
        (
            "lm_head",
            torch.tensor(1),
            r"expected one number of a floating-point type, found shape \(\) of I64",
        ),
    ],
)
def test_scales_that_no_layer_can_have(layer: str, scale: torch.Tensor, problem: str, tmp_path: Path) -> None:
    save_pretrained(llama(), tmp_path / "m")
    name = f"{layer}.input_quantizer.log_scale"
    ternzip.save_file({name: scale}, tmp_path / "m" / "more.tnz")
    with pytest.raises(TernzipError, match=f"m: tensor {name}: {problem}"):
        from_pretrained(tmp_path / "m")
    if "for this scale" in problem:
        _, report = from_pretrained(tmp_path / "m", output_loading_info=True)
        assert report["unexpected_keys"] == {name}


def test_lazy_tensors_are_slices(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(6, 4), "b": torch.arange(3), "e": torch.empty(0, 2), "s": torch.tensor(2.5)}
    ternzip.save_file(tensors, tmp_path / "m.tnz", {"key": "value"})
    with LazyTensors(tmp_path / "m.tnz") as lazy:
        assert list(lazy) == list(tensors)
        assert lazy.metadata == {"key": "value"}
        for name, tensor in tensors.items():
            assert (lazy[name].shape, lazy[name].dtype) == (tuple(tensor.shape), tensor.dtype)
            assert torch.equal(lazy[name][...], tensor)
        assert torch.equal(lazy["a"][1:3, ::2], tensors["a"][1:3, ::2])
        assert "shape=(6, 4)" in repr(lazy["a"])
    with pytest.raises(TernzipError, match="closed"):
        lazy["a"][...]


def test_missing_tensors_are_an_error(tmp_path: Path) -> None:
    """transformers would give them random values."""
    model = llama()
    save_pretrained(model, tmp_path / "m")
    path = tmp_path / "m" / "model.tnz"
    tensors = ternzip.load_file(path)
    del tensors["model.norm.weight"]
    ternzip.save_file(tensors, path)
    with pytest.raises(
        TernzipError, match=r"1 tensors of LlamaForCausalLM are missing, first model\.norm\.weight"
    ):
        from_pretrained(tmp_path / "m")
    _, report = from_pretrained(tmp_path / "m", output_loading_info=True)
    assert "model.norm.weight" in report["missing_keys"]


def test_tensors_of_other_shapes_are_an_error(tmp_path: Path) -> None:
    model = llama()
    save_pretrained(model, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "vocab_size": 60}))
    problem = r"m: tensor lm_head\.weight: expected shape \(60, 32\), found \(64, 32\)"
    for told in (False, True):
        with pytest.raises(TernzipError, match=problem):
            from_pretrained(tmp_path / "m", output_loading_info=told)
    found, report = from_pretrained(tmp_path / "m", ignore_mismatched_sizes=True, output_loading_info=True)
    assert {name for name, *_ in report["mismatched_keys"]} == {"lm_head.weight", "model.embed_tokens.weight"}
    assert torch.equal(found.model.norm.weight, model.model.norm.weight)


def test_what_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match="expected a folder, or owner/name of a repository, found nothing"):
        from_pretrained(tmp_path / "no")
    folder = tmp_path / "m"
    folder.mkdir()
    with pytest.raises(TernzipError, match=r"expected a config\.json"):
        from_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(TernzipError, match="to name an architecture, found none"):
        from_pretrained(folder)
    with pytest.raises(TernzipError, match=r"expected \.tnz files in the folder, found none"):
        from_pretrained(folder, transformers.AutoModelForCausalLM)
    ternzip.save_file({"a": torch.ones(3)}, folder / "one.tnz")
    ternzip.save_file({"a": torch.ones(3)}, folder / "two.tnz")
    with pytest.raises(TernzipError, match="tensor 'a': expected in one file, found in"):
        LazyTensors(folder)


@pytest.mark.parametrize("name", ["logging", "pipeline", "AutoTokenizer", "LlamaConfig", "Nothing"])
def test_architectures_that_are_no_models(name: str, tmp_path: Path) -> None:
    save_pretrained(llama(), tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": [name]}))
    with pytest.raises(TernzipError, match=f"to name an architecture, found '{name}', which is no model"):
        from_pretrained(tmp_path / "m")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"model_type": "llama", "hidden_size": "wide"}'),
        ("generation_config.json", "{"),
        ("generation_config.json", "[]"),
    ],
)
def test_configurations_that_transformers_cannot_read(name: str, content: str, tmp_path: Path) -> None:
    save_pretrained(llama(), tmp_path / "m")
    (tmp_path / "m" / name).write_text(content)
    with pytest.raises(TernzipError, match=f"m: expected a {name} that transformers can read: "):
        from_pretrained(tmp_path / "m")


def test_a_limit_on_memory(tmp_path: Path) -> None:
    save_pretrained(llama(), tmp_path / "m")
    with pytest.raises(TernzipError, match="at most 1,000 bytes"):
        from_pretrained(tmp_path / "m", max_bytes=1000)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "mine").write_text("mine")
    with pytest.raises(DestinationExists):
        save_pretrained(llama(), tmp_path / "m")
    assert os.listdir(tmp_path / "m") == ["mine"]
    with pytest.raises(TypeError, match="a model with save_pretrained, got Linear"):
        save_pretrained(nn.Linear(2, 2), tmp_path / "n")
    assert os.listdir(tmp_path) == ["m"]


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_others_may_read_the_folder_as_any_new_one(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        save_pretrained(llama(), tmp_path / "m")
    finally:
        os.umask(before)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o755
    found = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "m").iterdir()}
    assert set(found.values()) == {0o644}, found


def test_expanding_into_a_cache(tmp_path: Path) -> None:
    model = llama()
    save_pretrained(model, tmp_path / "m")
    place = expand(tmp_path / "m", cache_dir=tmp_path / "cache")
    assert expand(tmp_path / "m", cache_dir=tmp_path / "cache") == place
    assert torch.equal(logits(transformers.AutoModelForCausalLM.from_pretrained(place)), logits(model))
    (tmp_path / "m" / "config.json").write_text("{}")
    assert expand(tmp_path / "m", cache_dir=tmp_path / "cache") != place
    (tmp_path / "m" / "model.tnz").write_bytes(b"\x89TNZ")
    with pytest.raises(TernzipError):
        expand(tmp_path / "m", cache_dir=tmp_path / "cache")
    assert len(os.listdir(tmp_path / "cache")) == 2


def test_the_cache_sees_into_linked_folders_and_takes_any_name(tmp_path: Path) -> None:
    for name in ("m", "real"):
        (tmp_path / name).mkdir()
    ternzip.save_file({"a": torch.zeros(3)}, tmp_path / "m" / "a.tnz")
    ternzip.save_file({"b": torch.zeros(3)}, tmp_path / "real" / "b.tnz")
    (tmp_path / "m" / "link").symlink_to(tmp_path / "real")
    if os.name == "posix":
        (tmp_path / "m" / os.fsdecode(b"\xff.txt")).write_text("not UTF-8")
    place = expand(tmp_path / "m", cache_dir=tmp_path / "cache")
    ternzip.save_file({"b": torch.ones(3)}, tmp_path / "real" / "b.tnz")
    other = expand(tmp_path / "m", cache_dir=tmp_path / "cache")
    assert other != place
    assert safetensors.torch.load_file(other / "link" / "b.safetensors")["b"].tolist() == [1.0] * 3


def test_where_the_cache_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ternzip.save_file({"a": torch.ones(3)}, tmp_path / "a.tnz")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("TERNZIP_CACHE", raising=False)
    folder = tmp_path / "m"
    folder.mkdir()
    (tmp_path / "a.tnz").rename(folder / "a.tnz")
    assert expand(folder).parent == tmp_path / "xdg" / "ternzip"
    monkeypatch.setenv("TERNZIP_CACHE", str(tmp_path / "own"))
    assert expand(folder).parent == tmp_path / "own"


class Net(nn.Module, TernzipHubMixin):
    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)
        self.last = nn.Linear(width, 2)


def test_the_mixin_for_networks_of_ones_own(tmp_path: Path) -> None:
    net = Net(width=7)
    net.save_pretrained(tmp_path / "n")
    again = Net.from_pretrained(tmp_path / "n")
    assert again.layer.out_features == 7
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in net.state_dict().items())
    with pytest.raises(TernzipError, match="at most 10 bytes"):
        Net.from_pretrained(tmp_path / "n", max_bytes=10)
    (tmp_path / "n" / "model.tnz").unlink()
    with pytest.raises(TernzipError, match=r"model\.tnz"):
        Net.from_pretrained(tmp_path / "n")


def test_the_mixin_stores_ternary_weights(tmp_path: Path) -> None:
    net = Net(width=64)
    ternzip.prepare(net)
    net.save_pretrained(tmp_path / "n")
    again = Net.from_pretrained(tmp_path / "n")
    assert torch.equal(again.last.weight, net.last.weight)
    assert len(again.last.weight.unique()) == 3


def test_the_mixin_keeps_the_types_of_what_was_saved(tmp_path: Path) -> None:
    """Whose constructor makes float32: tied tensors stay one, and what is no float must fit as before."""

    class Tied(Net):
        def __init__(self) -> None:
            super().__init__(width=3)
            self.last = self.layer  # weights and biases
            self.norm = nn.BatchNorm1d(2)

    net = Tied().bfloat16()
    net.norm.float()
    net.save_pretrained(tmp_path / "n")
    again = Tied.from_pretrained(tmp_path / "n")
    assert again.last.weight is again.layer.weight
    expected = net.state_dict()
    assert {name: tensor.dtype for name, tensor in again.state_dict().items()} == {
        name: tensor.dtype for name, tensor in expected.items()
    }
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())
    ternzip.save_file(
        {**expected, "norm.num_batches_tracked": torch.tensor(1.0)}, tmp_path / "n" / "model.tnz"
    )
    with pytest.raises(
        TernzipError, match=r"num_batches_tracked: expected torch\.int64, found torch\.float32"
    ):
        Tied.from_pretrained(tmp_path / "n")


def test_the_mixin_gives_buffers_that_are_in_no_file_the_models_type(tmp_path: Path) -> None:
    class Shifted(Net):
        def __init__(self, weights: str = "float32") -> None:
            super().__init__()
            self.register_buffer("shift", torch.ones(3), persistent=False)
            self.register_buffer("exact", torch.tensor(0.1, dtype=torch.float64), persistent=False)
            self.layer.to(getattr(torch, weights))
            self.last.to(getattr(torch, weights))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found = self.last(self.layer(x + self.shift))
            assert isinstance(found, torch.Tensor)
            return found

    x = torch.randn(2, 3)
    net = Shifted()
    ternzip.prepare(net.bfloat16(), activations="ternary")
    expected = net(x.bfloat16())
    net.save_pretrained(tmp_path / "n")
    again = Shifted.from_pretrained(tmp_path / "n")
    assert again.shift.dtype == torch.bfloat16
    assert torch.equal(again(x.bfloat16()), expected)
    # What its constructor makes as it was saved stays as it is.
    for weights in ("float32", "bfloat16"):
        Shifted(weights).save_pretrained(tmp_path / weights)
        same = Shifted.from_pretrained(tmp_path / weights)
        assert (same.shift.dtype, same.exact.dtype) == (torch.float32, torch.float64)


def test_the_mixin_refuses_a_model_without_shapes(tmp_path: Path) -> None:
    class Lazy(nn.Module, TernzipHubMixin):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.LazyLinear(2)

    net = Lazy()
    net.layer(torch.zeros(1, 3))
    net.bfloat16().save_pretrained(tmp_path / "n")
    problem = r"model\.tnz: tensor layer\.weight: expected a shape to compare with in Lazy, found none before"
    with pytest.raises(TernzipError, match=problem):
        Lazy.from_pretrained(tmp_path / "n")
    with pytest.raises(TernzipError, match=problem):
        ternzip.load_model(Lazy(), tmp_path / "n" / "model.tnz")


def test_pushing_uploads_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, dict[str, Any]]] = []

    class Api:
        def __init__(self, token: object = None) -> None:
            pass

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            calls.append(("create", options))
            return type("Repo", (), {"repo_id": repo_id})

        def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> str:
            names = sorted(p.name for p in folder_path.iterdir())
            calls.append((repo_id, {"names": names}))
            return "commit"

    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    assert push_to_hub(llama(), "me/model", private=True) == "commit"
    assert calls[0] == ("create", {"private": True, "exist_ok": True})
    assert calls[1][0] == "me/model"
    assert {"config.json", "model.tnz"} <= set(calls[1][1]["names"])


def test_a_repository_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match="no such folder, and the Hub cannot give it"):
        from_pretrained("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(TernzipError, match=r"needs transformers: pip install 'ternzip\[hf\]'"):
        pretrained_module.from_pretrained(tmp_path)
