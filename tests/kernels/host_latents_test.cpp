// solver_step and frames_to_rgb8, their own source run on the host (host_cuda/), against their
// definitions; and what their launchers refuse.
#include <catch2/catch.hpp>

#include "host_cuda/host_cuda.h"
#include "host_matrix.h"
#include "t2v/kernels/frames_to_rgb8.h"
#include "t2v/kernels/solver_step.h"

using namespace t2v::kernels;

namespace {

struct SolverProblem {
  SolverProblem(std::int64_t size, std::int64_t offset) {
    for (unsigned i = 0; i < 9; ++i) {
      arrays.emplace_back(DType::kFloat32, 1, size, 0, offset);
      if (i < 6) arrays.back().fill_normal(i + 1);
    }
  }
  SolverStepArgs args() {
    SolverStepArgs a;
    a.x = arrays[0].floats();
    a.cond = arrays[1].floats();
    a.uncond = arrays[2].floats();
    a.last = arrays[3].floats();
    a.x0_1 = arrays[4].floats();
    a.x0_2 = arrays[5].floats();
    a.next = arrays[6].floats();
    a.corrected = arrays[7].floats();
    a.x0 = arrays[8].floats();
    a.size = arrays[0].columns();
    a.factors = {.sigma = 0.8F,
                 .guidance = 4.0F,
                 .correct_x = 0.25F,
                 .correct_last = 0.9F,
                 .correct_x0_1 = 0.3F,
                 .correct_x0_2 = -0.2F,
                 .correct_x0 = 0.1F,
                 .predict_x = 0.7F,
                 .predict_x0 = 0.45F,
                 .predict_x0_1 = -0.15F};
    return a;
  }
  // What is null counts as 0 (uncond: as cond).
  [[nodiscard]] std::int64_t wrong(const SolverStepArgs& a,
                                   const std::vector<HostMatrix>& before) const {
    const SolverFactors& f = a.factors;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < a.size; ++i) {
      const auto in = [&](const float* pointer, size_t which) {
        return pointer ? before[which].get(0, i) : 0.0;
      };
      const double cond = in(a.cond, 1);
      const double uncond = a.uncond ? in(a.uncond, 2) : cond;
      const double x0 = in(a.x, 0) - double{f.sigma} * (uncond + f.guidance * (cond - uncond));
      const double corrected = f.correct_x * in(a.x, 0) + f.correct_last * in(a.last, 3) +
                               f.correct_x0_1 * in(a.x0_1, 4) + f.correct_x0_2 * in(a.x0_2, 5) +
                               f.correct_x0 * x0;
      const double next =
          f.predict_x * corrected + f.predict_x0 * x0 + f.predict_x0_1 * in(a.x0_1, 4);
      count += !(std::fabs(arrays[8].get(0, i) - x0) <= 4e-6);
      count += a.corrected && !(std::fabs(arrays[7].get(0, i) - corrected) <= 4e-6);
      count += !(std::fabs(arrays[6].get(0, i) - next) <= 4e-6);
    }
    return count;
  }
  std::vector<HostMatrix> arrays;
};

// A value whose byte lies in the middle between an even number and the next.
float tie_to_below() {
  for (int even = 0; even < 255; even += 2) {
    const float middle = static_cast<float>(even) + 0.5F;
    const float v = middle / 255.0F * 2.0F - 1.0F;
    if ((v / 2 + 0.5F) * 255.0F == middle) return v;
  }
  FAIL("no such value");
  return 0;
}

struct Picture {
  std::int64_t frames, height, width;
};

// [3, m, H, W] with the strides of `order`, as bytes by the definition.
void check_frames(const Picture& p, const std::vector<int>& order, std::int64_t offset) {
  const std::int64_t sizes[4] = {3, p.frames, p.height, p.width};
  std::int64_t strides[4];
  std::int64_t total = 1;
  for (const int axis : order) {  // from the innermost
    strides[axis] = total;
    total *= sizes[axis];
  }
  HostMatrix values(DType::kFloat32, 1, total, 0, offset);
  values.fill_normal(7, 0.0F, 0.6F);
  values.set(0, 0, std::numeric_limits<float>::quiet_NaN());
  if (total > 5) values.set(0, total - 1, -std::numeric_limits<float>::infinity());
  if (total > 5) values.set(0, total / 2, tie_to_below());
  std::vector<std::uint8_t> bytes(static_cast<size_t>(total) + 64, 77);
  int non_finite = 5;
  FramesToRgb8Args args;
  args.frames = values.floats();
  args.rgb8 = bytes.data() + 16;
  args.non_finite = &non_finite;
  args.num_frames = p.frames;
  args.height = p.height;
  args.width = p.width;
  args.channel_stride = strides[0];
  args.frame_stride = strides[1];
  args.row_stride = strides[2];
  args.pixel_stride = strides[3];
  REQUIRE(frames_to_rgb8(args, nullptr) == cudaSuccess);
  CHECK(non_finite == (total > 5 ? 7 : 6));
  std::int64_t wrong = 0;
  size_t place = 16;
  for (std::int64_t f = 0; f < p.frames; ++f) {
    for (std::int64_t y = 0; y < p.height; ++y) {
      for (std::int64_t x = 0; x < p.width; ++x) {
        for (std::int64_t c = 0; c < 3; ++c) {
          const auto v = static_cast<float>(
              values.get(0, c * strides[0] + f * strides[1] + y * strides[2] + x * strides[3]));
          const float unit = std::isnan(v) ? 0.0F : std::min(1.0F, std::max(0.0F, v / 2 + 0.5F));
          wrong += bytes[place++] != static_cast<int>(std::nearbyint(unit * 255.0F));
        }
      }
    }
  }
  CHECK(wrong == 0);
  for (size_t i = 0; i < 16; ++i) CHECK(bytes[i] == 77);
  for (; place < bytes.size(); ++place) CHECK(bytes[place] == 77);
}

}  // namespace

