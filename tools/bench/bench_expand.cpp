// How quickly packed weights become 16 bits on one thread and on all: GB/s of output by type.
#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randint.h>

#include <chrono>
#include <cstdio>
#include <limits>
#include <string>
#include <vector>

#include "weights/stored_tensor.h"

namespace {

using t2v::weights::Encoding;
using t2v::weights::StoredTensor;

constexpr int64_t kRows = 5120;
constexpr int64_t kColumns = 5120;
constexpr int kRepeats = 5;

struct Packed {
  std::string name;
  StoredTensor stored;
};

Packed block_packed(Encoding encoding) {
  const auto block = t2v::weights::block_size(encoding);
  const int64_t bytes = kRows * kColumns / block.elements * block.bytes;
  return {std::string(t2v::weights::encoding_name(encoding)),
          {.payload = at::randint(0, 120, {bytes}, at::kByte),
           .encoding = encoding,
           .shape = {kRows, kColumns}}};
}

Packed byte_packed(const char* name, at::ScalarType dtype, at::Tensor scale) {
  const at::Tensor bytes = at::randint(0, 120, {kRows, kColumns}, at::kByte);
  return {name,
          {.payload = bytes.view(dtype), .shape = {kRows, kColumns}, .scale = std::move(scale)}};
}

// Best of a few, in GB of output a second.
double measure(const StoredTensor& stored, at::Tensor& destination) {
  double best = std::numeric_limits<double>::max();
  for (int i = 0; i < kRepeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    t2v::weights::expand_into(stored, destination);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::min(best, seconds.count());
  }
  return static_cast<double>(destination.nbytes()) / best / 1e9;
}

}  // namespace

int main() {
  std::vector<Packed> cases;
  for (const Encoding encoding :
       {Encoding::kQ8_0, Encoding::kQ4_0, Encoding::kQ4_1, Encoding::kQ5_0, Encoding::kQ5_1,
        Encoding::kQ2_K, Encoding::kQ3_K, Encoding::kQ4_K, Encoding::kQ5_K, Encoding::kQ6_K}) {
    cases.push_back(block_packed(encoding));
  }
  cases.push_back(byte_packed("int8 row", at::kChar, at::ones({kRows, 1})));
  cases.push_back(byte_packed("fp8 scaled", at::kFloat8_e4m3fn, at::ones({})));
  cases.push_back(byte_packed("int8 block", at::kChar, at::ones({kRows / 128, kColumns / 128})));
  cases.back().stored.block_scale = true;
  cases.push_back(byte_packed("int8 rotated", at::kChar, at::ones({kRows, 1})));
  cases.back().stored.rotation = 256;
  const int threads = at::get_num_threads();
  std::printf("%-14s %12s %12s %12s   GB/s of output\n", "5120 x 5120", "bf16, 1", "fp32, 1",
              ("bf16, " + std::to_string(threads)).c_str());
  at::Tensor narrow = at::empty({kRows, kColumns}, at::kBFloat16);
  at::Tensor wide = at::empty({kRows, kColumns});
  for (const Packed& packed : cases) {
    at::set_num_threads(1);
    const double narrow_one = measure(packed.stored, narrow);
    const double wide_one = measure(packed.stored, wide);
    at::set_num_threads(threads);
    std::printf("%-14s %12.2f %12.2f %12.2f\n", packed.name.c_str(), narrow_one, wide_one,
                measure(packed.stored, narrow));
  }
  return 0;
}
