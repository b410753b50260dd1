// What the launchers of int8 attention refuse, before anything runs.
#include <catch2/catch.hpp>
#include <vector>

#include "host_attention.h"
#include "refused_launch.h"
#include "t2v/kernels/flash_attention_int8.h"
#include "t2v/kernels/flash_attention_int8_kv.h"
#include "t2v/kernels/quantise_heads.h"

using namespace t2v::kernels;

namespace {

// 2 heads, 3 queries, 5 keys. The operands of int8 may point anywhere: nothing is read.
FlashAttentionArgs attention_args(HostAttention& a) {
  FlashAttentionArgs args = a.args();
  args.q_row_stride = args.k_row_stride = args.v_row_stride = 128;
  args.q_head_stride = 3 * 128;
  args.k_head_stride = args.v_head_stride = 5 * 128;
  return args;
}

template <typename Args>
void check_shared(cudaError_t (*launcher)(const Args&, cudaStream_t) noexcept, const Args& good,
                  const float* floats) {
  using A = FlashAttentionArgs;
  const auto status = [&](const auto& change) {
    return refused_status(launcher, good, [&](Args& args) { change(args.attention); });
  };
  const std::vector<std::int32_t> numbers(8, 1);
  for (const auto member : {&A::q, &A::k, &A::v}) {
    CHECK(status([&](A& a) { a.*member = nullptr; }) == kInvalid);
    CHECK(status([&](A& a) { a.*member = shifted(a.*member, 8); }) == kMisaligned);
  }
  CHECK(status([](A& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](A& a) { a.out = shifted(a.out, 2); }) == kMisaligned);
  for (const auto member :
       {&A::q_row_stride, &A::k_row_stride, &A::v_row_stride, &A::out_row_stride}) {
    CHECK(status([&](A& a) { a.*member = 127; }) == kInvalid);
    CHECK(status([&](A& a) { a.*member += 4; }) == kMisaligned);
  }
  CHECK(status([](A& a) { a.k_row_stride += 8; }) == kMisaligned);  // of bytes
  for (const auto member :
       {&A::q_head_stride, &A::k_head_stride, &A::v_head_stride, &A::out_head_stride})
    CHECK(status([&](A& a) { a.*member = -16; }) == kInvalid);
  CHECK(status([](A& a) { a.num_heads = 0; }) == kInvalid);
  CHECK(status([](A& a) { a.num_queries = -1; }) == kInvalid);
  CHECK(status([](A& a) { a.num_keys = 0; }) == kInvalid);
  CHECK(status([](A& a) { a.head_size = 96; }) == kInvalid);
  CHECK(status([](A& a) { a.dtype = DType::kFloat32; }) == kInvalid);
  CHECK(status([](A& a) { a.variant = FlashVariant::kFourWarpsOneStage; }) == kInvalid);
  CHECK(status([&](A& a) { a.key_bias = floats; }) == kInvalid);
  CHECK(status([&](A& a) { a.list = {numbers.data(), numbers.data(), 1}; }) == kInvalid);
  CHECK(status([&](A& a) { a.table = {numbers.data(), numbers.data(), 1}; }) == kInvalid);
  CHECK(status([](A& a) { a.num_queries = 0; }) == cudaSuccess);
}

}  // namespace

TEST_CASE("flash_attention_int8 refuses broken preconditions") {
  HostAttention a({.heads = 2, .queries = 3, .keys = 5});
  const std::vector<float> scale(8, 1.0F);
  using Args = FlashAttentionInt8Args;
  const Args good{attention_args(a), scale.data(), scale.data()};
  check_shared(flash_attention_int8, good, scale.data());
  for (const auto member : {&Args::q_scale, &Args::k_scale}) {
    CHECK(refused_status(flash_attention_int8, good, [&](Args& x) { x.*member = nullptr; }) ==
          kInvalid);
    CHECK(refused_status(flash_attention_int8, good,
                         [&](Args& x) { x.*member = shifted(x.*member, 2); }) == kMisaligned);
  }
}

