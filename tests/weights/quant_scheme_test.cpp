// Which tensors are quantised and how, and what is refused.
#include "weights/quant_scheme.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <catch2/catch.hpp>
#include <cstring>

#include "container_bytes.h"
#include "scratch.h"
#include "weights/safetensors_writer.h"

using namespace t2v;
using namespace t2v::weights;
using namespace t2v::test;

namespace {

using Tensors = std::vector<NamedTensor>;
using Metadata = std::map<std::string, std::string>;

at::Tensor weight(at::ScalarType dtype, std::vector<int64_t> shape = {256, 512}) {
  return at::empty(shape, at::kFloat).fill_(1).to(dtype);
}

NamedTensor json(const std::string& name, const std::string& text) {
  at::Tensor tensor = at::empty({static_cast<int64_t>(text.size())}, at::kByte);
  std::memcpy(tensor.mutable_data_ptr(), text.data(), text.size());
  return {name, tensor};
}

// A checkpoint that lives as long as its schemes.
struct Found {
  Scratch scratch;
  Checkpoint checkpoint;
  SchemeTable table;

  explicit Found(const Tensors& tensors, const Metadata& metadata = {})
      : checkpoint(open(scratch, tensors, metadata)), table(find_schemes(checkpoint)) {}
  static Checkpoint open(const Scratch& scratch, const Tensors& tensors, const Metadata& metadata) {
    write_safetensors(scratch / "x.safetensors", tensors, metadata);
    return Checkpoint::open(scratch / "x.safetensors");
  }
  [[nodiscard]] const QuantisedLinear& x() const { return table.linears.at("x.weight"); }
};

std::string refusal(const Tensors& tensors, const Metadata& metadata = {}) {
  const std::string message = message_of([&] { Found found(tensors, metadata); });
  CHECK_THAT(message, Catch::Contains("x.safetensors"));
  return message;
}

}  // namespace

TEST_CASE("schemes: plain checkpoints have none") {
  const Found found({{"x.weight", weight(at::kBFloat16)}, {"x.bias", at::ones({4})}});
  CHECK(found.table.linears.empty());
  CHECK(found.table.companions.empty());
  CHECK(found.table.summary == "BF16 + F32");
}

TEST_CASE("schemes: int8 with one scale for each row") {
  const Tensors tensors = {{"x.weight", weight(at::kChar)}, {"x.weight_scale", at::ones({256, 1})}};
  const Found found(tensors);
  CHECK(found.x().scheme == "int8 row");
  CHECK(found.x().weight == found.checkpoint.find("x.weight"));
  CHECK(found.x().scale == found.checkpoint.find("x.weight_scale"));
  CHECK(found.x().rotation == 0);
  CHECK_FALSE(found.x().block_scale);
  CHECK(found.table.companions == std::set<std::string>{"x.weight_scale"});
  CHECK(found.table.summary == "int8 row");
  CHECK(Found(tensors, {{"t2v.rotate", "256"}}).x().rotation == 256);
  CHECK(Found(tensors, {{"t2v.rotate", "0"}}).x().rotation == 0);
  CHECK_THAT(refusal(tensors, {{"t2v.rotate", "100"}}), Catch::Contains("t2v.rotate"));
}

TEST_CASE("schemes: int8 by comfy_quant") {
  const auto found = [](const std::string& text, at::Tensor scale) {
    return Found({{"x.weight", weight(at::kChar)},
                  json("x.comfy_quant", text),
                  {"x.weight_scale", std::move(scale)}});
  };
  const std::string tensorwise = R"({"format":"int8_tensorwise"})";
  CHECK(found(tensorwise, at::ones({})).x().scheme == "int8 tensor");
  CHECK(found(tensorwise, at::ones({256})).x().scheme == "int8 row");
  CHECK(found(tensorwise, at::ones({256, 1})).table.companions ==
        std::set<std::string>{"x.comfy_quant", "x.weight_scale"});
  CHECK(found(R"({"format":"int8_tensorwise","convrot":true})", at::ones({})).x().rotation == 256);
  const std::string group = R"({"format":"int8_tensorwise","convrot":true,"convrot_groupsize":64})";
  CHECK(found(group, at::ones({})).x().rotation == 64);
  CHECK(found(R"({"format":"int8_tensorwise","convrot":false})", at::ones({})).x().rotation == 0);
}

TEST_CASE("schemes: int8 with one scale for each block") {
  const Found found({{"x.int8_weight", weight(at::kChar, {300, 200})},
                     {"x.scale", at::ones({3, 2})},
                     {"x.bias", at::ones({300})},
                     {"norm.scale", at::ones({7})}});
  CHECK(found.x().scheme == "int8 block");
  CHECK(found.x().block_scale);
  CHECK(found.x().weight == found.checkpoint.find("x.int8_weight"));
  CHECK(found.table.companions == std::set<std::string>{"x.scale"});
}

