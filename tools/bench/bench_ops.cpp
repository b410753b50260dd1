// Every fused op at the shapes of the 14B transformer and of the VAE's widest layers, beside its
// composed twin: time, bytes, share of this device's copy bandwidth.
//   bench_ops [--device cuda] [--size 1280x720] [--repeats 15] [--reference 1] [--small 0]
// One JSON line per op. Buffers are rotated so that no call finds its inputs in the L2 cache.
#include <ATen/Context.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <vector>

#include "bench/device_clock.h"
#include "core/check.h"
#include "ops/backend.h"
#include "ops/int8.h"
#include "ops/norm.h"

namespace {

using namespace t2v;
using at::Tensor;
using bench::DeviceClock;
using ops::OpTable;

constexpr double kEps = 1e-6;
constexpr int64_t kRotatedBytes = int64_t{512} << 20;  // well over the L2 cache of any GPU
constexpr int64_t kMaxSets = 16;

struct Sizes {
  int64_t frames = 21, height = 45, width = 80;  // tokens: 1280x720, 81 frames
  int64_t heads = 40, head_size = 128;
  int64_t vae_frames = 4, vae_height = 720, vae_width = 1280, vae_channels = 96;

  [[nodiscard]] int64_t tokens() const { return frames * height * width; }
  [[nodiscard]] int64_t columns() const { return heads * head_size; }
};

// One op: how many bytes a call reads and writes, and how a set of buffers is made and used.
struct Case {
  const char* name;
  double bytes;
  std::function<std::function<void(const OpTable&)>()> make;
};

class Cases {
 public:
  Cases(const Sizes& sizes, at::Device device, at::ScalarType type)
      : s_(sizes), device_(device), type_(type) {}

  [[nodiscard]] std::vector<Case> all() const {
    std::vector<Case> list = row_cases();
    for (auto& entry : byte_cases()) list.push_back(std::move(entry));
    for (auto& entry : heads_and_steps()) list.push_back(std::move(entry));
    for (auto& entry : video_cases()) list.push_back(std::move(entry));
    return list;
  }

 private:
  [[nodiscard]] Tensor wide() const {
    return bench::random_tensor({s_.tokens(), s_.columns()}, at::kFloat, device_);
  }
  [[nodiscard]] Tensor narrow(int64_t parts = 1) const {
    return bench::random_tensor({s_.tokens(), parts * s_.columns()}, type_, device_);
  }
  [[nodiscard]] Tensor vector(int64_t size) const {
    return bench::random_tensor({size}, at::kFloat, device_);
  }

  [[nodiscard]] std::vector<Case> row_cases() const {
    const double n = static_cast<double>(s_.tokens()) * static_cast<double>(s_.columns());
    const int64_t c = s_.columns();
    return {
        {"layer_norm_modulate", 6 * n,
         [this, c] {
           return [this, x = wide(), a = vector(c), b = vector(c)](const OpTable& table) {
             static_cast<void>(table.layer_norm_modulate(x, a, b, kEps, type_));
           };
         }},
        {"layer_norm", 6 * n,
         [this, c] {
           return [this, x = wide(), a = vector(c), b = vector(c)](const OpTable& table) {
             static_cast<void>(table.layer_norm(x, a, b, kEps, type_));
           };
         }},
        {"rms_norm", 4 * n,
         [this, c] {
           return [x = narrow(), weight = vector(c)](const OpTable& table) {
             static_cast<void>(table.rms_norm(x, weight, kEps));
           };
         }},
        {"gate_residual", 10 * n,
         [this, c] {
           return [x = wide(), branch = narrow(), gate = vector(c)](const OpTable& table) mutable {
             table.gate_residual_(x, branch, gate);
           };
         }},
        {"gate_residual_norm", 12 * n,
         [this, c] {
           return
               [this, x = wide(), branch = narrow(), gate = vector(c),
                norm = ops::RowNorm{.a = vector(c), .b = vector(c)}](const OpTable& table) mutable {
                 static_cast<void>(table.gate_residual_norm_(x, branch, gate, norm, kEps, type_));
               };
         }},
    };
  }