TEST_CASE("flash_attention_int8_kv refuses broken preconditions") {
  HostAttention a({.heads = 2, .queries = 3, .keys = 5});
  std::vector<float> scale(64, 1.0F);
  using Args = FlashAttentionInt8KvArgs;
  Args good;
  good.attention = attention_args(a);
  good.k_scale = good.v_scale = scale.data();
  good.k_scale_head_stride = good.v_scale_head_stride = 10;
  check_shared(flash_attention_int8_kv, good, scale.data());
  const auto status = [&](const auto& change) {
    return refused_status(flash_attention_int8_kv, good, change);
  };
  for (const auto member : {&Args::k_scale, &Args::v_scale}) {
    CHECK(status([&](Args& x) { x.*member = nullptr; }) == kInvalid);
    CHECK(status([&](Args& x) { x.*member = shifted(x.*member, 1); }) == kMisaligned);
  }
  for (const auto member : {&Args::k_scale_head_stride, &Args::v_scale_head_stride})
    CHECK(status([&](Args& x) { x.*member = -1; }) == kInvalid);
  CHECK(status([&](Args& x) { x.other_lse = shifted(scale.data(), 2); }) == kMisaligned);
  CHECK(status([&](Args& x) { x.other_lse = x.attention.lse = scale.data(); }) == kInvalid);
  CHECK(status([](Args& x) { x.attention.variant = FlashVariant::kEightWarpsTwoStages; }) ==
        kInvalid);
}

TEST_CASE("quantise_heads and key_means refuse broken preconditions") {
  HostAttention a({.heads = 2, .queries = 3, .keys = 5});
  const FlashAttentionArgs attention = attention_args(a);
  HostMatrix floats(DType::kFloat32, 4, 256);
  const HeadRows rows{attention.q, 3 * 128, 128, 2, 3, 128, DType::kBFloat16};
  const QuantiseHeadsArgs quantise{rows, nullptr, static_cast<std::int8_t*>(a.k.data()),
                                   floats.floats(), 16};
  const KeyMeansArgs means{rows, floats.floats(), floats.floats() + 512};
  const auto both = [&](const auto& change) {
    const auto change_rows = [&](auto& args) { change(args.rows); };
    const cudaError_t first = refused_status(quantise_heads, quantise, change_rows);
    CHECK(refused_status(key_means, means, change_rows) == first);
    return first;
  };
  CHECK(both([](HeadRows& r) { r.x = nullptr; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.x = shifted(r.x, 8); }) == kMisaligned);
  CHECK(both([](HeadRows& r) { r.row_stride = 127; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.row_stride = 132; }) == kMisaligned);
  CHECK(both([](HeadRows& r) { r.head_stride = -8; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.head_stride = 4; }) == kMisaligned);
  CHECK(both([](HeadRows& r) { r.num_heads = 0; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.num_heads = std::int64_t{1} << 40; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.num_rows = 0; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.head_size = 96; }) == kInvalid);
  CHECK(both([](HeadRows& r) { r.dtype = DType::kFloat32; }) == kInvalid);
  const auto status = [&](const auto& change) {
    return refused_status(quantise_heads, quantise, change);
  };
  using Q = QuantiseHeadsArgs;
  CHECK(status([](Q& q) { q.out = nullptr; }) == kInvalid);
  CHECK(status([](Q& q) { q.out = shifted(q.out, 8); }) == kMisaligned);
  CHECK(status([](Q& q) { q.scale = nullptr; }) == kInvalid);
  CHECK(status([](Q& q) { q.scale = shifted(q.scale, 2); }) == kMisaligned);
  CHECK(status([&](Q& q) { q.mean = shifted(floats.floats(), 4); }) == kMisaligned);
  CHECK(status([](Q& q) { q.group_rows = 0; }) == kInvalid);
  CHECK(status([](Q& q) { q.group_rows = 65; }) == kInvalid);
  CHECK(status([](Q& q) { q.factor = 0.0F; }) == kInvalid);
  CHECK(refused_status(key_means, means, [](KeyMeansArgs& k) { k.partial = nullptr; }) == kInvalid);
  CHECK(refused_status(key_means, means, [](KeyMeansArgs& k) { k.mean = nullptr; }) == kInvalid);
}
