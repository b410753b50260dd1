// One forward of a Wan transformer with random weights of the real shape, made on the spot: time,
// the roofline from this device's own GEMM and attention peaks, the share of the element-wise ops.
//   bench_step [--model a14b] [--size 832x480,1280x720] [--frames 81] [--device cuda] [--repeats 2]
//              [--blocks 0] [--attention auto] [--quant none|int8|int8-wo|fp8] [--peaks 1]
// JSON lines. blocks 0: all of the model; fewer: the first so many, which is said in the output.
#include <ATen/Context.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "bench/device_clock.h"
#include "core/check.h"
#include "models/wan/transformer.h"
#include "ops/attention.h"
#include "ops/device.h"
#include "ops/norm.h"
#include "pipeline/random_model.h"
#include "weights/random_folder.h"

namespace {

using namespace t2v;
using bench::DeviceClock;
using models::TransformerSpec;
using models::wan::Transformer;

constexpr int64_t kTextLen = 512;
constexpr int64_t kTextRows = 20;  // of a prompt; the padding is folded into one more row

struct Job {
  TransformerSpec spec;
  std::string model;
  std::string size;                           // px, as asked
  int64_t frames = 0, height = 0, width = 0;  // of the latents
  int repeats = 3;
  ops::AttentionBackend attention = ops::AttentionBackend::kAuto;
  std::string quant_word;
  models::QuantPlan quant;

