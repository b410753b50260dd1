// Attention back ends at the shapes of the 1.3B and 14B models, and the causal cache in 16 bits and
// in int8: time, TFLOP/s, ratio to cuDNN's.
//   bench_attention [--device cuda] [--repeats 5] [--heads 0] [--dtype bf16] [--small 0]
// One JSON line per back end and shape; heads 0: 12 and 40. A back end that cannot run says why.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "bench/device_clock.h"
#include "core/check.h"
#include "ops/attention.h"
#include "ops/kv_attention.h"

namespace {

using namespace t2v;
using ops::AttentionBackend;

struct Shape {
  const char* what;
  int64_t heads;
  int64_t queries;
  int64_t keys;
  bool biased;  // cross-attention with the padding folded into one row
};

std::vector<Shape> shapes_for(const bench::Arguments& arguments) {
  if (arguments.on("small"))
    return {
        {"self", 2, 192, 192, false}, {"cross", 2, 192, 21, true}, {"cross", 2, 192, 64, false}};
  std::vector<Shape> shapes;
  const int64_t wanted = arguments.number("heads");
  for (const int64_t heads : {12, 40}) {
    if (wanted != 0 && wanted != heads) continue;
    for (const int64_t tokens : {32760, 75600}) {
      shapes.push_back({"self", heads, tokens, tokens, false});
      shapes.push_back({"cross", heads, tokens, 21, true});
      shapes.push_back({"cross", heads, tokens, 512, false});
    }
  }
  return shapes;
}

struct Inputs {
  at::Tensor q, k, v, key_bias;
};

Inputs make_inputs(const Shape& shape, at::ScalarType dtype, at::Device device) {
  const auto make = [&](int64_t rows) {
    return bench::random_tensor({shape.heads, rows, 128}, dtype, device);
  };
  Inputs inputs{make(shape.queries), make(shape.keys), make(shape.keys), {}};
  if (shape.biased) inputs.key_bias = bench::random_tensor({shape.keys}, at::kFloat, device);
  return inputs;
}

// The composed form holds a matrix of scores in fp32: only where that is small.
bool is_sensible(AttentionBackend backend, const Shape& shape) {
  if (backend == AttentionBackend::kOwnInt8) return !shape.biased;  // else it is own
  if (backend != AttentionBackend::kReference) return true;
  return shape.heads * shape.queries * shape.keys < (int64_t{1} << 31);
}

void measure_shape(const bench::DeviceClock& clock, const Shape& shape, int repeats,
                   at::ScalarType dtype) {
  const Inputs in = make_inputs(shape, dtype, clock.device());
  const double flop = 4.0 * 128 * static_cast<double>(shape.heads) *
                      static_cast<double>(shape.queries) * static_cast<double>(shape.keys);
  double cudnn_ms = 0;
  for (const AttentionBackend backend :
       {AttentionBackend::kCudnn, AttentionBackend::kFlash, AttentionBackend::kOwn,
        AttentionBackend::kOwnInt8, AttentionBackend::kAuto, AttentionBackend::kReference}) {
    if (!is_sensible(backend, shape)) continue;
    bench::JsonLine line;
    line.add("name", core::str("attention_", shape.what))
        .add("backend", ops::attention_name(backend))
        .add("heads", shape.heads)
        .add("queries", shape.queries)
        .add("keys", shape.keys)
        .add("key_bias", int64_t{shape.biased})
        .add("dtype", dtype == at::kHalf ? "fp16" : "bf16");
    try {
      const bench::Spread spread = clock.time(
          repeats,
          [&](int64_t) {
            static_cast<void>(ops::attention(in.q, in.k, in.v, in.key_bias, backend));
          },
          6);
      if (backend == AttentionBackend::kCudnn) cudnn_ms = spread.median;
      line.add("attention", spread).add("tflop_per_s", flop / (spread.median / 1e3) / 1e12);
      if (cudnn_ms > 0) line.add("times_cudnn", cudnn_ms / spread.median);
    } catch (const std::exception& error) {
      line.add("error", std::string(error.what()).substr(0, 300));
    }
    line.print();
  }
}

// One chunk of a causal model (3 latent frames of 480p) over a window of 21 frames: the chunk
// itself in 16 bits, the window in 16 bits or in int8.
void measure_cache(const bench::DeviceClock& clock, int64_t heads, int64_t frame, int repeats,
                   at::ScalarType dtype) {
  const int64_t queries = 3 * frame;
  const int64_t window = 18 * frame;
  const Inputs in =
      make_inputs({"cache", heads, queries, queries + window, false}, dtype, clock.device());
  const auto quantised = [&](const at::Tensor& x) {
    const at::Tensor old = x.narrow(1, queries, window);
    at::Tensor values = at::empty(old.sizes(), old.options().dtype(at::kChar));
    at::Tensor scale =
        at::empty({heads, window, ops::kv_scale_groups(128)}, old.options().dtype(at::kHalf));
    ops::quantise_keys(old, values, scale);
    return std::pair{values, scale};
  };
  const auto [k, k_scale] = quantised(in.k);
  const auto [v, v_scale] = quantised(in.v);
  const ops::Int8KeyValues int8{k, v, k_scale, v_scale};
  const double flop = 4.0 * 128 * static_cast<double>(heads) * static_cast<double>(queries) *
                      static_cast<double>(queries + window);
  for (const bool in_int8 : {false, true}) {
    bench::JsonLine line;
    line.add("name", in_int8 ? "attention_cache_int8" : "attention_cache_16")
        .add("heads", heads)
        .add("queries", queries)
        .add("keys", queries + window)
        .add("dtype", dtype == at::kHalf ? "fp16" : "bf16");
    try {
      const bench::Spread spread = clock.time(
          repeats,
          [&](int64_t) {
            static_cast<void>(in_int8 ? ops::cached_attention(in.q, in.k.narrow(1, 0, queries),
                                                              in.v.narrow(1, 0, queries), &int8)
                                      : ops::cached_attention(in.q, in.k, in.v, nullptr));
          },
          6);
      line.add("attention", spread).add("tflop_per_s", flop / (spread.median / 1e3) / 1e12);
    } catch (const std::exception& error) {
      line.add("error", std::string(error.what()).substr(0, 300));
    }
    line.print();
  }
}

int run(const bench::Arguments& arguments) {
  const c10::InferenceMode no_gradients;
  const bench::DeviceClock clock(arguments.device());
  at::manual_seed(1);
  bench::print_device(clock.device());
  const auto dtype = arguments.text("dtype") == "fp16" ? at::kHalf : at::kBFloat16;
  const int repeats = static_cast<int>(arguments.number("repeats"));
  for (const Shape& shape : shapes_for(arguments)) measure_shape(clock, shape, repeats, dtype);
  measure_cache(clock, arguments.on("small") ? 2 : 12, arguments.on("small") ? 40 : 1560, repeats,
                dtype);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return t2v::bench::guarded_main("bench_attention", [&] {
    return run({argc,
                argv,
                {{"device", "cuda"},
                 {"repeats", "5"},
                 {"heads", "0"},
                 {"dtype", "bf16"},
                 {"small", "0"}}});
  });
}
