#include "support/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>
#include <vector>

namespace t2v::testing {

std::string mismatch(const at::Tensor& got, const at::Tensor& expected, Tolerance tolerance) {
  std::ostringstream out;
  if (got.sizes() != expected.sizes()) {
    out << "shape " << got.sizes() << ", expected " << expected.sizes();
    return out.str();
  }
  if (got.scalar_type() != expected.scalar_type()) {
    out << "dtype " << got.scalar_type() << ", expected " << expected.scalar_type();
    return out.str();
  }
  const at::Tensor a = got.to(at::kCPU).to(at::kDouble).contiguous();
  const at::Tensor b = expected.to(at::kCPU).to(at::kDouble).contiguous();
  const double* x = a.const_data_ptr<double>();
  const double* y = b.const_data_ptr<double>();
  std::vector<double> errors(static_cast<size_t>(a.numel()));
  int64_t num_off = 0;
  int64_t worst = -1;
  double worst_excess = -1;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double error = std::abs(x[i] - y[i]);
    const double bound = tolerance.absolute + tolerance.relative * std::abs(y[i]);
    errors[static_cast<size_t>(i)] = error;
    if (std::isfinite(x[i]) && std::isfinite(y[i]) && error <= bound) continue;  // false for NaN
    ++num_off;
    const double excess =
        std::isfinite(error) ? error - bound : std::numeric_limits<double>::infinity();
    if (excess > worst_excess) {
      worst_excess = excess;
      worst = i;
    }
  }
  if (num_off == 0) return "";
  std::sort(errors.begin(), errors.end());
  const auto p999 = errors[static_cast<size_t>(0.999 * static_cast<double>(errors.size() - 1))];
  out << num_off << " of " << a.numel() << " elements off; worst at " << worst << ": " << x[worst]
      << ", expected " << y[worst] << "; 99.9th percentile of the error " << p999;
  return out.str();
}

double max_error(const at::Tensor& got, const at::Tensor& expected) {
  const double error = (got.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
  return std::isfinite(error) ? error : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace t2v::testing
