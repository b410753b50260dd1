// Transformers whose linear layers compute in 8 bits: how close they stay to the plain ones, and
// how their weights come in.
#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <limits>
#include <map>
#include <memory>

#include "models/wan/transformer.h"
#include "models/wan/weights.h"
#include "ops/int8.h"
#include "ops/int8_reference.h"
#include "support/compare.h"
#include "t2v/error.h"
#include "weights/safetensors_writer.h"
#include "weights/scratch.h"

using namespace t2v;
using models::Placement;
using models::QuantPlan;
using models::wan::Condition;
using models::wan::Transformer;
using testing::mismatch;

namespace {

constexpr int64_t kTextLen = 40;
constexpr float kOutlier = 40;  // how far channels are out
const QuantPlan kInt8{.rows = ops::RowType::kInt8};
const QuantPlan kInt8Unrotated{.rows = ops::RowType::kInt8, .rotation = 0};
const QuantPlan kWeightsOnly{.weights_only = true};
const QuantPlan kFp8{.rows = ops::RowType::kFp8};

models::TransformerSpec small_spec() {
  models::TransformerSpec spec;
  spec.in_channels = spec.out_channels = 16;
  spec.num_heads = 4;
  spec.head_size = 64;
  spec.ffn_size = 1024;
  spec.num_blocks = 3;
  spec.text_size = 64;
  spec.freq_size = 64;
  return spec;
}

using Tensors = std::map<std::string, at::Tensor>;

Tensors random_tensors(const models::TransformerSpec& spec) {
  Tensors tensors;
  for (const auto& [name, shape] : Transformer::expectations(spec).tensors) {
    at::Tensor t = at::randn(shape);
    const bool is_norm = name.find("norm") != std::string::npos && name.ends_with(".weight");
    if (is_norm) {
      t = 1 + 0.1 * t;
    } else if (shape.size() >= 2 && name.find("modulation") == std::string::npos) {
      t = t / std::sqrt(static_cast<double>(t[0].numel()));
    } else {
      t = 0.2 * t;
    }
    tensors[name] = t;
  }
  return tensors;
}

// Some channels of every layer's input become large, and the weights that meet them small: the
// function stays what it was.
void push_channels_out(Tensors& tensors, const models::TransformerSpec& spec) {
  for (int64_t b = 0; b < spec.num_blocks; ++b) {
    const std::string p = "blocks." + std::to_string(b) + ".";
    const auto shrink = [&](const char* layer, int64_t c) {
      tensors.at(p + layer + ".weight").select(1, c).div_(kOutlier);
    };
    const auto grow_output = [&](const char* layer, int64_t c) {
      tensors.at(p + layer + ".weight")[c].mul_(kOutlier);
      tensors.at(p + layer + ".bias")[c].mul_(kOutlier);
    };
    for (int64_t i = 0; i < 6; ++i) {
      const int64_t c = (i * 41 + 11 * b + 3) % spec.size();
      // Scale and shift: (1 + s) * k - 1 lies in the time's part only approximately, so the model
      // with large channels is its own truth.
      for (const int64_t row : {0, 1, 3, 4})
        tensors.at(p + "modulation")[0][row][c].add_(row % 3 == 1 ? kOutlier : 10);
      for (const char* layer : {"self_attn.q", "self_attn.k", "self_attn.v", "ffn.0"})
        shrink(layer, c);
      tensors.at(p + "norm3.weight")[c].mul_(kOutlier);
      shrink("cross_attn.q", c);
      grow_output("self_attn.v", c);
      shrink("self_attn.o", c);
      grow_output("cross_attn.v", c);
      shrink("cross_attn.o", c);
      tensors.at(p + "ffn.0.bias")[c * 3].add_(kOutlier / 2);
    }
  }
}

std::shared_ptr<const weights::WeightMap> written(const Tensors& tensors,
                                                  const test::Scratch& scratch) {
  std::vector<weights::NamedTensor> all;
  for (const auto& [name, tensor] : tensors) all.push_back({name, tensor.contiguous()});
  const std::string path = scratch / "model.safetensors";
  weights::write_safetensors(path, all);
  return std::make_shared<const weights::WeightMap>(
      weights::WeightMap::open(path, weights::ModelPart::kTransformer, "transformer"));
}

std::vector<at::Tensor> forward(const std::shared_ptr<const weights::WeightMap>& map,
                                const QuantPlan& quant, at::ScalarType dtype) {
  const auto spec = small_spec();
  models::wan::BlockPlan plan = models::wan::resident_plan(spec);
  plan.quant = quant;
  Transformer transformer(spec, map, plan, dtype, at::kCPU);
  transformer.begin_prompt();
  at::manual_seed(11);
  const at::Tensor latents = at::randn({16, 3, 8, 12});
  Condition condition = transformer.make_condition(at::randn({7, spec.text_size}), kTextLen);
  const auto rope = ops::make_rope_tables(3, 4, 6, spec.head_size, at::kCPU);
  std::vector<at::Tensor> outputs;
  for (const int64_t t : {999, 875, 500, 100})
    outputs.push_back(transformer
                          .forward({.time = transformer.make_time(t), .rope = rope},
                                   models::wan::lanes_of(latents, {&condition}),
                                   {[] {}, [](int64_t, const std::function<void()>& w) { w(); }})
                          .front());
  return outputs;
}

double cosine(const at::Tensor& a, const at::Tensor& b) {
  const at::Tensor x = a.to(at::kDouble).flatten();
  const at::Tensor y = b.to(at::kDouble).flatten();
  return (x.dot(y) / (x.norm() * y.norm())).item<double>();
}

double worst_cosine(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double worst = 1;
  for (size_t i = 0; i < a.size(); ++i) worst = std::min(worst, cosine(a[i], b[i]));
  return worst;
}

struct ReferenceOps {
  ReferenceOps() { ops::set_backend(ops::OpBackend::kReference); }
  ~ReferenceOps() { ops::set_backend(ops::OpBackend::kFused); }
};

// Weights in memory, of which some are stored as int8 rows.
class MemoryWeights final : public weights::WeightSource {
 public:
  Tensors plain;
  std::map<std::string, weights::Int8Rows, std::less<>> int8;
  int64_t stored_rotation = 0;
  std::map<std::string, weights::SideBranch, std::less<>> branches;

