"""Making the int8 form of an encoder, which takes PyTorch; using the form does not."""

import re
import tempfile
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from sentence_transformers import SentenceTransformer

from tailrec.errors import RecipeError
from tailrec.features.original import quiet

INPUT: Final = "input_ids"
OUTPUT: Final = "vector"
MODEL: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"
_EXAMPLE: Final = 17
"""Tokens of the text an export is made with; texts of any length can be read by what comes out."""

_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_LAYER: Final = re.compile(r"\.(\d+)(?=[.'])")


class Pipeline(torch.nn.Module):
    """All of a sentence-transformers model, for one text without padding.

    One text at a time needs no attention mask, and its vector depends on the text alone: int8
    scales activations over a whole call, so in a batch every text shifts the others a little.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        transformer, *rest = model
        if not hasattr(transformer, "auto_model"):
            raise RecipeError(f"its first module, {type(transformer).__name__}, is no transformer")
        self.transformer: Any = transformer.auto_model
        self.rest = torch.nn.ModuleList(rest)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids [1, L] to a vector [1, D]: transformer, pooling and whatever follows."""
        hidden = self.transformer(input_ids=input_ids)[0]
        state: dict[str, Any] = {
            "input_ids": input_ids,
            "token_embeddings": hidden,
            "attention_mask": torch.ones_like(input_ids),
        }
        for module in self.rest:
            state = module(state)
        vector: torch.Tensor = state["sentence_embedding"]
        return vector


def write_int8(model: SentenceTransformer, folder: Path) -> None:
    """Write `MODEL` and `TOKENIZER` of a model's int8 form.

    Weights become 8-bit integers with a scale for each output channel; activations are scaled as
    they arise. The unsigned kind of weight is taken: products with signed ones overflow on
    processors without VNNI. Embedding tables and attention products stay float32, as int8 gains
    no time there, and so does the first layer, whose errors all others would build on.

    Args:
        model: on the CPU.
        folder: exists; gets the two files.

    Raises:
        RecipeError: the model is no transformer, or its tokenizer is none of the fast ones.
    """
    pipeline = Pipeline(model).eval()
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise RecipeError(f"its {type(model.tokenizer).__name__} is none of the fast tokenizers")
    length = min(_EXAMPLE, int(model.max_seq_length or _EXAMPLE))
    n_tokens = int(pipeline.transformer.config.vocab_size)
    example = torch.arange(100, 100 + length).reshape(1, length) % n_tokens
    with quiet(), tempfile.TemporaryDirectory() as scratch:
        # The dynamo export follows the length; the tracing one froze it and told nobody.
        program = torch.onnx.export(
            pipeline,
            (example,),
            dynamo=True,
            dynamic_shapes=({1: torch.export.Dim.DYNAMIC},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
        assert program is not None
        exact, ready = Path(scratch) / "exact.onnx", Path(scratch) / "ready.onnx"
        program.save(str(exact))
        quant_pre_process(exact, ready, skip_symbolic_shape=True)
        quantize_dynamic(
            ready,
            folder / MODEL,
            op_types_to_quantize=["MatMul"],
            nodes_to_exclude=_first_layer(ready) + _stacks(ready),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
    tokenizer.save(str(folder / TOKENIZER))


def _first_layer(path: Path) -> list[str]:
    """Names of the products with weights in the first of several layers.

    A product's scope names the modules around it, such as `transformer.encoder.layer.0.output`.
    A model of one layer, or whose layers share their weights, has no first among them.
    """
    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    layers: dict[str, int] = {}
    for node in graph.node:
        if node.op_type == "MatMul" and not weights.isdisjoint(node.input):
            scopes = {entry.key: entry.value for entry in node.metadata_props}
            number = _LAYER.search(scopes.get(_SCOPES, ""))
            layers[node.name] = int(number[1]) if number else -1
    if set(layers.values()) <= {-1, 0}:
        return []
    return [name for name, layer in layers.items() if layer == 0]


def _stacks(path: Path) -> list[str]:
    """Names of the products with stacks of matrices, such as learnt prefixes: int8 has none."""
    graph = onnx.load(path).graph
    stacks = {tensor.name for tensor in graph.initializer if len(tensor.dims) > 2}
    products = (node for node in graph.node if node.op_type == "MatMul")
    return [node.name for node in products if not stacks.isdisjoint(node.input)]
