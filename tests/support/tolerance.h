// The one table of tolerances of op tests, by number type. A fused op may be at most twice as far
// from the fp64 truth as its low-precision twin; these are the bounds between twins.
#pragma once

#include <c10/core/ScalarType.h>

#include "support/compare.h"

namespace t2v::testing {

inline Tolerance tolerance_for(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return {.absolute = 2e-5, .relative = 2e-5};  // another order of fp32 sums
    case at::kBFloat16:
      return {.absolute = 1e-2, .relative = 8e-3};  // one rounding of 8 bits
    case at::kHalf:
      return {.absolute = 2e-3, .relative = 1e-3};  // one rounding of 11 bits
    default:
      return {};
  }
}

}  // namespace t2v::testing
