// What MLPerf Inference fixes for its text-to-video task and is wanted before a model is open.
#pragma once

#include <cstdint>

namespace t2v::mlperf {

inline constexpr int64_t kWidth = 1280;  // px
inline constexpr int64_t kHeight = 720;  // px
inline constexpr int64_t kFrames = 81;
inline constexpr int64_t kSteps = 20;
inline constexpr uint64_t kSeed = 42;

}  // namespace t2v::mlperf