TEST_CASE("schemes: fp8 with old and new names, and without a scale") {
  const Found old({{"x.weight", weight(at::kFloat8_e4m3fn)},
                   {"x.scale_weight", at::ones({})},
                   {"x.scale_input", at::ones({})},
                   {"y.weight", weight(at::kHalf)},
                   {"y.scale_weight", at::ones({1})},
                   {"scaled_fp8", at::empty({0}, at::kFloat8_e4m3fn)}});
  CHECK(old.x().scheme == "fp8 scaled");
  CHECK(old.x().scale == old.checkpoint.find("x.scale_weight"));
  CHECK(old.table.linears.at("y.weight").scheme == "scaled F16");
  CHECK(old.table.companions ==
        std::set<std::string>{"scaled_fp8", "x.scale_input", "x.scale_weight", "y.scale_weight"});
  const std::string format = R"({"format":"float8_e5m2","full_precision_matrix_mult":true})";
  const Found newer({{"x.weight", weight(at::kFloat8_e5m2)},
                     json("x.comfy_quant", format),
                     {"x.weight_scale", at::ones({})},
                     {"x.input_scale", at::ones({})}});
  CHECK(newer.x().scheme == "fp8 scaled");
  CHECK(newer.table.companions.size() == 3);
  const Found plain(
      {{"x.weight", weight(at::kFloat8_e4m3fn)}, {"x.bias", weight(at::kFloat8_e4m3fn, {4})}});
  CHECK(plain.x().scheme == "fp8");
  CHECK(plain.x().scale == nullptr);
  CHECK(plain.table.linears.count("x.bias") == 1);
}

TEST_CASE("schemes: what the file's metadata says of its layers") {
  const Metadata metadata = {
      {"_quantization_metadata",
       R"({"layers":{"x":{"format":"int8_tensorwise","convrot":true,"convrot_groupsize":64}}})"}};
  const Tensors tensors = {{"model.diffusion_model.x.weight", weight(at::kChar)},
                           {"model.diffusion_model.x.weight_scale", at::ones({256, 1})}};
  CHECK(Found(tensors, metadata).table.linears.at("model.diffusion_model.x.weight").rotation == 64);
  CHECK_THAT(refusal(tensors, {{"_quantization_metadata", "{"}}), Catch::Contains("JSON"));
  CHECK_THAT(refusal(tensors, {{"_quantization_metadata", "{}"}}), Catch::Contains("layers"));
  CHECK_THAT(refusal(tensors, {{"_quantization_metadata", R"({"layers":{"x":1}})"}}),
             Catch::Contains("layers.x"));
  CHECK_THAT(refusal(tensors, {{"_quantization_metadata", R"({"layers":{"x":{"format":1}}})"}}),
             Catch::Contains("format"));
}

TEST_CASE("schemes: GGML blocks") {
  const Scratch scratch;
  GgufFile file;
  file.tensors = {{"x.weight", {256, 2}, 12, 0}, {"norm.weight", {4}, 0, 288}};
  file.body = std::string(288 + 16, '\0');
  write_text(scratch / "x.gguf", file.bytes());
  const Checkpoint checkpoint = Checkpoint::open(scratch / "x.gguf");
  const SchemeTable table = find_schemes(checkpoint);
  CHECK(table.linears.at("x.weight").scheme == "Q4_K");
  CHECK(table.linears.size() == 1);
  CHECK(table.summary == "Q4_K + F32");
}