  // Rows and weights of 8 bits.
  [[nodiscard]] std::vector<Case> byte_cases() const {
    const double n = static_cast<double>(s_.tokens()) * static_cast<double>(s_.columns());
    const int64_t c = s_.columns();
    const int64_t group = ops::rotation_group(256, c);
    return {
        {"layer_norm_quantise", 5 * n,
         [this, c, group] {
           return [group, x = wide(),
                   norm = ops::RowNorm{.a = vector(c), .b = vector(c)}](const OpTable& table) {
             static_cast<void>(table.layer_norm_quantise(x, norm, kEps, group));
           };
         }},
        {"quantise_rows", 3 * n,
         [this, group] {
           return [group, x = narrow()](const OpTable& table) {
             static_cast<void>(table.quantise_rows(x, group));
           };
         }},
        {"gate_residual_norm_quantise", 11 * n,
         [this, c, group] {
           return
               [group, x = wide(), branch = narrow(), gate = vector(c),
                norm = ops::RowNorm{.a = vector(c), .b = vector(c)}](const OpTable& table) mutable {
                 static_cast<void>(
                     table.gate_residual_norm_quantise_(x, branch, gate, norm, kEps, group));
               };
         }},
        {"expand_int8", 3.0 * static_cast<double>(c) * static_cast<double>(c),
         [this, c, group] {
           const ops::QuantisedRows rows =
               ops::quantise_rows(bench::random_tensor({c, c}, at::kFloat, device_), group);
           return [this, group,
                   weight = ops::Int8Weight{.values = rows.values,
                                            .row_scale = rows.row_scale,
                                            .out_features = c,
                                            .in_features = c}](const OpTable& table) {
             static_cast<void>(table.expand_int8(weight, group, type_));
           };
         }},
    };
  }

  [[nodiscard]] std::vector<Case> heads_and_steps() const {
    const double n = static_cast<double>(s_.tokens()) * static_cast<double>(s_.columns());
    const std::vector<int64_t> latents{16, s_.frames, 2 * s_.height, 2 * s_.width};
    const double z = 16.0 * 4 * static_cast<double>(s_.tokens());
    const auto one = [this, latents] { return bench::random_tensor(latents, at::kFloat, device_); };
    return {
        {"qk_norm_rope", 12 * n,
         [this] {
           const int64_t c = s_.columns();
           auto rope = std::make_shared<ops::RopeTables>(
               ops::make_rope_tables(s_.frames, s_.height, s_.width, s_.head_size, device_));
           const ops::QkNormRope in{.qkv = narrow(3),
                                    .norm_q = vector(c),
                                    .norm_k = vector(c),
                                    .rope = rope.get(),
                                    .eps = kEps};
           const auto out = ops::empty_heads(in.qkv, s_.heads, s_.tokens());
           return [rope, in, out](const OpTable& table) { table.qk_norm_rope(in, out); };
         }},
        {"solver_step", 36 * z,
         [one] {
           const ops::SolverInputs in{one(), one(), one(), one(), one(), one()};
           const ops::SolverCoefficients by{.sigma = 0.7,
                                            .guidance = 4,
                                            .correct_x = 0.9,
                                            .correct_last = 0.1,
                                            .correct_x0_1 = 0.02,
                                            .correct_x0_2 = 0.01,
                                            .correct_x0 = 0.03,
                                            .predict_x = 0.8,
                                            .predict_x0 = 0.2,
                                            .predict_x0_1 = 0.1};
           return [in, by](const OpTable& table) { static_cast<void>(table.solver_step(in, by)); };
         }},
    };
  }

