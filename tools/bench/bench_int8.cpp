// The int8 linear layers at the shapes of a transformer block, beside the library's int8 product
// (no scales, int32 out) and its 16-bit layer: time, operations per second.
//   bench_int8 [--device cuda] [--model a14b|1.3b] [--tokens 32760] [--repeats 9] [--small 0]
// One JSON line per layer and epilogue. "block" adds up what one block needs in both ways, the
// quantisation of attention's and the activation's output with it.
#include <ATen/Context.h>
#include <ATen/ops/_int_mm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <exception>

#include "bench/device_clock.h"
#include "core/check.h"
#include "ops/int8.h"

namespace {

using namespace t2v;
using at::Tensor;

enum class Epilogue { kStore, kGelu, kResidual };

constexpr const char* kEpilogues[] = {"store", "gelu", "residual"};

struct Layer {
  const char* what;
  int64_t columns;
  int64_t depth;
  Epilogue epilogue;
  bool own_rows;  // its rows are quantised by a kernel of their own, not with the norm before it
};

struct Setting {
  const bench::DeviceClock& clock;
  int64_t tokens;
  int repeats;
};

struct Times {
  double int8_ms = 0;  // with the quantisation of its rows
  double plain_ms = 0;
};

Tensor random_bytes(int64_t rows, int64_t columns, at::Device device) {
  return at::randint(-127, 128, {rows, columns},
                     at::TensorOptions().device(device).dtype(at::kChar));
}

// Milliseconds of `work`, or 0 with the reason in the line.
double time_or_reason(const Setting& s, bench::JsonLine& line, const char* key,
                      const std::function<void()>& work) {
  try {
    const bench::Spread spread = s.clock.time(
        s.repeats, [&](int64_t) { work(); }, 4);
    line.add(key, spread.median);
    return spread.median;
  } catch (const std::exception& error) {
    line.add(core::str(key, "_error").c_str(), std::string(error.what()).substr(0, 200));
    return 0;
  }
}

Times measure_layer(const Setting& s, const Layer& layer) {
  const at::Device device = s.clock.device();
  const auto scales = [&](int64_t size) {
    return bench::random_tensor({size}, at::kFloat, device, 0.001).abs_();
  };
  const ops::QuantisedRows x{random_bytes(s.tokens, layer.depth, device), scales(s.tokens)};
  const Tensor w8 = random_bytes(layer.columns, layer.depth, device);
  const ops::Int8Weight weight = ops::pack_int8({.values = w8, .row_scale = scales(layer.columns)});
  const Tensor bias = bench::random_tensor({layer.columns}, at::kFloat, device);
  const ops::Int8Product product{.x = x,
                                 .weight = weight,
                                 .bias = bias,
                                 .gelu = layer.epilogue == Epilogue::kGelu,
                                 .out = at::kBFloat16};
  Tensor stream;
  if (layer.epilogue == Epilogue::kResidual)
    stream = at::zeros({s.tokens, layer.columns}, bias.options());
  const auto ours = [&] {
    if (layer.epilogue == Epilogue::kResidual)
      ops::int8_linear_residual_(stream, product, bias);
    else
      static_cast<void>(ops::int8_linear(product));
  };
  const Tensor x16 = bench::random_tensor({s.tokens, layer.depth}, at::kBFloat16, device);
  const Tensor w16 = bench::random_tensor({layer.columns, layer.depth}, at::kBFloat16, device);
  const Tensor b16 = bias.to(at::kBFloat16);

  const double operations = 2.0 * static_cast<double>(s.tokens) *
                            static_cast<double>(layer.columns) * static_cast<double>(layer.depth);
  bench::JsonLine line;
  line.add("name", core::str("int8_", layer.what))
      .add("epilogue", kEpilogues[static_cast<int>(layer.epilogue)])
      .add("rows", s.tokens)
      .add("columns", layer.columns)
      .add("depth", layer.depth);
  Times times;
  const double linear = time_or_reason(s, line, "linear_ms", ours);
  if (linear > 0) line.add("top_per_s", operations / (linear / 1e3) / 1e12);
  time_or_reason(s, line, "int_mm_ms", [&] { static_cast<void>(at::_int_mm(x.values, w8.t())); });
  times.plain_ms =
      time_or_reason(s, line, "gemm_16_ms", [&] { static_cast<void>(at::linear(x16, w16, b16)); });
  const int64_t group = ops::rotation_group(256, layer.depth);
  const double rows = time_or_reason(s, line, "quantise_ms",
                                     [&] { static_cast<void>(ops::quantise_rows(x16, group)); });
  times.int8_ms = linear + (layer.own_rows ? rows : 0);
  if (linear > 0 && times.plain_ms > 0) line.add("times_gemm_16", times.plain_ms / linear);
  line.print();
  return times;
}

int run(const bench::Arguments& arguments) {
  const c10::InferenceMode no_gradients;
  const bench::DeviceClock clock(arguments.device());
  at::manual_seed(1);
  bench::print_device(clock.device());
  const bool small = arguments.on("small");
  const bool narrow = arguments.text("model") == "1.3b";
  const int64_t width = small ? 64 : narrow ? 1536 : 5120;
  const int64_t hidden = small ? 160 : narrow ? 8960 : 13824;
  const Setting setting{clock, small ? 48 : arguments.number("tokens"),
                        static_cast<int>(arguments.number("repeats"))};
  Times block;
  bool complete = true;
  for (const Layer& layer : {Layer{"qkv", 3 * width, width, Epilogue::kStore, false},
                             Layer{"cross_q", width, width, Epilogue::kStore, false},
                             Layer{"o", width, width, Epilogue::kResidual, true},
                             Layer{"ffn_0", hidden, width, Epilogue::kGelu, false},
                             Layer{"ffn_2", width, hidden, Epilogue::kResidual, true}}) {
    const Times times = measure_layer(setting, layer);
    const double count = std::string(layer.what) == "o" ? 2 : 1;  // self and cross
    complete = complete && times.int8_ms > 0 && times.plain_ms > 0;
    block.int8_ms += count * times.int8_ms;
    block.plain_ms += count * times.plain_ms;
  }
  if (!complete) return 1;  // the lines above say why
  bench::JsonLine()
      .add("name", "int8_block")
      .add("rows", setting.tokens)
      .add("linear_ms", block.int8_ms)
      .add("gemm_16_ms", block.plain_ms)
      .add("times_gemm_16", block.plain_ms / block.int8_ms)
      .print();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return t2v::bench::guarded_main("bench_int8", [&] {
    return run({argc,
                argv,
                {{"device", "cuda"},
                 {"model", "a14b"},
                 {"tokens", "32760"},
                 {"repeats", "9"},
                 {"small", "0"}}});
  });
}
