"""Ternary weights of an ONNX model in 8 or 2 bits each, for engines that read such files; needs the extra `onnx`.

Weights stay exactly what they are, activations float32. A layer whose levels are opposite takes DequantizeLinear, the
form that other engines know; one with two different levels chooses between them (Where), which engines compute once
when they load the file, and so does a matrix that is the second factor of a MatMul and has levels of its own for each
column. Products with a matrix may take MatMulNBits, an operator of ONNX Runtime, with 2 bits a weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ternzip.runtime.trits import TernaryWeight, ternary_weight

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, ModelProto, NodeProto

_BLOCKS = (16, 32, 64, 128, 256)
"""The groups of inputs that MatMulNBits takes."""
_DOMAIN = "com.microsoft"


def compact(model: ModelProto, bits: int) -> int:
    """Changes a model with float32 weights in place: ternary ones become int8 or, in products, of 2 bits.

    Returns how many did.

    Args:
        model: as torch.onnx writes it.
        bits: 8, or 2 for products with a matrix whose levels are opposite; all others then take 8.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    made = _Additions()
    changed = 0
    for tensor in list(graph.initializer):
        readers = [node for node in graph.node if tensor.name in node.input]
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or not readers:
            continue
        transposed = values.ndim == 2 and all(_is_matmul(node, tensor.name) for node in readers)
        rows = np.ascontiguousarray(values.T if transposed else values)
        weight = ternary_weight(tensor.name, torch.from_numpy(rows.copy()))
        if weight is None:
            continue
        products = transposed or all(_is_gemm(node, tensor.name) for node in readers)
        if bits == 2 and products and weight.is_opposite and _block_of(weight):
            for node in readers:
                _replace(graph, node, made.product(tensor.name, weight, node))
        elif weight.groups == 1:
            made.weight(tensor.name, weight, transposed)
        else:
            continue
        graph.initializer.remove(tensor)
        changed += 1
    graph.initializer.extend(made.initializers)
    for number, node in enumerate(made.nodes):
        graph.node.insert(number, node)
    if made.uses_domain:
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return changed


def _is_matmul(node: NodeProto, name: str) -> bool:
    return node.op_type == "MatMul" and node.input[1] == name and node.input[0] != name


def _is_gemm(node: NodeProto, name: str) -> bool:
    """Whether a node is x w^T + b, as a linear layer is written."""
    if node.op_type != "Gemm" or list(node.input).index(name) != 1:
        return False
    found = {a.name: a.f if a.name in ("alpha", "beta") else a.i for a in node.attribute}
    return (found.get("alpha", 1), found.get("beta", 1), found.get("transA", 0), found.get("transB", 0)) == (
        1,
        1,
        0,
        1,
    )


def _block_of(weight: TernaryWeight) -> int:
    """The inputs of a block of MatMulNBits that have one level; 0 where it has none that fits."""
    if weight.groups > 1:
        return weight.group_width if weight.group_width in _BLOCKS else 0
    return min(_BLOCKS[-1], max(_BLOCKS[0], 1 << (weight.trits.shape[1] - 1).bit_length()))


def _magnitudes(weight: TernaryWeight) -> NDArray[np.float32]:
    """(rows, groups) of opposite levels; 1 where a group has none."""
    found: NDArray[np.float32] = torch.where(weight.magnitudes != 0, weight.magnitudes, 1.0).numpy()
    return found


def _replace(graph: GraphProto, node: NodeProto, others: list[NodeProto]) -> None:
    at = list(graph.node).index(node)
    del graph.node[at]
    for number, other in enumerate(others):
        graph.node.insert(at + number, other)


class _Additions:
    """What takes the place of float32 weights: tensors, and nodes before all others."""

    def __init__(self) -> None:
        from onnx import TensorProto

        self.initializers: list[TensorProto] = []
        self.nodes: list[NodeProto] = []
        self.uses_domain = False

    def _constant(self, name: str, values: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def weight(self, name: str, weight: TernaryWeight, transposed: bool) -> None:
        """The tensor `name` from int8 trits."""
        from onnx import TensorProto, helper

        trits = weight.trits.numpy()
        codes = self._constant(f"{name}.trits", trits.T if transposed else trits)
        scales = _magnitudes(weight)[:, 0]
        same = bool((scales == scales[0]).all())
        # ONNX Runtime makes a MatMul behind a scale for each column one that rounds its input to 8 bits.
        if weight.is_opposite and (same or not transposed):
            scale = self._constant(f"{name}.scale", np.asarray(scales[0] if same else scales))
            # Without effect on a single scale.
            axis = 1 if transposed else 0
            self.nodes.append(helper.make_node("DequantizeLinear", [codes, scale], [name], axis=axis))
            return
        shape = (1, -1) if transposed else (-1, *[1] * (trits.ndim - 1))
        zero = self._constant(f"{name}.zero", np.zeros((), np.float32))
        positive = self._constant(f"{name}.positive", weight.positives.numpy().reshape(shape))
        negative = self._constant(f"{name}.negative", weight.negatives.numpy().reshape(shape))
        wide, above, below, rest = (f"{name}.{part}" for part in ("wide", "above", "below", "rest"))
        self.nodes += [
            helper.make_node("Cast", [codes], [wide], to=TensorProto.FLOAT),
            helper.make_node("Greater", [wide, zero], [above]),
            helper.make_node("Less", [wide, zero], [below]),
            helper.make_node("Where", [below, negative, zero], [rest]),
            helper.make_node("Where", [above, positive, rest], [name]),
        ]

    def product(self, name: str, weight: TernaryWeight, node: NodeProto) -> list[NodeProto]:
        """What stands for a product with the tensor `name`: 2 bits a weight, four in a byte, the lowest first."""
        from onnx import helper

        rows, columns = weight.trits.shape
        block = _block_of(weight)
        blocks = -(-columns // block)
        codes, scales = f"{name}.codes", f"{name}.scales"
        if not any(tensor.name == codes for tensor in self.initializers):
            padded = np.full((rows, blocks * block), 2, np.uint8)  # 2 stands for 0
            padded[:, :columns] = weight.trits.numpy() + 2
            four = padded.reshape(rows, blocks, block // 4, 4)
            self._constant(codes, np.bitwise_or.reduce(four << np.arange(0, 8, 2, dtype=np.uint8), axis=3))
            magnitudes = _magnitudes(weight)
            self._constant(scales, magnitudes if weight.groups > 1 else np.repeat(magnitudes, blocks, axis=1))
        self.uses_domain = True
        bias = node.op_type == "Gemm" and len(node.input) > 2
        product = f"{node.output[0]}.product" if bias else node.output[0]
        made = [
            helper.make_node(
                "MatMulNBits",
                [node.input[0], codes, scales],
                [product],
                domain=_DOMAIN,
                K=columns,
                N=rows,
                bits=2,
                block_size=block,
            )
        ]
        if bias:
            made.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]]))
        return made
