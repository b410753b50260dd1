// The memory plan's figure for one block against what LibTorch's allocator says.
#include <ATen/ATen.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>

#include "models/wan/block.h"
#include "weights/weight_source.h"

using namespace t2v;
using models::TransformerSpec;
using models::wan::Block;

namespace {

// Sums of what is allocated and not yet freed, since start().
class Meter final : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void* /*memory*/, int64_t bytes, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    now_ += bytes;
    peak_ = std::max(peak_, now_);
  }
  [[nodiscard]] bool memoryProfilingEnabled() const override { return true; }
  void start() { now_ = peak_ = 0; }
  [[nodiscard]] int64_t peak() const { return peak_; }

 private:
  int64_t now_ = 0;
  int64_t peak_ = 0;
};

class RandomWeights final : public weights::WeightSource {
 public:
  explicit RandomWeights(const TransformerSpec& spec) { Block::expect(spec, 0, expected_); }

  const std::vector<int64_t>& shape(std::string_view name) const override {
    const auto found = std::find_if(expected_.tensors.begin(), expected_.tensors.end(),
                                    [&](const auto& tensor) { return tensor.name == name; });
    REQUIRE(found != expected_.tensors.end());
    return found->shape;
  }
  const std::vector<int64_t>& shape(std::string_view name, size_t /*rank*/) const override {
    return shape(name);
  }
  at::Tensor take(std::string_view name, c10::ScalarType dtype) const override {
    return (at::randn(shape(name)) * 0.02).to(dtype);
  }
  at::Tensor borrow(std::string_view name, c10::ScalarType dtype) const override {
    return take(name, dtype);
  }
  void take_into(std::string_view name, at::Tensor& destination) const override {
    destination.copy_(take(name, destination.scalar_type()));
  }
  std::optional<weights::SideBranch> side_branch(std::string_view /*name*/) const override {
    return std::nullopt;
  }

 private:
  weights::Expectations expected_;
};

TransformerSpec spec_of(int64_t heads, int64_t head_size, int64_t ffn_size) {
  TransformerSpec spec;
  spec.num_heads = heads;
  spec.head_size = head_size;
  spec.ffn_size = ffn_size;
  spec.num_blocks = 1;
  spec.eps = 1e-6;
  spec.cross_attn_norm = true;
  return spec;
}

int64_t measured(const TransformerSpec& spec, const ops::RopeTables& rope, size_t sequences,
                 const models::QuantPlan& quant) {
  const RandomWeights source(spec);
  const Block block(spec, {source, at::kFloat, at::kCPU, quant}, 0, models::wan::KeyWeights::kWith);
  const auto keys = block.make_keys(at::randn({5, spec.size()}));
  models::wan::BlockContext context;
  context.rope = &rope;
  context.time = at::randn({6, spec.size()});
  context.prompts.assign(sequences, &keys);
  context.key_bias.resize(sequences);
  const auto rows = static_cast<int64_t>(sequences) * rope.num_tokens();
  at::Tensor x = at::randn({rows, spec.size()});
  const auto meter = std::make_shared<Meter>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, meter);
  meter->start();
  block.run(x, context);
  return meter->peak();
}

}  // namespace

TEST_CASE("a block takes the memory that the plan says, within 5 %") {
  at::manual_seed(3);
  struct Case {
    int64_t frames, height, width, heads, head_size, ffn_size;
    size_t sequences;
  };
  for (const Case& c : {Case{1, 30, 40, 2, 16, 2048, 1}, Case{1, 20, 50, 2, 16, 1500, 2},
                        Case{3, 30, 52, 2, 12, 600, 1}, Case{5, 30, 52, 1, 16, 640, 1},
                        Case{11, 30, 52, 1, 30, 80, 1}, Case{21, 30, 52, 1, 28, 64, 1},
                        Case{13, 45, 40, 1, 24, 256, 1}}) {
    const TransformerSpec spec = spec_of(c.heads, c.head_size, c.ffn_size);
    const auto rope = ops::make_rope_tables(c.frames, c.height, c.width, c.head_size, at::kCPU);
    const int64_t rows = static_cast<int64_t>(c.sequences) * rope.num_tokens();
    for (const models::QuantPlan& quant :
         {models::QuantPlan{}, models::QuantPlan{.rows = ops::RowType::kInt8}}) {
      const auto planned = static_cast<double>(models::wan::block_work_bytes(spec, rows, 4, quant));
      const auto real = static_cast<double>(measured(spec, rope, c.sequences, quant));
      CAPTURE(rows, spec.size(), spec.ffn_size, planned, real, quant.is_on());
      CHECK(planned <= 1.05 * real);
      CHECK(real <= 1.05 * planned);
    }
  }
}

TEST_CASE("pieces of a long sequence are of about one size and cover it") {
  for (const int64_t rows : {1, 127, 128, 16384, 16385, 32760, 75600, 1000003}) {
    int64_t at = 0;
    const auto ranges = models::wan::row_ranges(rows);
    for (const auto& range : ranges) {
      CHECK(range.begin == at);
      CHECK(range.end > range.begin);
      CHECK(range.end - range.begin <= models::wan::kMaxChunkRows);
      at = range.end;
    }
    CHECK(at == rows);
    CHECK(static_cast<int64_t>(ranges.size()) ==
          (rows + models::wan::kMaxChunkRows - 1) / models::wan::kMaxChunkRows);
  }
  CHECK(models::wan::row_ranges(0).empty());
}
