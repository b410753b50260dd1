// The rotation of quantised rows by its definition: a product with the whole matrix, in fp64.
#pragma once

#include <cstdint>
#include <vector>

namespace t2v::testing {

// Entry of H4 (x) ... (x) H4 with so many rows.
inline double rotation_entry(std::int64_t i, std::int64_t j, std::int64_t group) {
  static constexpr double kH4[4][4] = {
      {.5, .5, .5, -.5}, {.5, .5, -.5, .5}, {.5, -.5, .5, .5}, {-.5, .5, .5, .5}};
  double entry = 1;
  for (; group > 1; group /= 4, i /= 4, j /= 4) entry *= kH4[i % 4][j % 4];
  return entry;
}

// y R within consecutive groups; group 0: y.
inline std::vector<double> rotated(const std::vector<double>& y, std::int64_t group) {
  if (group == 0) return y;
  const auto columns = static_cast<std::int64_t>(y.size());
  std::vector<double> z(y.size());
  for (std::int64_t i = 0; i < columns; ++i) {
    const std::int64_t first = i / group * group;
    double sum = 0;
    for (std::int64_t j = first; j < first + group; ++j)
      sum += y[static_cast<std::size_t>(j)] * rotation_entry(j - first, i - first, group);
    z[static_cast<std::size_t>(i)] = sum;
  }
  return z;
}

}  // namespace t2v::testing