  const std::vector<int64_t>& shape(std::string_view name) const override {
    shape_ = at::IntArrayRef(find(name).sizes()).vec();
    return shape_;
  }
  const std::vector<int64_t>& shape(std::string_view name, size_t /*rank*/) const override {
    return shape(name);
  }
  at::Tensor take(std::string_view name, c10::ScalarType dtype) const override {
    return find(name).to(dtype);
  }
  at::Tensor borrow(std::string_view name, c10::ScalarType dtype) const override {
    return take(name, dtype);
  }
  void take_into(std::string_view name, at::Tensor& to) const override { to.copy_(find(name)); }
  std::optional<weights::SideBranch> side_branch(std::string_view name) const override {
    const auto found = branches.find(name);
    return found == branches.end() ? std::nullopt : std::make_optional(found->second);
  }
  std::optional<int64_t> int8_rotation(std::string_view name) const override {
    return int8.contains(name) ? std::make_optional(stored_rotation) : std::nullopt;
  }
  weights::Int8Rows take_int8(std::string_view name, int64_t rotation) const override {
    const auto found = int8.find(name);
    return found != int8.end() && rotation == stored_rotation
               ? found->second
               : WeightSource::take_int8(name, rotation);
  }

 private:
  const at::Tensor& find(std::string_view name) const { return plain.at(std::string(name)); }
  mutable std::vector<int64_t> shape_;
};

std::string refusal(const MemoryWeights& source) {
  return test::message_of([&] {
    (void)models::wan::load_linear({source, at::kFloat, at::kCPU, kInt8}, "x");
  });
}

}  // namespace

TEST_CASE("velocities in 8 bits keep a cosine of 0.995 with channels far out; rotation does it") {
  at::manual_seed(10);
  const auto spec = small_spec();
  Tensors tensors = random_tensors(spec);
  push_channels_out(tensors, spec);
  const test::Scratch scratch;
  const auto map = written(tensors, scratch);
  const auto truth = forward(map, {}, at::kFloat);
  const double bf16 = worst_cosine(truth, forward(map, {}, at::kBFloat16));
  const double rotated = worst_cosine(truth, forward(map, kInt8, at::kBFloat16));
  const double narrow = worst_cosine(
      truth, forward(map, {.rows = ops::RowType::kInt8, .rotation = 64}, at::kBFloat16));
  const double unrotated = worst_cosine(truth, forward(map, kInt8Unrotated, at::kBFloat16));
  const double weights_only = worst_cosine(truth, forward(map, kWeightsOnly, at::kBFloat16));
  std::printf("cosine: bf16 %.6f int8 R256 %.6f R64 %.6f R0 %.6f int8-wo %.6f\n", bf16, rotated,
              narrow, unrotated, weights_only);
  CHECK(rotated >= 0.995);
  CHECK(narrow >= 0.995);
  CHECK(weights_only >= 0.995);
  CHECK(rotated < bf16);
  CHECK(1 - unrotated > 3 * (1 - rotated));
}