  [[nodiscard]] int64_t tokens() const { return frames * (height / 2) * (width / 2); }
};

// FLOP of one forward, by class. Cross-attention keys are made beforehand.
struct Flop {
  double products = 0;
  double attention = 0;
  double cross = 0;
};

Flop flop_of(const Job& job) {
  const auto c = static_cast<double>(job.spec.size());
  const auto f = static_cast<double>(job.spec.ffn_size);
  const auto n = static_cast<double>(job.tokens());
  const auto blocks = static_cast<double>(job.spec.num_blocks);
  return {.products = blocks * 2 * n * (6 * c * c + 2 * c * f),
          .attention = blocks * 4 * n * n * c,
          .cross = blocks * 4 * n * (kTextRows + 1) * c};
}

models::QuantPlan quant_of(const std::string& word) {
  models::QuantPlan quant;
  quant.weights_only = word == "int8-wo";
  quant.rows = word == "int8"  ? ops::RowType::kInt8
               : word == "fp8" ? ops::RowType::kFp8
                               : ops::RowType::kPlain;
  T2V_REQUIRE(quant.is_on() || word == "none", ErrorKind::kUsage,
              "--quant: expected none, int8, int8-wo or fp8");
  return quant;
}

// One for each of the sizes "WxH,WxH".
std::vector<Job> read_jobs(const bench::Arguments& arguments) {
  Job job;
  job.model = arguments.text("model");
  job.spec = pipeline::random_model_spec(job.model).transformer;
  if (arguments.number("blocks") > 0)
    job.spec.num_blocks = std::min(job.spec.num_blocks, arguments.number("blocks"));
  job.frames = (arguments.number("frames") - 1) / 4 + 1;
  job.repeats = static_cast<int>(arguments.number("repeats"));
  const auto attention = ops::attention_backend(arguments.text("attention"));
  T2V_REQUIRE(attention.has_value(), ErrorKind::kUsage, "--attention: no such back end");
  job.attention = *attention;
  job.quant_word = arguments.text("quant");
  job.quant = quant_of(job.quant_word);
  std::vector<Job> jobs;
  std::istringstream sizes(arguments.text("size"));
  for (std::string size; std::getline(sizes, size, ',');) {
    const size_t cross = size.find('x');
    T2V_REQUIRE(cross != std::string::npos, ErrorKind::kUsage, "--size: expected WIDTHxHEIGHT");
    job.size = size;
    job.width = std::stoll(size.substr(0, cross)) / 8;
    job.height = std::stoll(size.substr(cross + 1)) / 8;
    jobs.push_back(job);
  }
  T2V_REQUIRE(!jobs.empty(), ErrorKind::kUsage, "--size: expected WIDTHxHEIGHT");
  return jobs;
}

std::unique_ptr<Transformer> make_transformer(const Job& job, at::Device device) {
  const std::string folder = weights::kRandomScheme + job.model;
  const auto storage = weights::make_random_folder(
      folder,
      {{"transformer.safetensors", Transformer::expectations(job.spec).tensors, at::kBFloat16}},
      weights::open_storage());
  auto map = std::make_shared<const weights::WeightMap>(
      std::make_shared<const weights::Checkpoint>(
          weights::Checkpoint::open(*storage, folder + "/transformer.safetensors")),
      weights::ModelPart::kTransformer, "transformer");
  models::wan::BlockPlan plan = models::wan::resident_plan(job.spec);
  plan.quant = job.quant;
  return std::make_unique<Transformer>(job.spec, std::move(map), plan, at::kBFloat16, device);
}

// Rates of the products and of self-attention that one block makes, and of a large square product.
struct Peaks {
  double square = 0;     // FLOP/s, 8192^3
  double products = 0;   // FLOP/s over the block's own shapes
  double attention = 0;  // FLOP/s of the fastest back end
};

double attention_rate(const DeviceClock& clock, const Job& job, ops::AttentionBackend backend) {
  const std::vector<int64_t> shape{job.spec.num_heads, job.tokens(), job.spec.head_size};
  const auto make = [&] { return bench::random_tensor(shape, at::kBFloat16, clock.device()); };
  const at::Tensor q = make();
  const at::Tensor k = make();
  const at::Tensor v = make();
  const bench::Spread spread = clock.time(
      3, [&](int64_t) { static_cast<void>(ops::attention(q, k, v, {}, backend)); }, 5);
  const auto n = static_cast<double>(job.tokens());
  return 4 * n * n * static_cast<double>(job.spec.size()) / (spread.median / 1e3);
}

Peaks measure_peaks(const DeviceClock& clock, const Job& job, int64_t square) {
  Peaks peaks;
  peaks.square = bench::measure_gemm_flop_per_s(clock, square, square, square, at::kBFloat16);
  const int64_t c = job.spec.size();
  const int64_t f = job.spec.ffn_size;
  // qkv, the three square ones (self o, cross q, cross o), and the two of the feed-forward layer.
  struct Product {
    int64_t out, in, count;
  };
  double flop = 0;
  double seconds = 0;
  for (const Product& p : {Product{3 * c, c, 1}, {c, c, 3}, {f, c, 1}, {c, f, 1}}) {
    const double rate =
        bench::measure_gemm_flop_per_s(clock, job.tokens(), p.out, p.in, at::kBFloat16);
    const double one = 2.0 * static_cast<double>(job.tokens()) * static_cast<double>(p.out * p.in) *
                       static_cast<double>(p.count);
    flop += one;
    seconds += one / rate;
    bench::JsonLine()
        .add("name", "gemm")
        .add("m", job.tokens())
        .add("n", p.out)
        .add("k", p.in)
        .add("tflop_per_s", rate / 1e12)
        .print();
  }
  peaks.products = flop / seconds;
  for (const auto backend : {ops::AttentionBackend::kCudnn, ops::AttentionBackend::kFlash,
                             ops::AttentionBackend::kOwn}) {
    try {
      const double rate = attention_rate(clock, job, backend);
      peaks.attention = std::max(peaks.attention, rate);
      bench::JsonLine()
          .add("name", "sdpa")
          .add("backend", ops::attention_name(backend))
          .add("tokens", job.tokens())
          .add("tflop_per_s", rate / 1e12)
          .print();
    } catch (const std::exception&) {  // not every back end runs everywhere
    }
  }
  return peaks;
}

// Milliseconds of the element-wise ops of all blocks, each timed alone at the block's shapes. The
// block works in pieces of its rows; the sum is the same.
double elementwise_ms(const DeviceClock& clock, const Job& job) {
  const at::Device device = clock.device();
  const int64_t rows = job.tokens();
  const int64_t c = job.spec.size();
  const auto vector = [&] { return bench::random_tensor({c}, at::kFloat, device); };
  at::Tensor x = bench::random_tensor({rows, c}, at::kFloat, device);
  const at::Tensor branch = bench::random_tensor({rows, c}, at::kBFloat16, device);
  const at::Tensor scale = vector();
  const at::Tensor shift = vector();
  const ops::RowNorm norm{.kind = ops::NormKind::kAffine, .a = vector(), .b = vector()};
  const double eps = job.spec.eps;
  const auto ms = [&](const std::function<void()>& work) {
    return clock
        .time(
            5, [&](int64_t) { work(); }, 3)
        .median;
  };
  double sum =
      ms([&] { static_cast<void>(ops::layer_norm_modulate(x, scale, shift, eps, at::kBFloat16)); });
  // After self-attention and after cross-attention; after the feed-forward layer without a norm.
  sum += 2 * ms([&] {
           static_cast<void>(ops::gate_residual_norm_(x, branch, scale, norm, eps, at::kBFloat16));
         });
  sum += ms([&] { ops::gate_residual_(x, branch, scale); });
  sum += ms([&] { static_cast<void>(ops::rms_norm(branch, scale, eps)); });  // cross-attention's q
  x = at::Tensor();
  const auto rope =
      ops::make_rope_tables(job.frames, job.height / 2, job.width / 2, job.spec.head_size, device);
  const ops::QkNormRope in{.qkv = bench::random_tensor({rows, 3 * c}, at::kBFloat16, device),
                           .norm_q = vector(),
                           .norm_k = vector(),
                           .rope = &rope,
                           .eps = eps};
  const auto heads = ops::empty_heads(in.qkv, job.spec.num_heads, rows);
  sum += ms([&] { ops::qk_norm_rope(in, heads); });
  return sum * static_cast<double>(job.spec.num_blocks);
}

// The first pass of a prompt loads the blocks and makes the prompt's keys; the others are timed.
bench::Spread measure_forward(const DeviceClock& clock, const Job& job, Transformer& transformer) {
  transformer.begin_prompt();
  const at::Tensor latents = bench::random_tensor(
      {job.spec.in_channels, job.frames, job.height, job.width}, at::kFloat, clock.device());
  const at::Tensor text =
      bench::random_tensor({kTextRows, job.spec.text_size}, at::kFloat, clock.device());
  auto condition = transformer.make_condition(text, kTextLen);
  const auto time = transformer.make_time(700);
  const auto rope = ops::make_rope_tables(job.frames, job.height / 2, job.width / 2,
                                          job.spec.head_size, clock.device());
  const Transformer::Hooks hooks{[] {}, [](int64_t, const std::function<void()>& load) { load(); }};
  at::Tensor out;
  const auto forward = [&] {
    out = at::Tensor();
    out = transformer
              .forward({.time = time, .rope = rope, .attention = job.attention},
                       models::wan::lanes_of(latents, {&condition}), hooks)
              .front();
  };
  const bool on_device = !clock.device().is_cpu();
  if (on_device) ops::reset_device_peak(clock.device());
  bench::JsonLine first;
  first.add("name", "first_forward").add("size", job.size);
  first.add("first_ms", clock.time_once(forward));
  std::vector<double> times;
  for (int i = 0; i < job.repeats; ++i) times.push_back(clock.time_once(forward));
  if (on_device) first.add("peak_bytes_with_weights", ops::device_peak_bytes(clock.device()));
  first.print();
  T2V_REQUIRE(out.isfinite().all().item<bool>(), ErrorKind::kNumeric,
              "the forward gave values that are not finite");
  return bench::spread_of(times);
}

void measure_job(const DeviceClock& clock, const Job& job, Transformer& transformer,
                 bool with_peaks) {
  const Flop flop = flop_of(job);
  const double total = flop.products + flop.attention + flop.cross;
  Peaks peaks;
  double elementwise = 0;
  if (with_peaks) {
    peaks = measure_peaks(clock, job, clock.device().is_cpu() ? 512 : 8192);
    elementwise = elementwise_ms(clock, job);
    if (!clock.device().is_cpu()) ops::release_device_cache(clock.device());
  }
  const bench::Spread forward = measure_forward(clock, job, transformer);
  bench::JsonLine line;
  line.add("name", "step")
      .add("model", job.model)
      .add("blocks", job.spec.num_blocks)
      .add("size", job.size)
      .add("tokens", job.tokens())
      .add("attention", ops::attention_name(job.attention))
      .add("quant", job.quant_word)
      .add("forward", forward)
      .add("pflop", total / 1e15)
      .add("tflop_per_s", total / (forward.median / 1e3) / 1e12);
  if (with_peaks) {
    // Cross-attention counts at the rate of self-attention; it is under a thousandth of the work.
    const double floor_s =
        flop.products / peaks.products + (flop.attention + flop.cross) / peaks.attention;
    line.add("gemm_peak_tflops", peaks.square / 1e12)
        .add("gemm_real_shapes_tflops", peaks.products / 1e12)
        .add("sdpa_peak_tflops", peaks.attention / 1e12)
        .add("roofline_ms", floor_s * 1e3)
        .add("share_of_roofline", floor_s * 1e3 / forward.median)
        .add("elementwise_ms", elementwise)
        .add("elementwise_share", elementwise / forward.median);
  }
  line.print();
}

int run(const bench::Arguments& arguments) {
  const c10::InferenceMode no_gradients;
  const std::vector<Job> jobs = read_jobs(arguments);
  const DeviceClock clock(arguments.device());
  at::manual_seed(1);
  bench::print_device(clock.device());
  const auto transformer = make_transformer(jobs.front(), clock.device());
  for (const Job& job : jobs) measure_job(clock, job, *transformer, arguments.on("peaks"));
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return t2v::bench::guarded_main("bench_step", [&] {
    return run({argc,
                argv,
                {{"model", "a14b"},
                 {"size", "832x480,1280x720"},
                 {"frames", "81"},
                 {"device", "cuda"},
                 {"repeats", "2"},
                 {"blocks", "0"},
                 {"attention", "auto"},
                 {"quant", "none"},
                 {"peaks", "1"}}});
  });
}
