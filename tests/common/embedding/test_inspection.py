"""Models that could reach outside themselves are refused before a runtime sees them."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from services.common.embedding.inspection import refuse_unsafe_model
from services.common.errors import AppiaError


def model_with(nodes: list[onnx.NodeProto], domains: tuple[str, ...] = ("",)) -> onnx.ModelProto:
    given_ = helper.make_tensor_value_info("values", TensorProto.FLOAT, ["n", 2])
    made = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 2])
    weight = numpy_helper.from_array(np.eye(2, dtype=np.float32), "weight")
    graph = helper.make_graph(nodes, "g", [given_], [made], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 20) for domain in domains])


def plain() -> onnx.ModelProto:
    return model_with([helper.make_node("MatMul", ["values", "weight"], ["embedding"])])


def branch(node: onnx.NodeProto, *initializers: TensorProto) -> onnx.GraphProto:
    made = helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)
    return helper.make_graph([node], "branch", [], [made], list(initializers))


def conditional(then: onnx.GraphProto) -> onnx.ModelProto:
    other = branch(helper.make_node("Identity", ["values"], ["inner"]))
    return model_with(
        [helper.make_node("If", ["weight"], ["embedding"], then_branch=then, else_branch=other)]
    )


def external(name: str) -> TensorProto:
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[2, 2], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="/etc/hostname")
    return tensor


def refusal(model: onnx.ModelProto) -> str:
    with pytest.raises(AppiaError) as caught:
        refuse_unsafe_model(model.SerializeToString(), "model.onnx")
    return str(caught.value)


def test_a_plain_model_passes(model_bytes: bytes) -> None:
    """A model of standard operators with its data inside raises nothing."""
    refuse_unsafe_model(plain().SerializeToString(), "model.onnx")
    refuse_unsafe_model(model_bytes, "model.onnx")


def test_an_initializer_in_another_file_is_refused() -> None:
    model = plain()
    model.graph.initializer[0].CopyFrom(external("weight"))
    assert "keeps data in other files" in refusal(model)


def test_external_data_without_its_location_flag_is_refused() -> None:
    model = plain()
    model.graph.initializer[0].external_data.add(key="location", value="x")
    assert "keeps data in other files" in refusal(model)


def test_external_data_in_an_attribute_is_refused() -> None:
    constant = helper.make_node("Constant", [], ["embedding"], value=external("c"))
    assert "keeps data in other files" in refusal(model_with([constant]))


def test_external_data_in_a_branch_is_refused() -> None:
    then = branch(helper.make_node("Identity", ["c"], ["inner"]), external("c"))
    assert "keeps data in other files" in refusal(conditional(then))


def test_external_data_in_a_sparse_initializer_is_refused() -> None:
    model = plain()
    model.graph.sparse_initializer.add().values.CopyFrom(external("s"))
    assert "keeps data in other files" in refusal(model)


def test_an_imported_custom_domain_is_refused() -> None:
    model = model_with([helper.make_node("MatMul", ["values", "weight"], ["embedding"])], ("", "com.example"))
    assert "domain 'com.example'" in refusal(model)


def test_a_custom_operator_is_refused() -> None:
    model = model_with([helper.make_node("Run", ["values"], ["embedding"], domain="com.example")])
    assert "domain 'com.example'" in refusal(model)


def test_a_custom_operator_in_a_branch_is_refused() -> None:
    assert "com.example" in refusal(
        conditional(branch(helper.make_node("Run", [], ["inner"], domain="com.example")))
    )


def test_functions_are_refused() -> None:
    model = plain()
    model.functions.add(name="f", domain="")
    assert "brings a function" in refusal(model)


def test_training_steps_are_refused() -> None:
    model = plain()
    model.training_info.add()
    assert "brings a training" in refusal(model)


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, content: bytes, above: int = 0) -> bytes:
    """A field of bytes; `above` goes into the bits of its key that protobuf drops."""
    return varint(above << 32 | number << 3 | 2) + varint(len(content)) + content


@pytest.mark.parametrize("above", [1, 7])
def test_a_domain_in_a_field_that_only_looks_unknown_is_refused(above: int) -> None:
    """onnxruntime drops the upper bits of a key, and so runs an operator that was hidden from the look."""
    hidden = b"com.microsoft"
    node = helper.make_node("Gelu", ["values"], ["embedding"]).SerializeToString() + field(7, hidden, above)
    model = plain()
    model.ir_version = 10
    del model.graph.node[:]
    opset = field(8, field(1, hidden, above) + b"\x10\x01")
    data = model.SerializeToString() + field(7, field(1, node)) + opset
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    made = session.run(None, {"values": np.ones((1, 2), np.float32)})[0]
    assert made[0, 0] == pytest.approx(0.8413, abs=1e-3)
    with pytest.raises(AppiaError, match="refused"):
        refuse_unsafe_model(data, "model.onnx")


def test_a_model_that_onnxruntime_takes_for_its_own_format_is_refused() -> None:
    """It goes by four bytes, which a field that nobody knows can hold in a model that passes otherwise."""
    model = field(99, b"\x00ORTM") + plain().SerializeToString()
    assert model[4:8] == b"ORTM"
    assert onnx.ModelProto.FromString(model).graph == plain().graph
    with pytest.raises(AppiaError, match="in the format of onnxruntime"):
        refuse_unsafe_model(model, "model.onnx")


@pytest.mark.parametrize("data", [b"", b"\x08", b"not a model at all", b"\xff" * 32])
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(AppiaError, match="refused"):
        refuse_unsafe_model(data, "model.onnx")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_pass_or_a_sentence(data: bytes) -> None:
    try:
        refuse_unsafe_model(data, "model.onnx")
    except AppiaError as error:
        assert "refused" in str(error)  # noqa: PT017 - passing is allowed as well


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_cut_model_never_crashes_the_look(data: st.DataObject) -> None:
    whole = plain().SerializeToString()
    cut = data.draw(st.integers(0, len(whole) - 1))
    try:
        refuse_unsafe_model(whole[:cut], "model.onnx")
    except AppiaError as error:
        assert "refused" in str(error)  # noqa: PT017 - a cut between two fields may pass