TEST_CASE("all forms of 8 bits are computed by the composed operations too, and differ") {
  at::manual_seed(12);
  const test::Scratch scratch;
  const auto map = written(random_tensors(small_spec()), scratch);
  const auto truth = forward(map, {}, at::kFloat);
  const auto fused = forward(map, kInt8, at::kFloat);
  CHECK(worst_cosine(truth, fused) >= 0.999);
  CHECK(mismatch(fused[0], truth[0], {1e-4, 1e-4}) != "");
  CHECK(test::message_of([&] { (void)forward(map, kFp8, at::kFloat); }, ErrorKind::kDevice) != "");
  const ReferenceOps reference;
  CHECK(worst_cosine(fused, forward(map, kInt8, at::kFloat)) >= 0.9999);
  CHECK(worst_cosine(truth, forward(map, kFp8, at::kFloat)) >= 0.995);
}

TEST_CASE("protected blocks stay as they are") {
  at::manual_seed(13);
  const test::Scratch scratch;
  const auto map = written(random_tensors(small_spec()), scratch);
  const auto truth = forward(map, {}, at::kFloat);
  QuantPlan all = kInt8;
  all.protect_first = 1;
  all.protect_last = 2;
  CHECK(mismatch(forward(map, all, at::kFloat)[0], truth[0], {}) == "");
  all.protect_last = 1;
  CHECK(mismatch(forward(map, all, at::kFloat)[0], truth[0], {}) != "");
  QuantPlan stored = kInt8;
  stored.as_stored = true;  // nothing is
  CHECK(mismatch(forward(map, stored, at::kFloat)[0], truth[0], {}) == "");
}

TEST_CASE("rows stored as int8 are taken as they are, -128 too; deltas are added before") {
  at::manual_seed(14);
  MemoryWeights source;
  source.stored_rotation = 64;
  const at::Tensor values = at::randint(-128, 128, {48, 128}, at::kInt).to(at::kChar);
  values[0][0] = -128;
  const at::Tensor scales = at::rand({48}) * 0.01 + 0.001;
  source.int8["x.weight"] = {values, scales};
  source.plain["x.weight"] = ops::reference::expand_int8({values, scales, 48, 128}, 64, at::kFloat);
  source.plain["x.bias"] = at::randn({48});
  const at::Tensor x = at::randn({9, 128});
  const auto apply = [&](const QuantPlan& plan) {
    const ops::Linear linear = models::wan::load_linear({source, at::kFloat, at::kCPU, plan}, "x");
    return linear(ops::make_rows(x, linear.row_format()));
  };
  const auto exact = [&](const at::Tensor& w, const at::Tensor& scale, int64_t rotation) {
    const auto rows = ops::quantise_rows(x, rotation);
    return ops::reference::int8_linear({.x = rows,
                                        .weight = {w, scale, 48, 128},
                                        .bias = source.plain["x.bias"],
                                        .out = at::kFloat});
  };
  // The file's rotation counts, whatever is asked for.
  CHECK(mismatch(apply(kInt8), exact(values, scales, 64), {1e-5, 1e-5}) == "");
  CHECK(mismatch(apply(kInt8Unrotated), exact(values, scales, 64), {1e-5, 1e-5}) == "");
  CHECK(mismatch(apply(kWeightsOnly),
                 at::linear(x, source.plain["x.weight"], source.plain["x.bias"]),
                 {1e-5, 1e-5}) == "");
  // A delta beside a stored weight.
  const weights::SideBranch branch{at::randn({4, 128}) * 0.1, at::randn({48, 4}) * 0.1};
  source.branches["x.weight"] = branch;
  const auto merged =
      ops::quantise_rows(source.plain["x.weight"] + at::matmul(branch.up, branch.down), 64);
  CHECK(mismatch(apply(kInt8), exact(merged.values, merged.row_scale, 64), {1e-2, 1e-3}) == "");
  CHECK(mismatch(apply(kInt8), exact(values, scales, 64), {1e-2, 1e-3}) != "");
}

TEST_CASE("weights that cannot be quantised are refused with tensor and row") {
  at::manual_seed(15);
  using Catch::Matchers::Contains;
  MemoryWeights source;
  source.plain["x.weight"] = at::randn({16, 64});
  source.plain["x.bias"] = at::randn({16});
  CHECK(refusal(source) == "");
  source.plain["x.weight"][5][3] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THAT(refusal(source), Contains("x.weight") && Contains("row 5"));
  source.plain["x.weight"][5][3] = std::numeric_limits<float>::infinity();
  CHECK_THAT(refusal(source), Contains("x.weight") && Contains("row 5"));
  const at::Tensor scales = at::ones({16});
  source.int8["x.weight"] = {at::ones({16, 64}, at::kChar), scales};
  CHECK(refusal(source) == "");
  for (const float bad : {0.0F, -1.0F, std::numeric_limits<float>::quiet_NaN()}) {
    scales[7] = bad;
    CHECK_THAT(refusal(source), Contains("x.weight") && Contains("row 7 of 16"));
  }
}
