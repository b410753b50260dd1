// Frames on their way to host memory: order, bytes, and the error for what is not a number.
#include "pipeline/frame_return.h"

#include <ATen/ATen.h>

#include <catch2/catch.hpp>
#include <limits>

#include "ops/frames.h"
#include "t2v/error.h"

TEST_CASE("FrameReturn gives the bytes of each chunk, in order", "[frames]") {
  t2v::pipeline::FrameReturn frame_return(at::kCPU, 6 * 5, 4);
  CHECK(frame_return.capacity() == 1);
  for (int64_t t = 0; t < 3; ++t) {
    const at::Tensor frames = at::rand({3, t == 0 ? 1 : 4, 6, 5}) * 2 - 1;
    frame_return.send(frames, t);
    CHECK(frame_return.in_flight() == 1);
    const auto chunk = frame_return.receive();
    CHECK(chunk.latent_frame == t);
    CHECK(at::equal(chunk.rgb8, t2v::ops::frames_to_rgb8(frames)));
    CHECK(frame_return.in_flight() == 0);
  }
}

TEST_CASE("FrameReturn names the latent frame that holds no numbers", "[frames]") {
  t2v::pipeline::FrameReturn frame_return(at::kCPU, 4, 1);
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    at::Tensor frames = at::zeros({3, 1, 2, 2});
    frames[1][0][1][0] = bad;
    frame_return.send(frames, 7);
    try {
      frame_return.receive();
      FAIL("no error");
    } catch (const t2v::Error& error) {
      CHECK(error.kind() == t2v::ErrorKind::kNumeric);
      CHECK(std::string(error.what()).find("latent frame 7") != std::string::npos);
    }
  }
}