TEST_CASE("schemes: companions that do not fit") {
  const NamedTensor x{"x.weight", weight(at::kChar)};
  const auto with_scale = [&](at::Tensor scale) {
    return refusal({x, {"x.weight_scale", std::move(scale)}});
  };
  CHECK_THAT(with_scale(at::ones({255})), Catch::Contains("'x.weight_scale' is [255]"));
  CHECK_THAT(with_scale(at::ones({1, 256})), Catch::Contains("expected one value or [256, 1]"));
  CHECK_THAT(with_scale(at::ones({256, 4})), Catch::Contains("[256, 4]"));
  CHECK_THAT(with_scale(at::ones({0})), Catch::Contains("is [0]"));
  CHECK_THAT(with_scale(at::ones({256, 1}, at::kInt)), Catch::Contains("is I32, expected F32"));
  CHECK_THAT(with_scale(at::ones({256, 1}, at::kBFloat16)), Catch::Contains("BF16"));
  CHECK_THAT(refusal({{"y.weight_scale", at::ones({})}}), Catch::Contains("no weight 'y.weight'"));
  CHECK_THAT(refusal({{"y.scale_weight", at::ones({})}}), Catch::Contains("no weight 'y.weight'"));
  CHECK_THAT(refusal({json("y.comfy_quant", "{}")}), Catch::Contains("'y.comfy_quant'"));
  CHECK_THAT(refusal({x, {"x.weight_scale", at::ones({})}, {"x.scale_weight", at::ones({})}}),
             Catch::Contains("two scales"));
  CHECK_THAT(refusal({{"x.weight", weight(at::kByte)}, {"x.weight_scale", at::ones({})}}),
             Catch::Contains("is U8 with a scale"));
  const NamedTensor block{"x.int8_weight", weight(at::kChar)};
  CHECK_THAT(refusal({block}), Catch::Contains("has no scale 'x.scale'"));
  CHECK_THAT(refusal({block, {"x.scale", at::ones({2, 3})}}), Catch::Contains("expected [2, 4]"));
  CHECK_THAT(refusal({block, {"x.scale", at::ones({8})}}), Catch::Contains("expected [2, 4]"));
  CHECK_THAT(refusal({block, {"x.scale", at::ones({2, 4})}, x}), Catch::Contains("beside"));
  CHECK_THAT(refusal({{"x.int8_weight", weight(at::kChar, {4})}, {"x.scale", at::ones({1})}}),
             Catch::Contains("expected I8 of 2 dimensions"));
}

TEST_CASE("schemes: comfy_quant that cannot be followed") {
  const auto with = [](const std::string& text, at::ScalarType dtype = at::kChar) {
    return refusal({{"x.weight", weight(dtype)},
                    json("x.comfy_quant", text),
                    {"x.weight_scale", at::ones({})}});
  };
  for (const char* format : {"mxfp8", "nvfp4", "svdquant_w4a4", "", "int8_blockwise"}) {
    CAPTURE(format);
    CHECK_THAT(with(R"({"format":")" + std::string(format) + "\"}"),
               Catch::Contains("which is not read"));
  }
  CHECK_THAT(with("not JSON"), Catch::Contains("x.comfy_quant"));
  CHECK_THAT(with("{}"), Catch::Contains("format"));
  CHECK_THAT(with(R"({"format":7})"), Catch::Contains("format"));
  CHECK_THAT(with(R"({"format":"float8_e4m3fn"})"), Catch::Contains("is I8, but said to be"));
  CHECK_THAT(with(R"({"format":"float8_e4m3fn"})", at::kFloat8_e5m2), Catch::Contains("F8_E5M2"));
  CHECK_THAT(with(R"({"format":"int8_tensorwise"})", at::kBFloat16), Catch::Contains("is BF16"));
  for (const char* group : {"0", "3", "100", "8192", "-4", "1e3", "\"64\""}) {
    CAPTURE(group);
    const std::string text =
        R"({"format":"int8_tensorwise","convrot":true,"convrot_groupsize":)" + std::string(group);
    CHECK_THAT(with(text + "}"), Catch::Contains("convrot_groupsize"));
  }
  CHECK_THAT(with(R"({"format":"int8_tensorwise","convrot":1})"), Catch::Contains("convrot"));
  CHECK_THAT(refusal({{"x.weight", weight(at::kChar, {256, 100})},
                      json("x.comfy_quant", R"({"format":"int8_tensorwise","convrot":true})"),
                      {"x.weight_scale", at::ones({})}}),
             Catch::Contains("expected rows of a multiple of 256"));
  CHECK_THAT(refusal({{"x.weight", weight(at::kChar)},
                      json("x.comfy_quant", R"({"format":"int8_tensorwise"})")}),
             Catch::Contains("has no scale"));
  CHECK_THAT(refusal({{"x.weight", weight(at::kChar)},
                      {"x.comfy_quant", at::empty({70000}, at::kByte).zero_()},
                      {"x.weight_scale", at::ones({})}}),
             Catch::Contains("at most 65536"));
  CHECK_THAT(refusal({{"x.weight", weight(at::kChar)},
                      {"x.comfy_quant", at::ones({4})},
                      {"x.weight_scale", at::ones({})}}),
             Catch::Contains("of F32"));
}

TEST_CASE("schemes: those of other programs are refused by name") {
  for (const auto& [suffix, scheme] : {std::pair("weight_scale_2", "nvfp4"),
                                       {"weight.absmax", "bitsandbytes"},
                                       {"weight.quant_map", "bitsandbytes"},
                                       {"qweight", "GPTQ"},
                                       {"weight_packed", "compressed-tensors"},
                                       {"weight_scale_inv", "inverse"}}) {
    CAPTURE(suffix);
    const std::string message =
        refusal({{"x.weight", weight(at::kByte)}, {std::string("x.") + suffix, at::ones({})}});
    CHECK_THAT(message, Catch::Contains(scheme));
    CHECK_THAT(message, Catch::Contains("not read"));
  }
}
