// Operations are counted once, by the timer that is in use, with the FLOP of their shapes.
#include "ops/op_timer.h"

#include <ATen/ops/rand.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "ops/attention.h"
#include "ops/conv3d.h"
#include "ops/linear.h"
#include "ops/norm.h"

namespace t2v::ops {
namespace {

using std::chrono::milliseconds;

TEST_CASE("operations count for the timer in use and for its bin") {
  OpTimer timer;
  const int first = timer.new_bin();
  const int second = timer.new_bin();
  const at::Tensor x = at::rand({3, 8});
  const Linear linear(at::rand({16, 8}), at::rand({16}));
  static_cast<void>(linear(x));  // nobody counts
  {
    const OpTimer::Use use(&timer, first);
    static_cast<void>(linear(x));
    {
      const OpTimer::Use nested(&timer, second);
      static_cast<void>(linear(x));
      const OpTimer::Use nobody(nullptr, 0);
      static_cast<void>(linear(x));
    }
    static_cast<void>(linear(x));
  }
  static_cast<void>(linear(x));
  std::thread([&] { static_cast<void>(linear(x)); }).join();
  timer.settle();
  REQUIRE(timer.totals().count("linear") == 1);
  const OpTotal& all = timer.totals().at("linear");
  CHECK(all.calls == 3);
  CHECK(all.flop == 3 * 2.0 * 3 * 8 * 16);
  CHECK(all.ms > 0);
  CHECK(timer.bin(first).calls == 2);
  CHECK(timer.bin(second).calls == 1);
  CHECK(timer.bin(second).flop == 2.0 * 3 * 8 * 16);
}

TEST_CASE("what runs inside of an operation is part of it") {
  OpTimer timer;
  const int bin = timer.new_bin();
  const at::Tensor x = at::rand({4, 8});
  {
    const OpTimer::Use use(&timer, bin);
    const TimedOp outer("outer", x, 5);
    std::this_thread::sleep_for(milliseconds(2));
    static_cast<void>(rms_norm(x, at::rand({8}), 1e-6));
  }
  CHECK(timer.totals().size() == 1);
  CHECK(timer.totals().at("outer").flop == 5);
  CHECK(timer.totals().at("outer").ms >= 2);
  CHECK(timer.bin(bin).calls == 1);
  {
    const OpTimer::Use use(&timer, bin);
    static_cast<void>(rms_norm(x, at::rand({8}), 1e-6));  // the depth is right again
  }
  CHECK(timer.totals().count("rms_norm") == 1);
}

TEST_CASE("an operation that throws is counted and leaves the depth right") {
  OpTimer timer;
  const int bin = timer.new_bin();
  const at::Tensor x = at::rand({4, 8});
  const OpTimer::Use use(&timer, bin);
  try {
    const TimedOp timed("throws", x);
    throw std::runtime_error("no");
  } catch (const std::runtime_error&) {
    CHECK(timer.totals().at("throws").calls == 1);
  }
  static_cast<void>(rms_norm(x, at::rand({8}), 1e-6));
  CHECK(timer.totals().at("rms_norm").calls == 1);
}

TEST_CASE("FLOP follow the shapes") {
  OpTimer timer;
  const int bin = timer.new_bin();
  {
    const OpTimer::Use use(&timer, bin);
    attention(at::rand({2, 10, 8}), at::rand({2, 10, 8}), at::rand({2, 10, 8}), {},
              AttentionBackend::kReference);
    attention(at::rand({2, 10, 8}), at::rand({2, 6, 8}), at::rand({2, 6, 8}), {},
              AttentionBackend::kReference);
    const Conv3d conv(at::rand({5, 4, 3, 3, 3}), at::rand({5}), at::kFloat, at::kCPU,
                      ConvBackend::kAten);
    const at::Tensor out = at::rand({2, 6, 7, 5});
    conv.run(at::rand({4, 8, 9, 4}), out, {});
  }
  CHECK(timer.totals().at("self_attention").flop == 4.0 * 2 * 10 * 8 * 10);
  CHECK(timer.totals().at("cross_attention").flop == 4.0 * 2 * 10 * 8 * 6);
  CHECK(timer.totals().at("conv3d").flop == 2.0 * 2 * 6 * 7 * 5 * 4 * 27);
  CHECK(timer.bin(bin).calls == 3);
}

}  // namespace
}  // namespace t2v::ops
