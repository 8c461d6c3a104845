"""Making the int8 form of an encoder, which takes PyTorch; using the form does not."""

import tempfile
from pathlib import Path
from typing import Any, Final

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.shape_inference import quant_pre_process
from sentence_transformers import SentenceTransformer

from tailrec.features.original import quiet

INPUT: Final = "input_ids"
OUTPUT: Final = "vector"
MODEL: Final = "model.onnx"
TOKENIZER: Final = "tokenizer.json"


class Pipeline(torch.nn.Module):
    """All of a sentence-transformers model, for one text without padding.

    One text at a time needs no attention mask, and its vector depends on the text alone: int8
    scales activations over a whole call, so in a batch every text shifts the others a little.
    """

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        transformer, *rest = model
        self.transformer: Any = transformer.auto_model
        self.rest = torch.nn.ModuleList(rest)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """Ids [1, L] to a vector [1, D]: transformer, pooling and whatever follows."""
        hidden = self.transformer(input_ids=input_ids)[0]
        state: dict[str, Any] = {
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
    """
    pipeline = Pipeline(model).eval()
    n_layers = int(pipeline.transformer.config.num_hidden_layers)
    example = torch.arange(100, 117).reshape(1, 17)
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
            nodes_to_exclude=_first_layer(ready, n_layers),
            per_channel=True,
            weight_type=QuantType.QUInt8,
        )
    model.tokenizer.backend_tokenizer.save(str(folder / TOKENIZER))


def _first_layer(path: Path, n_layers: int) -> list[str]:
    """Names of the products with weights in the first of equal layers."""
    graph = onnx.load(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    products = [
        node.name
        for node in graph.node
        if node.op_type == "MatMul" and not weights.isdisjoint(node.input)
    ]
    return products[: len(products) // n_layers]
