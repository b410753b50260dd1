// The kernels on videos, their own source run on the host (host_cuda/), against their definition
// in fp64; and what their launchers refuse.
#include "host_video.h"

#include <catch2/catch.hpp>

#include "refused_launch.h"
#include "t2v/kernels/add_bias_residual.h"
#include "t2v/kernels/vae_norm.h"

using namespace t2v::kernels;

namespace {

constexpr DType kAll[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
// Around chunks and groups of lanes, the real ones, the widest.
constexpr std::int64_t kChannels[] = {1, 3, 7, 8, 16, 31, 96, 128, 132, 192, 384, 1000, 1024};

HostMatrix vector_of(std::int64_t channels, unsigned seed, float mean) {
  HostMatrix v(DType::kFloat32, 1, channels);
  v.fill_normal(seed, mean);
  return v;
}

VaeNormArgs norm_args(HostVideo& x, HostVideo& out, HostMatrix& gamma) {
  VaeNormArgs args;
  args.x = x.data();
  args.out = out.data();
  args.gamma = gamma.floats();
  args.size = x.size();
  args.x_strides = x.strides();
  args.out_strides = out.strides();
  args.dtype = x.dtype();
  return args;
}

// bias may be null.
std::int64_t wrong_norms(const HostVideo& x, const HostVideo& out, const HostMatrix& gamma,
                         const HostMatrix* bias, bool silu) {
  std::int64_t wrong = 0;
  const std::int64_t channels = x.size().channels;
  for (std::int64_t p = 0; p < x.num_pixels(); ++p) {
    const auto value = [&](std::int64_t c) { return x.get(p, c) + (bias ? bias->get(0, c) : 0.0); };
    double squares = 0;
    for (std::int64_t c = 0; c < channels; ++c) squares += value(c) * value(c);
    const double length = std::max(std::sqrt(squares), 1e-12);
    for (std::int64_t c = 0; c < channels; ++c) {
      double y = value(c) / length * std::sqrt(static_cast<double>(channels)) * gamma.get(0, c);
      if (silu) y = y / (1 + std::exp(-y));
      wrong += !close(out.get(p, c), y, x.dtype());
    }
  }
  return wrong;
}

struct Addition {
  std::int64_t channels;
  DType y_dtype;
  DType out_dtype;
  Place place;
};

// Without a residual, with another array, with out itself.
void check_additions(const Addition& a) {
  const VideoSize size{.frames = 2, .height = 2, .width = 3, .channels = a.channels};
  HostMatrix bias = vector_of(a.channels, 6, 0.0F);
  for (const int residual : {0, 1, 2}) {
    CAPTURE(a.channels, static_cast<int>(a.y_dtype), static_cast<int>(a.out_dtype),
            static_cast<int>(a.place), residual);
    HostVideo y(a.y_dtype, size, a.place == Place::kOddOffset ? a.place : Place::kDense);
    HostVideo added(a.out_dtype, size, Place::kBordered);
    HostVideo out(a.out_dtype, size, a.place);
    y.fill_normal(7);
    added.fill_normal(8);
    if (residual == 2) out.fill_normal(9);
    const HostVideo before = residual == 2 ? out : added;
    AddBiasResidualArgs args;
    args.y = y.data();
    args.bias = bias.floats();
    args.out = out.data();
    args.residual = residual == 0 ? nullptr : residual == 1 ? added.data() : out.data();
    args.size = size;
    args.y_strides = y.strides();
    args.out_strides = out.strides();
    args.residual_strides = residual == 2 ? out.strides() : added.strides();
    args.y_dtype = a.y_dtype;
    args.out_dtype = a.out_dtype;
    REQUIRE(add_bias_residual(args, nullptr) == cudaSuccess);
    std::int64_t wrong = 0;
    for (std::int64_t p = 0; p < y.num_pixels(); ++p) {
      for (std::int64_t c = 0; c < a.channels; ++c) {
        const double addend = residual == 0 ? 0.0 : before.get(p, c);
        wrong += !close(out.get(p, c), y.get(p, c) + bias.get(0, c) + addend, a.out_dtype);
      }
    }
    CHECK(wrong == 0);
    CHECK(out.surroundings_intact());
  }
}

}  // namespace

TEST_CASE("lanes and offsets of pixels") {
  for (std::int64_t channels = 1; channels <= kMaxChannels; ++channels) {
    const int lanes = lanes_for(channels);
    REQUIRE((lanes == 4 || lanes == 8 || lanes == 16 || lanes == 32));
    REQUIRE(lanes * kValuesPerLane >= channels);
    REQUIRE((lanes == 4 || lanes / 2 * kValuesPerLane < channels));
  }
  CHECK(lanes_for(5000) == 32);
  std::uint32_t pixel = 0;
  for (std::int64_t f = 0; f < 3; ++f) {
    for (std::int64_t y = 0; y < 4; ++y) {
      for (std::int64_t x = 0; x < 5; ++x)
        CHECK(pixel_offset(pixel++, 4, 5, {1000, 70, 3}) == f * 1000 + y * 70 + x * 3);
    }
  }
  // 2^31 - 1 pixels of a long stride: no overflow.
  CHECK(pixel_offset(2147483646U, 1, 2147483647U, {0, 0, std::int64_t{1} << 26}) ==
        2147483646 * (std::int64_t{1} << 26));
  CHECK(valid_video({.frames = 0, .height = 5, .width = 5, .channels = 1}));
  CHECK(valid_video({.frames = 81, .height = 1440, .width = 2560, .channels = 96}));
  CHECK_FALSE(valid_video({.frames = 3, .height = 32768, .width = 32768, .channels = 1}));
  CHECK_FALSE(valid_video({.frames = 1, .height = 1, .width = 1, .channels = 0}));
}

TEST_CASE("vae_norm follows its definition for all types, widths and places") {
  for (const std::int64_t channels : kChannels) {
    const VideoSize size{.frames = 2, .height = 3, .width = 5, .channels = channels};
    HostMatrix gamma = vector_of(channels, 1, 1.0F);
    HostMatrix bias = vector_of(channels, 2, 0.0F);
    for (const DType dtype : kAll) {
      for (const Place place : kPlaces) {
        for (const bool silu : {false, true}) {
          CAPTURE(channels, static_cast<int>(dtype), static_cast<int>(place), silu);
          HostVideo x(dtype, size, place == Place::kOddOffset ? place : Place::kDense);
          HostVideo out(dtype, size, place);
          x.fill_normal(3, 30.0F);
          VaeNormArgs args = norm_args(x, out, gamma);
          args.silu = silu;
          args.bias = silu ? nullptr : bias.floats();
          REQUIRE(vae_norm(args, nullptr) == cudaSuccess);
          CHECK(wrong_norms(x, out, gamma, silu ? nullptr : &bias, silu) == 0);
          CHECK(out.surroundings_intact());
        }
      }
    }
  }
}

TEST_CASE("vae_norm in place, of zeros, of NaN, of far values") {
  const VideoSize size{.frames = 1, .height = 2, .width = 2, .channels = 96};
  HostMatrix gamma = vector_of(96, 4, 100.0F);
  for (const Place place : {Place::kDense, Place::kOddOffset}) {
    HostVideo x(DType::kBFloat16, size, place);
    HostVideo out(DType::kBFloat16, size, place);
    x.fill_normal(5);
    for (std::int64_t c = 0; c < 96; ++c) x.set(1, c, 0.0F);
    x.set(2, 7, std::numeric_limits<float>::quiet_NaN());
    VaeNormArgs args = norm_args(x, out, gamma);
    args.silu = true;
    REQUIRE(vae_norm(args, nullptr) == cudaSuccess);
    args.out = args.x == nullptr ? nullptr : x.data();
    REQUIRE(vae_norm(args, nullptr) == cudaSuccess);
    for (std::int64_t c = 0; c < 96; ++c) {
      CHECK(out.get(1, c) == 0.0);
      CHECK(std::isnan(out.get(2, c)));
      CHECK(x.get(0, c) == out.get(0, c));
      CHECK(std::isfinite(out.get(3, c)));
    }
  }
}

TEST_CASE("vae_norm refuses broken preconditions") {
  const VideoSize size{.frames = 2, .height = 2, .width = 2, .channels = 8};
  HostVideo x(DType::kBFloat16, size, Place::kDense);
  HostVideo out(DType::kBFloat16, size, Place::kDense);
  HostMatrix gamma = vector_of(8, 1, 1.0F);
  using Args = VaeNormArgs;
  const auto status = [&](const auto& change) {
    return refused_status(&vae_norm, norm_args(x, out, gamma), change);
  };
  CHECK(status([](Args& a) { a.x = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.gamma = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.size.channels = 0; }) == kInvalid);
  CHECK(status([](Args& a) { a.size.channels = a.x_strides.pixel = a.out_strides.pixel = 1025; }) ==
        kInvalid);
  CHECK(status([](Args& a) { a.size.frames = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.size.height = std::int64_t{1} << 30; }) == kInvalid);
  CHECK(status([](Args& a) { a.x_strides.pixel = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_strides.row = -16; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_strides.frame = std::int64_t{1} << 60; }) == kInvalid);
  CHECK(status([](Args& a) { a.dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.x = static_cast<const char*>(a.x) + 1; }) == kMisaligned);
  CHECK(status([](Args& a) { a.size.width = 0; }) == cudaSuccess);
}

TEST_CASE("add_bias_residual follows its definition for all types, widths and places") {
  for (const std::int64_t channels : {1, 3, 8, 12, 96, 97, 384, 1024, 1040}) {
    for (const DType y_dtype : kAll) {
      for (const DType out_dtype : kAll) {
        for (const Place place : kPlaces) check_additions({channels, y_dtype, out_dtype, place});
      }
    }
  }
}

TEST_CASE("add_bias_residual refuses broken preconditions") {
  const VideoSize size{.frames = 2, .height = 2, .width = 2, .channels = 8};
  HostVideo y(DType::kBFloat16, size, Place::kDense);
  HostVideo out(DType::kFloat32, size, Place::kDense);
  HostMatrix bias = vector_of(8, 1, 1.0F);
  using Args = AddBiasResidualArgs;
  Args good;
  good.y = y.data();
  good.residual = out.data();
  good.out = out.data();
  good.bias = bias.floats();
  good.size = size;
  good.y_strides = y.strides();
  good.out_strides = good.residual_strides = out.strides();
  good.y_dtype = DType::kBFloat16;
  const auto status = [&](const auto& change) {
    return refused_status(&add_bias_residual, good, change);
  };
  CHECK(status([](Args& a) { a.y = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.out = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.bias = nullptr; }) == kInvalid);
  CHECK(status([](Args& a) { a.size.channels = 16385; }) == kInvalid);
  CHECK(status([](Args& a) { a.size.width = -2; }) == kInvalid);
  CHECK(status([](Args& a) { a.y_strides.pixel = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.residual_strides.pixel = 7; }) == kInvalid);
  CHECK(status([](Args& a) { a.out_strides.frame = -1; }) == kInvalid);
  CHECK(status([](Args& a) { a.y_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.out_dtype = static_cast<DType>(9); }) == kInvalid);
  CHECK(status([](Args& a) { a.y = static_cast<const char*>(a.y) + 1; }) == kMisaligned);
  CHECK(status([](Args& a) { a.out = static_cast<char*>(a.out) + 2; }) == kMisaligned);
  CHECK(status([](Args& a) { a.size.frames = 0; }) == cudaSuccess);
}