TEST_CASE("solver_step follows its definition for all sizes, alignments and absent inputs") {
  for (const std::int64_t size : {1, 3, 4, 5, 1023, 1024, 1029, 4099}) {
    for (const std::int64_t offset : {0, 1}) {
      for (int absent = 0; absent < 6; ++absent) {
        CAPTURE(size, offset, absent);
        SolverProblem problem(size, offset);
        const std::vector<HostMatrix> before = problem.arrays;
        SolverStepArgs args = problem.args();
        SolverFactors& f = args.factors;
        if (absent == 1) args.uncond = nullptr;
        if (absent == 2) args.last = nullptr, f.correct_last = 0;
        if (absent == 3) args.x0_1 = nullptr, f.correct_x0_1 = f.predict_x0_1 = 0;
        if (absent == 4) args.x0_2 = nullptr, f.correct_x0_2 = 0;
        if (absent == 5) args.corrected = nullptr;
        REQUIRE(solver_step(args, nullptr) == cudaSuccess);
        CHECK(problem.wrong(args, before) == 0);
        for (const HostMatrix& array : problem.arrays) CHECK(array.surroundings_intact());
        if (absent == 5) CHECK(std::isnan(problem.arrays[7].get(0, 0)));
      }
    }
  }
}

TEST_CASE("solver_step refuses broken preconditions") {
  SolverProblem problem(8, 0);
  const auto status = [&](const auto& change) {
    SolverStepArgs args = problem.args();
    change(args);
    const long before = t2v::host_cuda::num_blocks_run;
    const cudaError_t result = solver_step(args, nullptr);
    CHECK(t2v::host_cuda::num_blocks_run == before);
    return result;
  };
  using Args = SolverStepArgs;
  CHECK(status([](Args& a) { a.x = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.cond = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.next = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.x0 = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.last = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.x0_2 = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) {
          a.x0_1 = nullptr;
          a.factors.correct_x0_1 = 0;
        }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.size = -1; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.size = std::int64_t{1} << 38; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) {
          a.x = reinterpret_cast<const float*>(reinterpret_cast<const char*>(a.x) + 2);
        }) == cudaErrorMisalignedAddress);
  CHECK(status([](Args& a) { a.size = 0; }) == cudaSuccess);
}

TEST_CASE("frames_to_rgb8 follows its definition for all strides") {
  const std::vector<std::vector<int>> orders = {
      {0, 3, 2, 1},   // channels last, as the decoder gives them
      {3, 2, 1, 0},   // planes
      {1, 0, 2, 3}};  // neither
  for (const Picture& p : {Picture{1, 1, 1}, Picture{1, 1, 2}, Picture{2, 3, 5}, Picture{1, 37, 41},
                           Picture{3, 32, 64}}) {
    for (const auto& order : orders) {
      for (const std::int64_t offset : {0, 1}) {
        CAPTURE(p.frames, p.height, p.width, order[0], offset);
        check_frames(p, order, offset);
      }
    }
  }
}

TEST_CASE("frames_to_rgb8 refuses broken preconditions") {
  HostMatrix values(DType::kFloat32, 1, 12);
  values.fill_normal(1);
  std::vector<std::uint8_t> bytes(12);
  FramesToRgb8Args good;
  good.frames = values.floats();
  good.rgb8 = bytes.data();
  good.num_frames = 1;
  good.height = 2;
  good.width = 2;
  good.channel_stride = 1;
  good.pixel_stride = 3;
  good.row_stride = 6;
  good.frame_stride = 12;
  const auto status = [&](const auto& change) {
    FramesToRgb8Args args = good;
    change(args);
    const long before = t2v::host_cuda::num_blocks_run;
    const cudaError_t result = frames_to_rgb8(args, nullptr);
    CHECK(t2v::host_cuda::num_blocks_run == before);
    return result;
  };
  using Args = FramesToRgb8Args;
  CHECK(status([](Args& a) { a.frames = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.rgb8 = nullptr; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.height = -1; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.height = a.width = 65536; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.row_stride = -6; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) { a.channel_stride = std::int64_t{1} << 62; }) == cudaErrorInvalidValue);
  CHECK(status([](Args& a) {
          a.frames = reinterpret_cast<const float*>(reinterpret_cast<const char*>(a.frames) + 2);
        }) == cudaErrorMisalignedAddress);
  CHECK(status([](Args& a) { a.width = 0; }) == cudaSuccess);
}
