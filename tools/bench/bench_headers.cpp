// Times the opening of a checkpoint: headers read, checked and sorted, no tensor data.
//   bench_headers FILE_OR_FOLDER [REPEATS]
#include <cstdio>
#include <cstdlib>

#include "bench/measure.h"
#include "weights/checkpoint.h"

int main(int argc, char** argv) {
  using namespace t2v;
  if (argc < 2) return std::fprintf(stderr, "usage: bench_headers PATH [REPEATS]\n"), 2;
  size_t tensors = 0;
  bench::measure("open_checkpoint", argc > 2 ? std::atoi(argv[2]) : 5, 0,
                 [&] { tensors = weights::Checkpoint::open(argv[1]).tensors().size(); });
  std::printf("{\"tensors\": %zu, \"peak_rss_gb\": %.3f}\n", tensors, bench::peak_rss_gb());
  return 0;
}