  [[nodiscard]] std::vector<Case> video_cases() const {
    const std::vector<int64_t> shape{s_.vae_frames, s_.vae_height, s_.vae_width, s_.vae_channels};
    const double pixels = static_cast<double>(s_.vae_frames * s_.vae_height * s_.vae_width);
    const double n = pixels * static_cast<double>(s_.vae_channels);
    const auto one = [this, shape] { return bench::random_tensor(shape, type_, device_); };
    return {
        {"vae_norm_silu", 4 * n,
         [this, one] {
           return [x = one(), out = one(), bias = vector(s_.vae_channels),
                   gamma = vector(s_.vae_channels)](const OpTable& table) {
             table.vae_norm(x, bias, gamma, ops::NormActivation::kSilu, out);
           };
         }},
        {"add_bias_residual", 6 * n,
         [this, one] {
           return [y = one(), residual = one(), out = one(), bias = vector(s_.vae_channels)](
                      const OpTable& table) { table.add_bias_residual(y, bias, residual, out); };
         }},
        {"frames_to_rgb8", 15 * pixels,
         [this] {
           const Tensor frames = bench::random_tensor(
               {3, s_.vae_frames, s_.vae_height, s_.vae_width}, at::kFloat, device_, 0.4);
           const Tensor rgb = at::empty({s_.vae_frames, s_.vae_height, s_.vae_width, 3},
                                        frames.options().dtype(at::kByte));
           const Tensor bad = at::zeros({1}, frames.options().dtype(at::kInt));
           return
               [frames, rgb, bad](const OpTable& table) { table.frames_to_rgb8(frames, rgb, bad); };
         }},
    };
  }

  Sizes s_;
  at::Device device_;
  at::ScalarType type_;
};

struct Measuring {
  const DeviceClock& clock;
  int repeats;
  bool with_reference;
  double copy_bytes_per_s;
};

void measure_case(const Case& entry, const Measuring& by) {
  const auto wanted = static_cast<int64_t>(static_cast<double>(kRotatedBytes) / entry.bytes) + 1;
  std::vector<std::function<void(const OpTable&)>> sets;
  for (int64_t i = 0; i < std::min(wanted, kMaxSets); ++i) sets.push_back(entry.make());
  const auto call = [&](const OpTable& table) {
    return [&](int64_t i) { sets[static_cast<size_t>(i) % sets.size()](table); };
  };
  const OpTable& fused = ops::op_table(by.clock.device().type());
  const bench::Spread spread = by.clock.time(by.repeats, call(fused));
  const double rate = entry.bytes / (spread.median / 1e3);
  bench::JsonLine line;
  line.add("name", core::str("op_", entry.name)).add("backend", fused.name).add("op", spread);
  line.add("bytes", entry.bytes)
      .add("gb_per_s", rate / 1e9)
      .add("share_of_copy", rate / by.copy_bytes_per_s)
      .add("buffer_sets", static_cast<int64_t>(sets.size()));
  if (by.with_reference) {
    const bench::Spread twin = by.clock.time(3, call(ops::reference_ops()), 4);
    line.add("reference_ms", twin.median).add("times_reference", twin.median / spread.median);
  }
  line.print();
}

int run(const bench::Arguments& arguments) {
  const c10::InferenceMode no_gradients;
  const DeviceClock clock(arguments.device());
  Sizes sizes;
  if (arguments.on("small"))
    sizes = {.frames = 2,
             .height = 8,
             .width = 12,
             .heads = 2,
             .head_size = 32,
             .vae_frames = 1,
             .vae_height = 32,
             .vae_width = 48,
             .vae_channels = 16};
  if (arguments.text("size") == "832x480" && !arguments.on("small")) {
    sizes.height = 30;
    sizes.width = 52;
  }
  at::manual_seed(1);
  bench::print_device(clock.device());
  const int64_t copy_bytes = arguments.on("small") ? int64_t{1} << 20 : int64_t{4} << 30;
  const double copy = bench::measure_copy_bytes_per_s(clock, copy_bytes);
  bench::JsonLine().add("name", "copy").add("gb_per_s", copy / 1e9).print();
  const Measuring by{clock, static_cast<int>(arguments.number("repeats")),
                     arguments.on("reference"), copy};
  int failed = 0;
  const Cases cases(sizes, clock.device(), at::kBFloat16);
  for (const Case& entry : cases.all()) {
    try {
      measure_case(entry, by);
    } catch (const std::exception& error) {  // the others are still worth knowing
      ++failed;
      bench::JsonLine()
          .add("name", core::str("op_", entry.name))
          .add("error", std::string(error.what()).substr(0, 300))
          .print();
    }
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return t2v::bench::guarded_main("bench_ops", [&] {
    return run({argc,
                argv,
                {{"device", "cuda"},
                 {"size", "1280x720"},
                 {"repeats", "15"},
                 {"reference", "1"},
                 {"small", "0"}}});
  });
}
